"""Base model and live adapter in one vLLM engine, with one model's memory; each is an engine of the usual contract.

Another adapter takes the place of the one that serves without the model being loaded again, and while the base model
answers on. It is read first, under a name of its own; then the answers in progress end, and the name changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ragft.engine.adapter import Adapter
from ragft.engine.base import ChatRequest, Completion, Engine, EngineDead, NotInPlace, TextRequest
from ragft.engine.in_place import Turnstile
from ragft.messages import Message

Find = Callable[[Path], Adapter]
"""The adapter of a tuned model's folder; raises a RagftError where it cannot be served live."""


class Host(Engine, Protocol):
    """An engine over the base model that answers with adapters, too; see `ragft.engine.vllm.VllmEngine`."""

    adapter_rank: int | None

    async def load_adapter(self, adapter: Adapter) -> None: ...

    async def unload_adapter(self, version: str) -> None: ...

    async def chat(self, request: ChatRequest, adapter: str | None = None) -> Completion: ...

    async def complete(self, request: TextRequest, adapter: str | None = None) -> dict[str, Any]: ...

    def stream(
        self, request: ChatRequest | TextRequest, adapter: str | None = None
    ) -> AsyncGenerator[dict[str, Any], None]: ...


class Shared:
    """The engine that several models answer from: started with the first of them, closed with the last."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._users: set[LiveEngine] = set()
        self._changing = asyncio.Lock()

    async def join(self, user: LiveEngine) -> None:
        """Starts the engine where it does not run yet."""
        async with self._changing:
            await self.host.start()
            self._users.add(user)

    async def leave(self, user: LiveEngine) -> None:
        """Closes the engine if nobody else uses it, or if it is dead: whoever starts it next then starts it anew."""
        async with self._changing:
            self._users.discard(user)
            if not self._users or await self._is_dead():
                await self.host.close()

    async def _is_dead(self) -> bool:
        try:
            await self.host.check_health()
        except EngineDead:
            return True
        return False


class LiveEngine:
    """One of the models in a shared engine: the base model, or base and adapter; see `ragft.engine.base.Engine`."""

    def __init__(self, shared: Shared, adapter: Adapter | None, find: Find) -> None:
        """
        Args:
            adapter: None: the base model alone.
            find: the adapter of a model that is to take this one's place.
        """
        self._shared, self._host = shared, shared.host
        self._adapter, self._find = adapter, find
        self._turnstile = Turnstile()

    @property
    def version(self) -> str:
        return self._host.version if self._adapter is None else self._adapter.version

    @property
    def _name(self) -> str | None:
        return None if self._adapter is None else self._adapter.version

    def preload(self) -> None:
        self._host.preload()

    async def start(self) -> None:
        await self._shared.join(self)
        if self._adapter is None:
            return
        try:
            await self._host.load_adapter(self._adapter)
        except BaseException:
            await self._shared.leave(self)
            raise

    async def close(self) -> None:
        """As `Engine.close`; while another model answers from the same engine, answers in progress end first."""
        if self._adapter is not None:
            await self._host.unload_adapter(self._adapter.version)
        await self._shared.leave(self)

    async def replace(self, folder: Path) -> None:
        if self._adapter is None:
            raise NotInPlace("The base model cannot be replaced while adapters are served live over it.")
        adapter = await asyncio.to_thread(self._find, folder)
        if adapter.rank > (room := self._host.adapter_rank or 0):
            raise NotInPlace(f"The adapter of {folder.name} has rank {adapter.rank}, and the engine room for {room}.")
        if adapter.version == self._adapter.version:
            return
        await self._host.load_adapter(adapter)
        try:
            async with self._turnstile.alone():
                before, self._adapter = self._adapter, adapter
        except BaseException:
            await self._host.unload_adapter(adapter.version)
            raise
        await self._host.unload_adapter(before.version)

    async def drain(self) -> None:
        await self._turnstile.empty()

    async def check_health(self) -> None:
        await self._host.check_health()

    async def chat(self, request: ChatRequest) -> Completion:
        begin = time.perf_counter()
        async with self._turnstile.passing():
            waited = (time.perf_counter() - begin) * 1000
            answer = await self._host.chat(request, self._name)
        ttft = None if answer.ttft_ms is None else answer.ttft_ms + waited
        return replace(answer, ttft_ms=ttft, total_ms=answer.total_ms + waited)

    def prompt_length(self, messages: Sequence[Message], tools: Any = None) -> int:
        return self._host.prompt_length(messages, tools)

    async def complete(self, request: TextRequest) -> dict[str, Any]:
        async with self._turnstile.passing():
            return await self._host.complete(request, self._name)

    async def stream(self, request: ChatRequest | TextRequest) -> AsyncGenerator[dict[str, Any], None]:
        # The name is read when the turnstile lets it through, and not before.
        async with self._turnstile.passing(), contextlib.aclosing(self._host.stream(request, self._name)) as chunks:
            async for chunk in chunks:
                yield chunk
