"""`/v1/responses`: OpenAI's newer form of a conversation, for texts.

It is read into the same question that `/v1/chat/completions` reads, goes the same way, and carries the same field
`ragft`. Nothing is stored: a request brings the whole conversation.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from litestar import MediaType, Request, Response, post
from msgspec import Meta

from ragft.setups import Setup
from serving.api.bodies import decode_object
from serving.api.chat_request import Asked, given, joined, read_request, refuse_unknown
from serving.api.exchange import Exchange, prepare
from serving.api.schemas import MAX_MESSAGES, Options, Sampling, check
from serving.api.split import assigned
from serving.api.streams import Chunks, as_stream, close, event, first_of
from serving.deployment import Deployed, Ready
from serving.errors import ApiError, as_api_error, request_id_of
from serving.limits import until_disconnect
from serving.security import caller_of


class InputText(msgspec.Struct):
    """A part of a message's content."""

    type: Literal["input_text", "output_text", "text"]
    text: str


class InputMessage(msgspec.Struct):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[InputText]
    type: Literal["message"] = "message"

    def turn(self) -> dict[str, str]:
        """The message as chat completions have it."""
        content = self.content if isinstance(self.content, str) else joined(part.text for part in self.content)
        return {"role": self.role, "content": content}


class TextFormat(msgspec.Struct, forbid_unknown_fields=True):
    """The form of the answer; a schema stands beside its type, unlike in chat completions."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextSettings(msgspec.Struct, forbid_unknown_fields=True):
    """How the answer is written."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponseBody(Sampling, kw_only=True):
    """A request to `/v1/responses`; `model` names a deployed setup.

    Attributes:
        instructions: stands above the conversation and replaces the configured system prompt.
    """

    model: str
    input: str | Annotated[list[InputMessage], Meta(min_length=1, max_length=MAX_MESSAGES)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    text: TextSettings | None = None
    stream: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    background: bool | None = None
    truncation: Literal["disabled", "auto"] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    metadata: dict[str, str] | None = None
    ragft: Options | None = None


# Sent by clients, without a meaning here.
_IGNORED = frozenset(
    [
        "include", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "reasoning",
        "safety_identifier", "service_tier", "stream_options",
    ]
)  # fmt: skip
_KNOWN = _IGNORED | frozenset(ResponseBody.__struct_fields__)


def read_response_request(body: Mapping[str, Any], deployed: Mapping[str, Setup]) -> tuple[ResponseBody, Asked]:
    """The request, and the same as a chat completion request.

    Raises:
        ApiError: 400 for what is not valid or would need something to be stored, 404 for a setup that is not deployed.
    """
    refuse_unknown(body, _KNOWN)
    asked = check(body, ResponseBody)
    if asked.previous_response_id is not None:
        raise ApiError(
            400, "Nothing is stored here, so there is no earlier response: send the whole conversation in 'input'.",
            "previous_response_id",
        )  # fmt: skip
    for field, why in (("store", "Nothing is stored here"), ("background", "Nothing is answered in the background")):
        if getattr(asked, field):
            raise ApiError(400, f"{why}: leave {field!r} out or send false.", field)
    if asked.tools:
        raise ApiError(400, "Tools are not supported here: use /v1/chat/completions.", "tools")
    messages = [message.turn() for message in asked.input] if isinstance(asked.input, list) else []
    if isinstance(asked.input, str):
        messages.append({"role": "user", "content": asked.input})
    if asked.instructions is not None:
        messages.insert(0, {"role": "system", "content": asked.instructions})
    chat: dict[str, Any] = {**given(body, Sampling.__struct_fields__), "model": asked.model, "messages": messages}
    if asked.max_output_tokens is not None:
        chat["max_completion_tokens"] = asked.max_output_tokens
    if asked.text is not None and asked.text.format is not None:
        chat["response_format"] = _response_format(asked.text.format)
    if asked.stream:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    for field in ("ragft", "safety_identifier"):
        if body.get(field) is not None:
            chat[field] = body[field]
    try:
        return asked, read_request(chat, deployed)
    except ApiError as error:
        renamed = {"messages": "input", "response_format": "text.format", "max_completion_tokens": "max_output_tokens"}
        name, dot, rest = (error.param or "").partition(".")
        param = f"{renamed.get(name, name)}{dot}{rest}" or None
        raise ApiError(error.status, error.message, param) from None


def _response_format(form: TextFormat) -> dict[str, Any]:
    if form.type != "json_schema":
        return {"type": form.type}
    if form.name is None or form.schema is None:
        raise ApiError(400, "A JSON schema needs a 'name' and a 'schema'.", "text.format")
    return {"type": form.type, "json_schema": {"name": form.name, "schema": form.schema, "strict": form.strict}}


class _Answer:
    """One response as it comes to be: the object that each of its events shows as far as it is known."""

    def __init__(self, asked: ResponseBody, exchange: Exchange) -> None:
        self._exchange = exchange
        self.item_id = f"msg_{uuid.uuid4().hex}"
        options = exchange.asked.options
        form = asked.text.format if asked.text is not None else None
        self.body: dict[str, Any] = {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "model": exchange.asked.model,
            "output": [],
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": options.get("temperature", 0),
            "text": {"format": msgspec.to_builtins(form) if form is not None else {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": options.get("top_p", 1),
            "truncation": "disabled",
            "usage": None,
        }

    def message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        """The one item of the output."""
        return {"id": self.item_id, "type": "message", "role": "assistant", "status": status, "content": content}

    def finish(self, text: str, finish_reason: str | None, usage: Mapping[str, Any] | None) -> None:
        """Completes the response, with the field `ragft`."""
        cut = finish_reason == "length"
        status = "incomplete" if cut else "completed"
        self.body |= {
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [self.message(status, [_part(text)])],
            "usage": _usage(usage) if usage else None,
            "ragft": self._exchange.whole(self.body["id"], text),
        }


def _part(text: str) -> dict[str, Any]:
    """A content of one text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input_tokens": usage.get("prompt_tokens", 0),
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": usage.get("completion_tokens", 0),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.get("total_tokens", 0),
    }


@post("/v1/responses", opt={"scope": "chat", "body": ResponseBody}, status_code=200)
async def responses(request: Request[Any, Any, Any], deployment: Deployed, pipeline: Ready) -> Response[Any]:
    """Answers a conversation with a deployed setup in the form of OpenAI's Responses API; nothing is stored."""
    begin = time.perf_counter()
    asked, chat = read_response_request(decode_object(await request.body()), deployment.models_asked)
    chat = assigned(request, deployment, chat)
    caller = caller_of(request)

    async def respond() -> Response[Any]:
        exchange, engine, engine_request = await prepare(
            pipeline, chat, caller.labels, deployment.grounder, request_id_of(request), begin
        )
        exchange.noted = deployment.feedback.for_caller(caller)
        answer = _Answer(asked, exchange)
        if not asked.stream:
            completion = await engine.chat(engine_request)
            exchange.begun(engine)
            answer.finish(completion.text, completion.finish_reason, completion.body.get("usage"))
            content = msgspec.json.encode(answer.body)
            return Response(content, media_type=MediaType.JSON, headers=exchange.headers(), status_code=200)
        chunks = engine.stream(engine_request)
        first = await first_of(chunks)
        exchange.begun(engine, streamed=True)
        return as_stream(_events(answer, exchange.request_id, first, chunks), exchange.headers())

    return await until_disconnect(request, respond)


async def _events(answer: _Answer, request_id: str, first: dict[str, Any], rest: Chunks) -> AsyncGenerator[str, None]:
    """The chunks as the events of OpenAI's Responses API."""
    number = 0
    texts: list[str] = []
    reason: str | None = None
    usage: Mapping[str, Any] | None = None
    place = {"item_id": answer.item_id, "output_index": 0, "content_index": 0}

    def told(kind: str, **fields: Any) -> str:
        nonlocal number
        number += 1
        return event({"type": kind, "sequence_number": number - 1, **fields}, kind)

    def deltas(chunk: Mapping[str, Any]) -> list[str]:
        nonlocal reason, usage
        usage = chunk.get("usage") or usage
        found = []
        for choice in chunk["choices"]:
            reason = choice.get("finish_reason") or reason
            if delta := choice["delta"].get("content"):
                texts.append(delta)
                found.append(told("response.output_text.delta", **place, delta=delta, logprobs=[]))
        return found

    try:
        yield told("response.created", response=answer.body)
        yield told("response.in_progress", response=answer.body)
        yield told("response.output_item.added", output_index=0, item=answer.message("in_progress", []))
        yield told("response.content_part.added", **place, part=_part(""))
        for piece in deltas(first):
            yield piece
        async for chunk in rest:
            for piece in deltas(chunk):
                yield piece
        text = "".join(texts)
        answer.finish(text, reason, usage)
        (item,) = answer.body["output"]
        yield told("response.output_text.done", **place, text=text, logprobs=[])
        yield told("response.content_part.done", **place, part=_part(text))
        yield told("response.output_item.done", output_index=0, item=item)
        yield told(f"response.{answer.body['status']}", response=answer.body)
    except Exception as error:
        # The status has been sent long ago: the error is an event, and the last one.
        refused = as_api_error(error, request_id)
        answer.body |= {"status": "failed", "error": {"code": "server_error", "message": refused.message}}
        yield told("response.failed", response=answer.body)
    finally:
        await close(rest)
