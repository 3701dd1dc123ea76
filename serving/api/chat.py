"""`/v1/chat/completions` and `/v1/models`, for OpenAI's clients.

The question is retrieved for and rendered by the one pipeline; the engine's own chat completions generate. What is
added to an answer is the field `ragft`: which passages it cites and which versions it came from.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.response import Stream

from ragft.engine.vllm import ChatError
from ragft.pipeline import Prompt, citations_of
from serving.api.chat_request import ChatRequest, decode_object, read_request
from serving.deployment import ChatBackend, Deployment
from serving.errors import ApiError, as_api_error, request_id_of
from serving.limits import until_disconnect
from serving.security import labels_of

_DONE = "data: [DONE]\n\n"
_EVENT = "data: "


@dataclass
class Exchange:
    """One request on its way to an answer; everything in it comes from one snapshot and one model."""

    asked: ChatRequest
    prompt: Prompt
    model_version: str
    request_id: str
    begin: float
    first_token: float | None = None

    def body(self) -> dict[str, Any]:
        """What the engine is asked."""
        return {**self.asked.sampling, "messages": self.asked.messages(self.prompt.messages)}

    def headers(self) -> dict[str, str]:
        """The versions that the answer came from."""
        headers = {"x-ragft-model-version": self.model_version}
        if self.prompt.retrieved is not None:
            headers["x-ragft-index-version"] = self.prompt.retrieved.index_version
        return headers

    def provenance(self, text: str) -> dict[str, Any]:
        """The field `ragft` of an answer."""
        retrieved = self.prompt.retrieved
        now = time.perf_counter()
        timings = {
            "retrieval_ms": round(retrieved.milliseconds, 2) if retrieved else 0.0,
            "total_ms": round((now - self.begin) * 1000, 2),
        }
        if self.first_token is not None:
            timings["ttft_ms"] = round((self.first_token - self.begin) * 1000, 2)
        field = {
            "setup": self.asked.setup.name,
            "citations": [asdict(citation) for citation in citations_of(text, self.prompt.hits)],
            "index_version": retrieved.index_version if retrieved else None,
            "model_version": self.model_version,
            "timings": timings,
        }
        if self.asked.options.return_passages:
            everything = "".join(f"[{number}]" for number in range(1, len(self.prompt.hits) + 1))
            field["passages"] = [asdict(passage) for passage in citations_of(everything, self.prompt.hits)]
        return field


@post("/v1/chat/completions", opt={"scope": "chat"}, status_code=200)
async def chat_completions(request: Request[Any, Any, Any]) -> Response[Any]:
    """Answers a conversation with a deployed setup, at once or as server-sent events."""
    begin = time.perf_counter()
    deployment: Deployment = request.app.state.deployment
    pipeline, loaded = deployment.ready()
    config = deployment.config
    asked = read_request(decode_object(await request.body()), deployment.setups, config.engine.max_tokens)
    chat = loaded.chats[asked.setup.model]

    async def start() -> tuple[Exchange, dict[str, Any] | AsyncIterator[str]]:
        prompt = await pipeline.prepare(
            asked.setup, asked.question, asked.options.top_k, filter=asked.filter, labels=labels_of(request)
        )
        version = pipeline.engine_of(asked.setup).model_version
        exchange = Exchange(asked, prompt, version, request_id_of(request), begin)
        return exchange, await _begin(chat, exchange)

    exchange, answer = await until_disconnect(request, start)
    if not isinstance(answer, dict):
        headers = {**exchange.headers(), "cache-control": "no-cache", "x-accel-buffering": "no"}
        return Stream(answer, media_type="text/event-stream", headers=headers, status_code=200)
    answer["model"] = asked.setup.name
    texts = [choice["message"].get("content") or "" for choice in answer.get("choices", [])]
    answer["ragft"] = exchange.provenance("\n".join(texts))
    return Response(msgspec.json.encode(answer), media_type=MediaType.JSON, headers=exchange.headers(), status_code=200)


@get("/v1/models", opt={"scope": "chat"})
async def models(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The deployed setups, the default first."""
    deployment: Deployment = request.app.state.deployment
    return {"object": "list", "data": [_card(deployment, setup.name) for setup in deployment.setups]}


