"""`/v1/retrieve`: what the deployed index finds, without a model."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from msgspec import Meta

from index.store.filters import both
from ragft.pipeline import all_cited
from serving.api.bodies import read_body, read_filter, read_where
from serving.api.chat_request import deployed_setup
from serving.api.schemas import TopK
from serving.deployment import Deployed, Ready
from serving.errors import ApiError
from serving.security import caller_of

MAX_CONDITIONS = 20


class RetrieveRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to search.

    Attributes:
        model: a domain of the server or a model of it, to search what it answers from; needed where there are several.
        top_k: passages to return; None: the configured number.
        filter: what the passages must pass, in the language of `index.store.filters`.
        where: conditions that they must pass as well, as the command line takes them: `product=nginx`, `year>=2024`.
        explain: whether each hit says why it ranks where it does.
    """

    query: str
    model: str | None = None
    top_k: TopK | None = None
    filter: Any = None
    where: Annotated[list[Annotated[str, Meta(max_length=1000)]], Meta(max_length=MAX_CONDITIONS)] = []
    explain: bool = False


@post("/v1/retrieve", opt={"scope": "retrieve", "body": RetrieveRequest}, status_code=200)
async def retrieve(request: Request[Any, Any, Any], deployment: Deployed, pipeline: Ready) -> dict[str, Any]:
    """The best passages for a query that the caller may see, and the version of the index that they come from."""
    asked = await read_body(request, RetrieveRequest)
    if asked.model not in (None, deployment.domain):
        deployed_setup(asked.model, deployment.named)
    if not asked.query.strip():
        raise ApiError(400, "The query is empty.", "query")
    if pipeline.retriever is None:
        raise ApiError(404, "No deployed setup retrieves, so there is no index to search.")
    (found,) = await asyncio.to_thread(
        pipeline.retriever.search, [asked.query], asked.top_k,
        filter=both(read_filter(asked.filter, "filter"), read_where(asked.where, "where")),
        labels=caller_of(request).labels, explain=asked.explain,
    )  # fmt: skip
    return {
        "index_version": found.index_version,
        "hits": [{"number": number, **hit.told(number)} for number, hit in enumerate(found.hits, start=1)],
        "passages": [asdict(passage) for passage in all_cited(found.passages)],
        "milliseconds": round(found.milliseconds, 2),
        "timings_ms": {stage: round(spent, 3) for stage, spent in found.timings_ms.items()},
        "notes": found.notes,
    }
