"""`/v1/completions`: the model of a setup continues a text as it stands: no template, no passages, no house format."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import MediaType, Request, Response, post
from msgspec import Meta

from ragft.engine.base import TextRequest
from ragft.setups import Setup
from serving.api.bodies import decode_object
from serving.api.chat_request import IGNORED, deployed_setup, given, refuse_unknown
from serving.api.schemas import MAX_CHOICES, Completion, TokenId, check
from serving.api.streams import as_stream, first_of, relay
from serving.deployment import Deployed, Ready
from serving.errors import ApiError, request_id_of
from serving.limits import until_disconnect

FORWARDED = frozenset(Completion.__struct_fields__)


class CompletionBody(Completion, kw_only=True):
    """A request to `/v1/completions`; `model` names a deployed setup, whose model continues the prompt.

    Attributes:
        prompt: a text, its token ids, or a list of either.
    """

    model: str
    prompt: str | Annotated[list[Any], Meta(min_length=1)]


@post("/v1/completions", opt={"scope": "chat", "body": CompletionBody}, status_code=200)
async def completions(request: Request[Any, Any, Any], deployment: Deployed, pipeline: Ready) -> Response[Any]:
    """Continues texts with the model of a deployed setup, at once or as server-sent events."""
    setup, asked = read_completion(
        decode_object(await request.body()), deployment.named, pipeline.config.engine.max_tokens
    )

    def named(chunk: dict[str, Any]) -> dict[str, Any]:
        return {**chunk, "model": f"{deployment.prefix}{setup.name}"}

    async def answer() -> Response[Any]:
        engine = pipeline.engine_of(setup)
        if asked.options.get("stream") is not True:
            body = await engine.complete(asked)
            headers = {"x-ragft-model-version": engine.version}
            content = msgspec.json.encode(named(body))
            return Response(content, media_type=MediaType.JSON, headers=headers, status_code=200)
        chunks = engine.stream(asked)
        first = await first_of(chunks)
        headers = {"x-ragft-model-version": engine.version}
        return as_stream(relay(first, chunks, named, request_id_of(request)), headers)

    return await until_disconnect(request, answer)


def read_completion(
    body: Mapping[str, Any], deployed: Mapping[str, Setup], max_tokens: int
) -> tuple[Setup, TextRequest]:
    """The setup that is meant, and what its engine is asked: greedily and for `max_tokens`, unless the body says else.

    Raises:
        ApiError: 400 for what is not valid, 404 for a setup that is not deployed.
    """
    setup = deployed_setup(body.get("model"), deployed)
    refuse_unknown(body, FORWARDED | IGNORED | {"model", "prompt"})
    asked = check(body, CompletionBody)
    count = _count(asked.prompt) * (asked.n or 1)
    if count > MAX_CHOICES:
        raise ApiError(400, f"{count} texts are asked for (prompts x n), which are more than {MAX_CHOICES}.", "prompt")
    options = {"temperature": 0, "max_tokens": max_tokens, **given(body, FORWARDED)}
    return setup, TextRequest(asked.prompt, options)


def _count(prompt: str | list[Any]) -> int:
    """The number of prompts; two lists look alike until their items are known."""
    if isinstance(prompt, str):
        return 1
    for kind, count in ((list[TokenId], 1), (list[str], len(prompt)), (list[list[TokenId]], len(prompt))):
        with contextlib.suppress(msgspec.ValidationError):
            msgspec.convert(prompt, kind)
            return count
    raise ApiError(400, "The prompt must be a text, a list of token ids, or a list of either.", "prompt")
