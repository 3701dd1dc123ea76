"""How much a caller may ask for in a minute: one bucket for requests and one for tokens, in constant time.

A bucket holds a minute's worth and fills evenly, so all there is to know of it is when it will be full again. Tokens
are counted when they have been read or written: a bucket may be overdrawn by what is under way, and then refuses until
it is above zero.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

from litestar import Request

from ragft.engine.base import ChatRequest, Completion, Engine
from ragft.keys import Caller
from ragft.messages import turn
from ragft.pipeline import Pipeline
from serving.errors import ApiError

MINUTE = 60.0
# Buckets that are full say nothing, and are dropped when there are more than this.
MAX_IDLE = 10_000

Charge = Callable[[int], None]
Headers = list[tuple[bytes, bytes]]


class Buckets:
    """One bucket for each caller; what they hold stays when a limit changes."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`what` the buckets hold, in the plural."""
        self._what, self._clock = what, clock
        self._full_at: dict[str, float] = {}
        self._most = MAX_IDLE

    def left(self, caller: str, limit: int) -> float:
        """What a bucket of `limit` a minute holds now; below zero where it is overdrawn."""
        return limit * (1 - max(0.0, self._full_at.get(caller, 0.0) - self._clock()) / MINUTE)

    def spend(self, caller: str, limit: int, amount: int) -> None:
        """Takes an amount out of a bucket, whether it is there or not."""
        now = self._clock()
        if len(self._full_at) >= self._most and caller not in self._full_at:
            self._full_at = {name: full for name, full in self._full_at.items() if full > now}
            self._most = max(MAX_IDLE, 2 * len(self._full_at))
        self._full_at[caller] = max(self._full_at.get(caller, 0.0), now) + amount * MINUTE / limit

    def check(self, caller: str, limit: int) -> None:
        """Refuses a caller whose bucket does not hold one.

        Raises:
            ApiError: 429, with the seconds after which it will.
        """
        if (left := self.left(caller, limit)) < 1:
            seconds = math.ceil((1 - left) * MINUTE / limit)
            message = f"More than {limit} {self._what} a minute: try again in {seconds} seconds."
            raise ApiError(429, message, retry_after=max(1, seconds))

    def headers(self, caller: str, limit: int) -> Headers:
        """The headers by which OpenAI's clients pace themselves."""
        left = self.left(caller, limit)
        values = {"limit": limit, "remaining": max(0, int(left)), "reset": f"{(1 - left / limit) * MINUTE:.3f}s"}
        return [(f"x-ratelimit-{name}-{self._what}".encode(), str(value).encode()) for name, value in values.items()]


class Rates:
    """What all callers have left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests, self._tokens = Buckets("requests", clock), Buckets("tokens", clock)

    def admit(self, caller: Caller) -> Headers:
        """Counts a request of a caller, and tells what it has left.

        Raises:
            ApiError: 429: no request or no token is left; the request is then not counted.
        """
        headers: Headers = []
        if caller.tokens is not None:
            self._tokens.check(caller.id, caller.tokens)
        if caller.requests is not None:
            self._requests.check(caller.id, caller.requests)
            self._requests.spend(caller.id, caller.requests, 1)
            headers += self._requests.headers(caller.id, caller.requests)
        if caller.tokens is not None:
            headers += self._tokens.headers(caller.id, caller.tokens)
        return headers

    def charge_of(self, caller: Caller) -> Charge | None:
        """Takes tokens off a caller's account; None for one without a limit."""
        return partial(self._tokens.spend, caller.id, caller.tokens) if caller.tokens is not None else None


def metered(pipeline: Pipeline, request: Request[Any, Any, Any]) -> Pipeline:
    """The pipeline whose engines charge the caller of a request; the very same for a caller without a limit."""
    charge: Charge | None = request.scope["state"].get("charge")
    if charge is None:
        return pipeline
    return replace(pipeline, engines=MeteredEngines(pipeline.engines, charge))


