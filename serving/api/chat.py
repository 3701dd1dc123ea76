"""`/v1/chat/completions`, for OpenAI's clients.

The one pipeline retrieves and renders, and its engine answers. The endpoint adds the field `ragft` to an answer: which
passages it cites, and which versions of model and index it came from.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, post

from ragft.engine.base import Completion
from serving.api.bodies import decode_object
from serving.api.chat_request import read_request
from serving.api.exchange import Exchange, prepare
from serving.api.schemas import ChatBody
from serving.api.split import assigned
from serving.api.streams import Chunks, as_stream, first_of, relay
from serving.deployment import Deployed, Ready
from serving.errors import request_id_of
from serving.limits import until_disconnect
from serving.security import caller_of


@post("/v1/chat/completions", opt={"scope": "chat", "body": ChatBody}, status_code=200)
async def chat_completions(request: Request[Any, Any, Any], deployment: Deployed, pipeline: Ready) -> Response[Any]:
    """Answers a conversation with a deployed setup, at once or as server-sent events."""
    begin = time.perf_counter()
    asked = read_request(decode_object(await request.body()), deployment.models_asked)
    asked = assigned(request, deployment, asked)
    caller = caller_of(request)

    async def answer() -> Response[Any]:
        exchange, engine, engine_request = await prepare(
            pipeline, asked, caller.labels, deployment.grounder, request_id_of(request), begin
        )
        exchange.noted = deployment.feedback.for_caller(caller)
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


def _whole(exchange: Exchange, completion: Completion) -> Response[bytes]:
    """The answer in one piece, under the name that was asked for."""
    body = {**completion.body, "model": exchange.asked.model}
    texts = [choice["message"].get("content") or "" for choice in body["choices"]]
    body["ragft"] = exchange.whole(body.get("id"), "\n".join(texts))
    return Response(msgspec.json.encode(body), media_type=MediaType.JSON, headers=exchange.headers(), status_code=200)


def _events(exchange: Exchange, first: dict[str, Any], rest: Chunks) -> AsyncGenerator[str, None]:
    """The chunks as server-sent events under the name that was asked for; the one that ends the last choice carries
    `ragft`.
    """
    texts: dict[int, list[str]] = {}
    unfinished = exchange.asked.choices

    def named(chunk: dict[str, Any]) -> dict[str, Any]:
        nonlocal unfinished
        chunk["model"] = exchange.asked.model
        for choice in chunk["choices"]:
            texts.setdefault(choice["index"], []).append(choice["delta"].get("content") or "")
            unfinished -= choice.get("finish_reason") is not None
        if chunk["choices"] and unfinished == 0:
            unfinished = -1
            # In a chunk that has choices: many clients read choices[0] of every chunk that they get.
            text = "\n".join("".join(texts[index]) for index in sorted(texts))
            chunk["ragft"] = exchange.whole(chunk.get("id"), text)
        return chunk

    return relay(first, rest, named, exchange.request_id)
