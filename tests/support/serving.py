"""An application over stand-ins for engine and index, and a real server on a real socket."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from litestar import Litestar

from ragft.artifacts import Artifact, build
from ragft.config import Config
from ragft.pipeline import Pipeline
from ragft.stages.application import Application
from serving.app import listen, make_server
from support.domains import application
from support.engines import EngineThread
from support.fakes import FakeEngine, FakeRetriever


@dataclass
class Fakes:
    """All stand-ins of one application."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    retriever: FakeRetriever = field(default_factory=FakeRetriever)
    may_load: threading.Event | None = None
    """Loading ends when this is set; None: at once."""
    failure: Exception | None = None

    async def load(self) -> Pipeline:
        if self.may_load is not None:
            await asyncio.to_thread(self.may_load.wait, 60)
        if self.failure is not None:
            raise self.failure
        return self.pipeline(self.retriever)

    def pipeline(self, retriever: Any) -> Pipeline:
        """The stand-in for both models, over any retriever."""
        config = Config.model_validate({"name": "trains", "prompt": {"system": "House style."}})
        return Pipeline(config, {"base": self.engine, "tuned": self.engine}, retriever)


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
def running(app: Litestar, *, wait: bool = True, within: EngineThread | None = None) -> Iterator[Running]:
    """The application on a free port of this machine, in an event loop of its own or `within` that of an engine."""
    with listen("127.0.0.1", 0) as listener:
        server = make_server(app)
        serve = server.run if within is None else lambda sockets: within.call(server.serve(sockets), 1200)
        thread = threading.Thread(target=serve, kwargs={"sockets": [listener]})
        thread.start()
        served = Running(f"http://127.0.0.1:{listener.getsockname()[1]}", server, thread)
        try:
            until(lambda: server.started)
            if wait:
                until(lambda: httpx.get(served.url + "/health/ready").status_code == 200)
            yield served
        finally:
            served.stop()
            served.join(10 if within is None else 20)


@contextmanager
def running_with(thread: EngineThread, app: Litestar) -> Iterator[Running]:
    """The application in the event loop of an engine that outlives it."""
    engine = thread.engine
    close, engine.close = engine.close, _nothing  # type: ignore[method-assign]
    try:
        with running(app, within=thread) as served:
            yield served
    finally:
        engine.close = close  # type: ignore[method-assign]


async def _nothing() -> None: ...


def until(condition: Any, seconds: float = 60.0) -> None:
    """Waits for something that happens soon, though not on a busy machine.

    Raises:
        AssertionError: it did not.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def make_application(tmp_path: Path, index: dict[str, Any] | None = None, **serve: Any) -> Application:
    """An application with its workspace below `tmp_path`; arguments are its section `index` and keys of `serve`."""
    serve = {"setups": ["hybrid", "fine-tuned"], **serve}
    values = {"name": "trains", "workspace": tmp_path / "workspace", "prompt": {"system": "House style."}}
    return application(Config.model_validate({**values, "index": index or {}, "serve": serve}))


def make_models(application: Application, count: int) -> list[Artifact]:
    """Merged models without weights in the workspace of an application, the first one deployed."""

    def work(folder: Path) -> dict[str, Any]:
        (folder / "config.json").write_text("{}")
        return {}

    made = [build(application.registry.root, "model", {"number": number}, work)[0] for number in range(count)]
    application.registry.deploy(made[0])
    return made
