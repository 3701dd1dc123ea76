"""An engine that died is rebuilt; one that hangs, or an index that cannot be read, is found out."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from support.fakes import FakeEngine
from support.serving import Fakes, make_application, running, until

import serving.deployment as deployment_module
import serving.supervision as supervision
from ragft.engine.base import ChatRequest, EngineBusy, EngineDead
from ragft.errors import RagftError
from serving.app import serve
from serving.supervision import Supervisor

CHAT = "/v1/chat/completions"
ASK = {"model": "hybrid", "messages": [{"role": "user", "content": "What does a ticket cost?"}]}


class Mortal(FakeEngine):
    """Answers in progress fail when it dies; `starts` begins it had, of which those after the first may fail."""

    starts = 0
    failing_starts = 0

    async def start(self) -> None:
        self.starts += 1
        if 1 < self.starts <= 1 + self.failing_starts:
            raise RagftError("no memory")
        self.dead = False
        await super().start()

    async def stream(self, request: ChatRequest) -> AsyncGenerator[dict[str, Any], None]:
        if self.dead:
            raise EngineDead("it was killed")
        async for chunk in super().stream(request):
            if self.dead:
                raise EngineDead("it was killed")
            yield chunk


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment_module, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.2)


@pytest.mark.medium
def test_an_engine_that_died_under_streams_is_rebuilt_and_its_clients_hear_at_once(
    make_app: Callable[..., Litestar], fakes: Fakes
) -> None:
    fakes.engine = engine = Mortal(["word "] * 1000, pause=0.05)
    engine.starts, engine.failing_starts = 1, 1
    app = make_app()
    ended: list[tuple[float, str]] = []
    with running(app) as served:

        def ask() -> None:
            text = httpx.post(served.url + CHAT, json={**ASK, "stream": True}, timeout=30).text
            ended.append((time.monotonic(), text))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: engine.running == 4)
        died = time.monotonic()
        engine.dead = True
        ready = httpx.get(served.url + "/health/ready")
        assert ready.status_code == 503 and ready.json()["status"].startswith("engine")
        for thread in threads:
            thread.join()
        # Not how fast it is: what hangs would end with the request's own time limit.
        assert all(when - died < 5 for when, _ in ended)
        assert all('"code":503' in text for _, text in ended)
        refused = httpx.post(served.url + CHAT, json={**ASK, "stream": True})
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        assert httpx.get(served.url + "/health/live").status_code == 200
        until(lambda: httpx.get(served.url + "/health/ready").status_code == 200)
        engine.tokens = ["Costs 12 euros."]
        assert "12 euros" in httpx.post(served.url + CHAT, json={**ASK, "stream": True}).text
        assert app.state.domains.deployments[0].restarts == {"rebuilt": 1, "failed": 1}
        page = httpx.get(served.url + "/metrics").text
    assert 'ragft_engine_restarts_total{outcome="rebuilt"} 1.0' in page


@pytest.mark.medium
def test_a_server_whose_engine_cannot_be_rebuilt_ends_with_the_reason(
    tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.01)
    fakes.engine = engine = Mortal()
    engine.starts, engine.failing_starts = 1, 99
    application = make_application(tmp_path, port=0, setups=["prompt-only"], engine_restarts=2)

    def die(line: str) -> None:
        engine.dead = line == "Ready" or engine.dead

    application.reporter.say = die  # type: ignore[method-assign, assignment]
    with pytest.raises(EngineDead, match="2 attempts to rebuild it failed: no memory") as caught:
        serve(application, load=fakes.load)
    assert caught.value.exit_status == 1
    assert engine.starts == 1 + 2


def test_an_engine_that_dies_again_and_again_uses_up_its_attempts() -> None:
    async def lives() -> int:
        engine, supervisor, count = Mortal(), Supervisor(3), 0
        with pytest.raises(EngineDead):
            while True:
                await supervisor.rebuild(engine, EngineDead("killed"))
                count += 1
        return count

    supervision.FIRST_PAUSE = 0.001
    assert asyncio.run(lives()) == 3


def test_attempts_are_given_again_to_an_engine_that_lived_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(supervision, "STABLE_SECONDS", -1.0)

    async def lives() -> None:
        engine, supervisor = Mortal(), Supervisor(1)
        for _ in range(3):
            await supervisor.rebuild(engine, EngineDead("killed"))
        assert supervisor.outcomes == {"rebuilt": 3, "failed": 0}

    asyncio.run(lives())


def test_a_deep_look_tells_an_engine_that_hangs(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    with running(make_app(deep_health_timeout=0.2)) as served:
        fakes.engine.pause = 60
        deep = httpx.get(served.url + "/health/deep")
        assert deep.status_code == 503 and deep.json()["status"] == "failing"
        assert {part["status"] for part in deep.json()["engines"].values()} == {"hung"}
        assert deep.json()["index"]["status"] == "ok"
        assert httpx.get(served.url + "/health/ready").status_code == 200
    assert fakes.engine.running == 0, "its slot is free again"


def test_a_deep_look_tells_an_index_that_cannot_be_read_and_a_full_queue_is_no_death(
    make_app: Callable[..., Litestar], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise OSError("the disk is gone")

    monkeypatch.setattr(fakes.retriever, "search", broken)
    fakes.engine.error = EngineBusy("full")
    with running(make_app()) as served:
        deep = httpx.get(served.url + "/health/deep")
    assert deep.status_code == 503
    assert deep.json()["index"]["status"] == "unreadable"
    assert {part["status"] for part in deep.json()["engines"].values()} == {"busy"}


def test_deep_looks_are_seldom_whoever_asks(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    with running(make_app()) as served:
        found = [httpx.get(served.url + "/health/deep") for _ in range(5)]
    assert {answer.status_code for answer in found} == {200}
    assert [request.options["max_tokens"] for request in fakes.engine.requests] == [1, 1]  # base and tuned, once each
    assert all(answer.json()["seconds_ago"] >= 0 for answer in found)