class MeteredEngines(MutableMapping[str, Engine]):
    """The engines of a pipeline, charged for. They are looked up when they are asked, and not when the request comes:
    while it retrieves, another engine may take the place of one.
    """

    def __init__(self, engines: MutableMapping[str, Engine], charge: Charge) -> None:
        self._engines, self._charge = engines, charge

    def __getitem__(self, name: str) -> Engine:
        return cast(Engine, Metered(self._engines[name], self._charge))

    def __setitem__(self, name: str, engine: Engine) -> None:
        self._engines[name] = engine

    def __delitem__(self, name: str) -> None:
        del self._engines[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._engines)

    def __len__(self) -> int:
        return len(self._engines)


class Metered:
    """An engine that charges for the tokens of prompts and answers, also of answers that their client cuts off.

    It has the methods of an engine that are known to be free or are charged for here, and no others.
    """

    def __init__(self, engine: Any, charge: Charge) -> None:
        self._engine, self._charge = engine, charge
        for name in ("preload", "start", "close", "drain", "replace", "check_health", "prompt_length"):
            setattr(self, name, getattr(engine, name))

    @property
    def version(self) -> str:
        return str(self._engine.version)

    async def chat(self, request: ChatRequest) -> Completion:
        completion: Completion = await self._whole(self._engine.chat(request), request)
        told = (completion.prompt_tokens or 0) + (completion.answer_tokens or 0)
        self._charge(_total(completion.body, told))
        return completion

    async def complete(self, request: Any) -> dict[str, Any]:
        body: dict[str, Any] = await self._whole(self._engine.complete(request), request)
        self._charge(_total(body, len(body["choices"])))
        return body

    async def _whole(self, answer: Awaitable[Any], request: Any) -> Any:
        try:
            return await answer
        except asyncio.CancelledError:
            # How far it came is not told, and who leaves early must not pay less than who stays.
            self._charge(self._length(request) + _most(request.options))
            raise

    async def stream(self, request: Any) -> AsyncGenerator[dict[str, Any], None]:
        asked = request.options.get("stream_options") or {}
        if isinstance(asked, dict) and all(isinstance(value, bool) for value in asked.values()):
            options = {**asked, "include_usage": True, "continuous_usage_stats": True}
            request = replace(request, options={**request.options, "stream_options": options})
        else:
            asked = {"include_usage": True, "continuous_usage_stats": True}  # what is not valid the engine refuses
        chunks: AsyncGenerator[dict[str, Any], None] = self._engine.stream(request)
        charged, prompt, answers = 0, 0, dict[int, int]()
        try:
            async for chunk in chunks:
                usage, choices = chunk.get("usage") or {}, chunk["choices"]
                # An engine that does not tell writes a token at a time.
                prompt = usage.get("prompt_tokens") or prompt or self._length(request)
                for choice in choices:
                    index = choice["index"]
                    answers[index] = usage.get("completion_tokens", answers.get(index, 0) + 1)
                spent = prompt + sum(answers.values()) if choices else _total(chunk, charged)
                self._charge(max(0, spent - charged))
                charged = max(charged, spent)
                if not choices and not asked.get("include_usage"):
                    continue
                if choices and not asked.get("continuous_usage_stats"):
                    chunk.pop("usage", None)
                yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            if charged == 0:
                self._charge(self._length(request))
            raise
        finally:
            await chunks.aclose()

    def _length(self, request: Any) -> int:
        """Tokens of a prompt, which for a text without a template are about those of a turn."""
        messages = request.messages if isinstance(request, ChatRequest) else [turn("user", str(request.prompt))]
        return int(self._engine.prompt_length(messages, request.options.get("tools")))


def _total(body: dict[str, Any], otherwise: int) -> int:
    """The tokens of prompt and answers that a body tells."""
    total = (body.get("usage") or {}).get("total_tokens")
    return total if isinstance(total, int) else otherwise


def _most(options: Mapping[str, Any]) -> int:
    """The most tokens that the answers to a request can have."""
    limits = (options.get("max_completion_tokens"), options.get("max_tokens"))
    most = min((limit for limit in limits if isinstance(limit, int)), default=0)
    choices = options.get("n")
    return most * (choices if isinstance(choices, int) else 1)
