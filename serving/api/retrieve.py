"""`/v1/retrieve`: what the deployed index finds, without a model."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import msgspec
from litestar import Request, post

from ragft.pipeline import all_cited
from serving.api.bodies import read_body, read_filter
from serving.api.chat_request import deployed_setup
from serving.api.schemas import TopK
from serving.deployment import Deployed, Ready
from serving.errors import ApiError
from serving.security import CallerLabels


class RetrieveRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to search.

    Attributes:
        model: a domain of the server or a model of it, to search what it answers from; needed where there are several.
        top_k: passages to return; None: the configured number.
        filter: what the passages must pass, in the language of `index.store.filters`.
    """

    query: str
    model: str | None = None
    top_k: TopK | None = None
    filter: Any = None


@post("/v1/retrieve", opt={"scope": "retrieve", "body": RetrieveRequest}, status_code=200)
async def retrieve(
    request: Request[Any, Any, Any], deployment: Deployed, pipeline: Ready, labels: CallerLabels
) -> dict[str, Any]:
    """The best passages for a query that the caller may see, and the version of the index that they come from."""
    asked = await read_body(request, RetrieveRequest)
    if asked.model not in (None, deployment.domain):
        deployed_setup(asked.model, deployment.named)
    if not asked.query.strip():
        raise ApiError(400, "The query is empty.", "query")
    if pipeline.retriever is None:
        raise ApiError(404, "No deployed setup retrieves, so there is no index to search.")
    (found,) = await asyncio.to_thread(
        pipeline.retriever.search, [asked.query], asked.top_k, filter=read_filter(asked.filter, "filter"), labels=labels
    )
    return {
        "index_version": found.index_version,
        "hits": [{"number": number, **hit.to_json()} for number, hit in enumerate(found.hits, start=1)],
        "passages": [asdict(passage) for passage in all_cited(found.passages)],
        "milliseconds": round(found.milliseconds, 2),
        "timings_ms": {stage: round(spent, 3) for stage, spent in found.timings_ms.items()},
        "notes": found.notes,
    }
