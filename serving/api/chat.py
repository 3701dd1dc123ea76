"""`/v1/chat/completions`, for OpenAI's clients.

The one pipeline retrieves and renders, and its engine answers. The endpoint adds the field `ragft` to an answer: which
passages it cites, and which versions of model and index it came from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, post

from index.store.filters import Labels
from ragft.engine.base import ChatRequest, Completion, Engine
from ragft.grounding import Grounder
from ragft.pipeline import Pipeline, Prompt, all_cited, citations_of, invalid_citations
from serving.api.bodies import decode_object
from serving.api.chat_request import Asked, read_request
from serving.api.schemas import ChatBody
from serving.api.streams import Chunks, as_stream, first_of, relay
from serving.deployment import Deployed, Ready
from serving.errors import request_id_of
from serving.limits import until_disconnect
from serving.security import CallerLabels


@dataclass
class Exchange:
    """One request on its way to an answer; everything in it comes from one snapshot and one model.

    Attributes:
        begin: when the request arrived, by `time.perf_counter`.
        refused: why the question was refused before anything was generated; None where it was answered.
        model_version: of the model that answered, known once it has begun to.
        first_token: when its first token came; None where the answer is not streamed.
    """

    asked: Asked
    prompt: Prompt
    request_id: str
    begin: float
    grounder: Grounder
    refused: str | None = None
    model_version: str = ""
    first_token: float | None = None

    def begun(self, engine: Engine, *, streamed: bool = False) -> None:
        """Notes that an answer has begun to come, before anything else is awaited: as soon as none is in progress,
        another model may take the place of the one that answers.
        """
        self.model_version = engine.version
        if streamed:
            self.first_token = time.perf_counter()

    def headers(self) -> dict[str, str]:
        """The versions that the answer came from."""
        headers = {"x-ragft-model-version": self.model_version}
        if self.prompt.retrieved is not None:
            headers["x-ragft-index-version"] = self.prompt.retrieved.index_version
        return headers

    def provenance(self, text: str) -> dict[str, Any]:
        """The field `ragft` of an answer."""
        retrieved = self.prompt.retrieved
        timings = {
            "retrieval_ms": round(retrieved.milliseconds, 2) if retrieved else 0.0,
            "total_ms": round((time.perf_counter() - self.begin) * 1000, 2),
        }
        if self.first_token is not None:
            timings["ttft_ms"] = round((self.first_token - self.begin) * 1000, 2)
        field = {
            "setup": self.asked.setup.name,
            "query": retrieved.query if retrieved else None,
            "citations": [asdict(citation) for citation in citations_of(text, self.prompt.hits)],
            "invalid_citations": invalid_citations(text, self.prompt.hits),
            "index_version": retrieved.index_version if retrieved else None,
            "model_version": self.model_version,
            "passages_dropped": self.prompt.passages_dropped,
            "dropped_turns": self.prompt.dropped_turns,
            "notes": retrieved.notes if retrieved else (),
            "grounding": self.grounder.told(text, self.asked.question, self.prompt),
            "refused": self.refused,
            "timings": timings,
        }
        if self.asked.ragft.return_passages:
            field["passages"] = [asdict(passage) for passage in all_cited(self.prompt.hits)]
        return field


@post("/v1/chat/completions", opt={"scope": "chat", "body": ChatBody}, status_code=200)
async def chat_completions(
    request: Request[Any, Any, Any], deployment: Deployed, pipeline: Ready, labels: CallerLabels
) -> Response[Any]:
    """Answers a conversation with a deployed setup, at once or as server-sent events."""
    begin = time.perf_counter()
    asked = read_request(decode_object(await request.body()), deployment.setups)

    async def answer() -> Response[Any]:
        exchange, engine, engine_request = await prepare(
            pipeline, asked, labels, deployment.grounder, request_id_of(request), begin
        )
        if asked.options.get("stream") is not True:
            completion = await engine.chat(engine_request)
            exchange.begun(engine)
            return _whole(exchange, completion)
        chunks = engine.stream(engine_request)
        # Until the first chunk has come, an error is a status of its own.
        first = await first_of(chunks)
        exchange.begun(engine, streamed=True)
        return as_stream(_events(exchange, first, chunks), exchange.headers())

    return await until_disconnect(request, answer)


async def prepare(
    pipeline: Pipeline, asked: Asked, labels: Labels, grounder: Grounder, request_id: str, begin: float
) -> tuple[Exchange, Engine, ChatRequest]:
    """Retrieves and renders: who is to be asked what. Where too little was found, a declared refusal answers.

    Args:
        begin: see `Exchange`.
    """
    retrieved = await pipeline.retrieve(
        asked.setup, asked.question, asked.ragft.top_k, history=asked.history, filter=asked.filter, labels=labels,
        deadline=pipeline.config.serve.condense_deadline,
    )  # fmt: skip
    # Off the event loop, too: counting its tokens takes milliseconds.
    prompt = await asyncio.to_thread(
        pipeline.render, asked.setup, asked.question, retrieved,
        history=asked.history, following=asked.following, tools=asked.options.get("tools"),
    )  # fmt: skip
    engine = pipeline.engine_of(asked.setup)
    refused = grounder.why_refuse(retrieved, asked.options)
    if refused is not None:
        engine = grounder.refusing(engine)
    exchange = Exchange(asked, prompt, request_id, begin, grounder, refused)
    return exchange, engine, pipeline.request(prompt, asked.options)


def _whole(exchange: Exchange, completion: Completion) -> Response[bytes]:
    """The answer in one piece, under the setup's name."""
    body = {**completion.body, "model": exchange.asked.setup.name}
    texts = [choice["message"].get("content") or "" for choice in body["choices"]]
    body["ragft"] = exchange.provenance("\n".join(texts))
    return Response(msgspec.json.encode(body), media_type=MediaType.JSON, headers=exchange.headers(), status_code=200)


def _events(exchange: Exchange, first: dict[str, Any], rest: Chunks) -> AsyncGenerator[str, None]:
    """The chunks as server-sent events under the setup's name; the one that ends the last choice carries `ragft`."""
    texts: dict[int, list[str]] = {}
    unfinished = exchange.asked.choices

    def named(chunk: dict[str, Any]) -> dict[str, Any]:
        nonlocal unfinished
        chunk["model"] = exchange.asked.setup.name
        for choice in chunk["choices"]:
            texts.setdefault(choice["index"], []).append(choice["delta"].get("content") or "")
            unfinished -= choice.get("finish_reason") is not None
        if chunk["choices"] and unfinished == 0:
            unfinished = -1
            # In a chunk that has choices: many clients read choices[0] of every chunk that they get.
            text = "\n".join("".join(texts[index]) for index in sorted(texts))
            chunk["ragft"] = exchange.provenance(text)
        return chunk

    return relay(first, rest, named, exchange.request_id)
