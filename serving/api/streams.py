"""Answers as server-sent events: where they begin, what becomes of an error in them, and how they end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import msgspec
from litestar.response import Stream

from serving.errors import ApiError, as_api_error

Chunks = AsyncGenerator[dict[str, Any], None]
"""An answer piece by piece, as an engine gives it."""

_DONE = "data: [DONE]\n\n"


async def first_of(chunks: Chunks) -> dict[str, Any]:
    """The first chunk; until it has come, an error is a status of its own."""
    try:
        return await anext(chunks)
    except StopAsyncIteration:
        raise ApiError(500, "The engine ended the stream before it began.") from None
    except BaseException:
        await close(chunks)
        raise


async def relay(
    first: dict[str, Any], rest: Chunks, change: Callable[[dict[str, Any]], dict[str, Any]], request_id: str
) -> AsyncGenerator[str, None]:
    """The chunks, each after a change, as the events of OpenAI's chat completions and completions."""
    try:
        yield event(change(first))
        async for chunk in rest:
            yield event(change(chunk))
    except Exception as error:
        # The status has been sent long ago: the error is an event, and the stream ends as clients expect.
        yield event(as_api_error(error, request_id).body())
    finally:
        await close(rest)
    yield _DONE


def event(content: Mapping[str, Any], name: str | None = None) -> str:
    """One event; its name is for those APIs that name them."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {msgspec.json.encode(content).decode()}\n\n"


def as_stream(events: AsyncGenerator[str, None], headers: Mapping[str, str]) -> Stream:
    """The response; proxies are told to pass it on at once."""
    headers = {**headers, "cache-control": "no-cache", "x-accel-buffering": "no"}
    return Stream(events, media_type="text/event-stream", headers=headers, status_code=200)


async def close(chunks: Chunks) -> None:
    """Frees the engine's slot."""
    with contextlib.suppress(Exception):
        await chunks.aclose()
