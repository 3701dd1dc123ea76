"""Stand-ins for the engine, its chat completions and the index, and a real server on a real socket."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
from litestar import Litestar

from index.search.search import Hit
from index.store.filters import Filter, Labels
from ragft.config import Config
from ragft.engine.base import Delta, Generation, Sampling
from ragft.errors import EngineDead
from ragft.pipeline import Retrieved
from ragft.prompts import Message
from serving.app import listen, make_server
from serving.deployment import Loaded

MODEL_VERSION = "0123456789abcdef"
INDEX_VERSION = "fedcba9876543210"


@dataclass
class FakeEngine:
    """An engine of which the endpoint needs its version and its health alone."""

    dead: bool = False
    closed: bool = False
    model_version: str = MODEL_VERSION

    async def start(self) -> None: ...

    async def close(self) -> None:
        self.closed = True

    async def check_health(self) -> None:
        if self.dead:
            raise EngineDead("it was killed")

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Generation:
        raise NotImplementedError

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncIterator[Delta]:
        raise NotImplementedError
        yield


@dataclass
class FakeChat:
    """Chat completions that say `tokens`, one each `pause` seconds, and fail where they are told to."""

    tokens: list[str] = field(default_factory=lambda: ["Costs ", "12 euros ", "[1]."])
    pause: float = 0.0
    error: Exception | None = None
    fails_after: int | None = None
    bodies: list[Mapping[str, Any]] = field(default_factory=list)
    running: int = 0
    cancelled: int = 0

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any] | AsyncIterator[str]:
        self.bodies.append(body)
        if self.error is not None and self.fails_after is None:
            raise self.error
        if body.get("stream"):
            return self._events(body.get("n", 1))
        async with self._slot():
            for _ in self.tokens:
                await asyncio.sleep(self.pause)
            message = {"role": "assistant", "content": "".join(self.tokens)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}

    def _slot(self) -> Any:
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def slot() -> AsyncGenerator[None, None]:
            self.running += 1
            try:
                yield
            except (asyncio.CancelledError, GeneratorExit):
                self.cancelled += 1
                raise
            finally:
                self.running -= 1

        return slot()

    async def _events(self, choices: int) -> AsyncGenerator[str, None]:
        async with self._slot():
            for place, token in enumerate(self.tokens):
                await asyncio.sleep(self.pause)
                if place == self.fails_after and self.error is not None:
                    raise self.error
                last = place == len(self.tokens) - 1
                for index in range(choices):
                    yield _event(
                        [{"index": index, "delta": {"content": token}, "finish_reason": "stop" if last else None}]
                    )
            yield "data: [DONE]\n\n"


def _event(choices: list[dict[str, Any]]) -> str:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return f"data: {msgspec.json.encode(chunk).decode()}\n\n"


class FakeRetriever:
    """Finds the same two passages for every question."""

    def __init__(self) -> None:
        self.index_version = INDEX_VERSION
        self.snapshot = type("FakeSnapshot", (), {"id": INDEX_VERSION, "chunk_count": 2})()
        self.asked: list[tuple[str, int | None]] = []
        self.restrictions: list[tuple[Filter | None, Labels]] = []

    def search(
        self,
        questions: Sequence[str],
        k: int | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
        labels: Labels = None,
    ) -> list[Retrieved]:
        self.asked += [(question, k) for question in questions]
        self.restrictions += [(filter, labels) for _ in questions]
        return [Retrieved(HITS[: k or 2], self.index_version, 1.5) for _ in questions]


def _hit(name: str, text: str) -> Hit:
    return Hit(
        chunk_id=f"{name}#0-{len(text)}",
        document_id=name,
        title=name.removesuffix(".md").title(),
        heading_path=(name.removesuffix(".md").title(), "Prices"),
        start=0,
        end=len(text),
        text=text,
        passage=f"Prices\n{text}",
        score=0.5,
        dense_score=0.7,
        lexical_score=None,
    )


HITS = (_hit("tickets.md", "A ticket costs 12 euros."), _hit("dogs.md", "Dogs travel free."))


@dataclass
class Fakes:
    """All stand-ins of one application."""

    chat: FakeChat = field(default_factory=FakeChat)
    engine: FakeEngine = field(default_factory=FakeEngine)
    retriever: FakeRetriever = field(default_factory=FakeRetriever)
    may_load: threading.Event | None = None
    """Loading ends when this is set; None: at once."""
    failure: Exception | None = None

    async def load(self) -> Loaded:
        if self.may_load is not None:
            await asyncio.to_thread(self.may_load.wait, 60)
        if self.failure is not None:
            raise self.failure
        names = ("base", "tuned")
        return Loaded(dict.fromkeys(names, self.engine), dict.fromkeys(names, self.chat), self.retriever)  # type: ignore[arg-type]


@dataclass
class Running:
    """A server in a thread."""

    url: str
    server: Any
    thread: threading.Thread

    def stop(self) -> None:
        self.server.stop()

    def join(self, seconds: float = 10.0) -> None:
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "the server did not end"


@contextmanager
def running(app: Litestar, *, wait: bool = True) -> Iterator[Running]:
    """The application on a free port of this machine."""
    with listen("127.0.0.1", 0) as listener:
        server = make_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        served = Running(f"http://127.0.0.1:{listener.getsockname()[1]}", server, thread)
        try:
            until(lambda: server.started)
            if wait:
                until(lambda: httpx.get(served.url + "/health/ready").status_code == 200)
            yield served
        finally:
            served.stop()
            served.join()


def until(condition: Any, seconds: float = 5.0) -> None:
    """Waits for something that happens soon.

    Raises:
        AssertionError: it did not.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def make_config(tmp_path: Path, **serve: Any) -> Config:
    """A configuration with an application's workspace below `tmp_path`; arguments are keys of `serve`."""
    serve = {"setups": ["hybrid", "fine-tuned"], **serve}
    values = {"name": "trains", "workspace": tmp_path / "workspace", "prompt": {"system": "House style."}}
    return Config.model_validate({**values, "serve": serve})