@get("/v1/models/{name:str}", opt={"scope": "chat"})
async def model(request: Request[Any, Any, Any], name: str) -> dict[str, Any]:
    """One deployed setup."""
    deployment: Deployment = request.app.state.deployment
    names = [setup.name for setup in deployment.setups]
    if name not in names:
        raise ApiError(404, f"The model {name[:80]!r} is not deployed; deployed: {', '.join(names)}.", "model")
    return _card(deployment, name)


def _card(deployment: Deployment, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(deployment.started), "owned_by": "ragft"}


async def _begin(chat: ChatBackend, exchange: Exchange) -> dict[str, Any] | AsyncIterator[str]:
    """The answer, or a stream of it that has its first token: until then an error is a status of its own."""
    answer = await chat.complete(exchange.body())
    if isinstance(answer, dict):
        return answer
    try:
        first = await anext(answer)
        exchange.first_token = time.perf_counter()
        _raise_error_event(first)
    except StopAsyncIteration:
        raise ApiError(500, "The engine ended the stream before it began.") from None
    except BaseException:
        await _close(answer)
        raise
    return _stream(exchange, first, answer)


async def _stream(exchange: Exchange, first: str, rest: AsyncIterator[str]) -> AsyncGenerator[str, None]:
    """The engine's events under the setup's name; the one that ends the last choice carries `ragft`."""
    texts: dict[int, list[str]] = {}
    unfinished = exchange.asked.choices

    def rewrite(event: str) -> str:
        nonlocal unfinished
        if not event.startswith(_EVENT) or event == _DONE:
            return event
        chunk = msgspec.json.decode(event[len(_EVENT) :])
        if "choices" not in chunk:
            return _error_event(_chat_error(chunk), exchange.request_id)
        chunk["model"] = exchange.asked.setup.name
        for choice in chunk["choices"]:
            texts.setdefault(choice["index"], []).append(choice["delta"].get("content") or "")
            unfinished -= choice.get("finish_reason") is not None
        if chunk["choices"] and unfinished == 0:
            unfinished = -1
            # In a chunk that has choices: many clients read choices[0] of every chunk that they get.
            text = "\n".join("".join(texts[index]) for index in sorted(texts))
            chunk["ragft"] = exchange.provenance(text)
        return f"{_EVENT}{msgspec.json.encode(chunk).decode()}\n\n"

    try:
        yield rewrite(first)
        async for event in rest:
            yield rewrite(event)
    except Exception as error:
        # The status has been sent long ago: the error is an event, and the stream ends as clients expect.
        yield _error_event(error, exchange.request_id)
        yield _DONE
    finally:
        await _close(rest)


async def _close(stream: AsyncIterator[str]) -> None:
    """Frees the engine's slot."""
    if isinstance(stream, AsyncGenerator):
        with contextlib.suppress(Exception):
            await stream.aclose()


def _raise_error_event(event: str) -> None:
    """vLLM reports errors of a stream as its events; before the first token they can still be a status."""
    if event.startswith(_EVENT) and event != _DONE:
        chunk = msgspec.json.decode(event[len(_EVENT) :])
        if "choices" not in chunk:
            raise _chat_error(chunk)


def _chat_error(chunk: dict[str, Any]) -> ChatError:
    error = chunk.get("error")
    error = error if isinstance(error, dict) else {}
    code = error.get("code")
    return ChatError(code if isinstance(code, int) else 500, error)


def _error_event(error: Exception, request_id: str) -> str:
    body = as_api_error(error, request_id).body()
    return f"{_EVENT}{msgspec.json.encode(body).decode()}\n\n"
