"""Models and snapshots exchanged under traffic."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.fakes import FakeEngine
from support.serving import Fakes, Running, make_application, make_models, running, until

from ragft.artifacts import Artifact
from ragft.engine.base import EngineDead
from ragft.errors import RagftError
from ragft.pipeline import Pipeline
from ragft.stages.application import Application
from serving import deployment as deployment_module
from serving.app import create_app
from serving.security import Keys


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return make_application(tmp_path)


@pytest.fixture
def models(application: Application) -> list[Artifact]:
    """Three merged models, the first deployed."""
    return make_models(application, 3)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> list[FakeEngine]:
    """The engines that were started beside the first one; they have the version of their folder."""
    opened: list[FakeEngine] = []

    def open_engine(app: Application, folder: Path, count: int) -> FakeEngine:
        opened.append(FakeEngine(version=folder.name))
        return opened[-1]

    monkeypatch.setattr(deployment_module, "open_engine", open_engine)
    return opened


@pytest.fixture
def served(application: Application, models: list[Artifact], fakes: Fakes) -> Iterator[Running]:
    fakes.engine.version = models[0].fingerprint

    async def load() -> Pipeline:
        # The base model has an engine of its own, which nothing here concerns.
        pipeline = await fakes.load()
        pipeline.engines["base"] = FakeEngine()
        return pipeline

    with running(create_app(application, load=load, keys=Keys({}))) as server:
        yield server


def post(served: Running, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = httpx.post(served.url + path, json=body, timeout=30)
    return answer.status_code, answer.json()


def versions(served: Running) -> dict[str, Any]:
    return dict(httpx.get(served.url + "/admin/versions").json())


def ask(served: Running) -> str:
    body = {"model": "hybrid", "messages": [{"role": "user", "content": "What does a ticket cost?"}]}
    answer = httpx.post(served.url + "/v1/chat/completions", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["ragft"]["model_version"])


def test_a_model_is_deployed_and_rolled_back_and_answers_say_which_one_they_are_of(
    served: Running, models: list[Artifact], application: Application
) -> None:
    first, second = models[0].fingerprint, models[1].fingerprint
    assert ask(served) == first
    status, told = post(served, "/admin/models/deploy", model=second[:8])
    assert (status, told["model"], told["how"], told["before"]) == (200, second, "in place", first)
    assert ask(served) == application.registry.current() == second
    assert post(served, "/admin/models/deploy", model=second)[1]["how"] == "unchanged"
    assert post(served, "/admin/models/rollback")[1]["model"] == ask(served) == application.registry.current() == first
    told = versions(served)
    assert [entry["version"] for entry in told["model_history"]] == [first, second, first]
    assert {entry["model"] for entry in told["available"]["models"]} == {model.fingerprint for model in models}


def test_another_process_deploys_and_the_running_server_follows(
    served: Running, models: list[Artifact], application: Application
) -> None:
    application.registry.deploy(models[2])
    until(lambda: ask(served) == models[2].fingerprint)


def test_a_model_that_does_not_fit_in_place_gets_an_engine_of_its_own_and_running_answers_end_on_the_old_one(
    served: Running, models: list[Artifact], fakes: Fakes, beside: list[FakeEngine]
) -> None:
    fakes.engine.not_in_place = "it is wider"
    fakes.engine.pause = 0.3
    answered: list[str] = []
    slow = threading.Thread(target=lambda: answered.append(ask(served)))
    slow.start()
    until(lambda: fakes.engine.running == 1)
    status, told = post(served, "/admin/models/deploy", model=models[1].fingerprint)
    slow.join()
    assert (status, told["how"]) == (200, "beside")
    assert answered == [models[0].fingerprint] and fakes.engine.closed and not fakes.engine.cancelled
    assert ask(served) == models[1].fingerprint
    assert [engine.closed for engine in beside] == [False]


@pytest.mark.parametrize(
    ("error", "status"), [(RagftError("no room"), 422), (EngineDead("it died of it"), 503), (MemoryError(), 500)]
)
def test_a_model_that_cannot_be_loaded_changes_nothing(
    served: Running, models: list[Artifact], fakes: Fakes, application: Application,
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int,
) -> None:  # fmt: skip
    async def replace(folder: Path) -> None:
        raise error

    monkeypatch.setattr(fakes.engine, "replace", replace)
    told = post(served, "/admin/models/deploy", model=models[1].fingerprint)
    assert told[0] == status and "no room" not in str(told[1])
    assert ask(served) == application.registry.current() == models[0].fingerprint


def test_an_engine_that_cannot_start_beside_the_old_one_is_closed(
    served: Running, models: list[Artifact], fakes: Fakes, beside: list[FakeEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(self: FakeEngine) -> None:
        raise RagftError("no memory")

    monkeypatch.setattr(FakeEngine, "start", start)
    fakes.engine.not_in_place = "it is wider"
    assert post(served, "/admin/models/deploy", model=models[1].fingerprint)[0] == 422
    assert beside[0].closed and ask(served) == models[0].fingerprint


def test_an_unknown_model_is_refused(served: Running) -> None:
    assert post(served, "/admin/models/deploy", model="ffff")[0] == 404
    assert post(served, "/admin/models/deploy", modell="ffff")[0] == 400
    assert post(served, "/admin/models/rollback")[0] == 404


def test_a_second_exchange_is_refused_while_one_is_running(
    served: Running, models: list[Artifact], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    async def replace(folder: Path) -> None:
        begun.set()
        await asyncio.to_thread(may_end.wait, 10)

    monkeypatch.setattr(fakes.engine, "replace", replace)
    first = threading.Thread(target=lambda: post(served, "/admin/models/deploy", model=models[1].fingerprint))
    first.start()
    assert begun.wait(10)
    assert post(served, "/admin/models/deploy", model=models[2].fingerprint)[0] == 409
    may_end.set()
    first.join()


def test_no_answer_is_lost_while_models_change(served: Running, models: list[Artifact], fakes: Fakes) -> None:
    fakes.engine.pause = 0.002
    over, seen = threading.Event(), list[str]()

    def keep_asking() -> None:
        while not over.is_set():
            seen.append(ask(served))

    askers = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in askers:
        thread.start()
    for number in range(1, 7):
        assert post(served, "/admin/models/deploy", model=models[number % 3].fingerprint)[0] == 200
    over.set()
    for thread in askers:
        thread.join()
    assert set(seen) <= {model.fingerprint for model in models} and len(seen) > 10


def test_without_a_tuned_setup_there_is_nothing_to_exchange(tmp_path: Path, fakes: Fakes) -> None:
    app = make_application(tmp_path, setups=["rag-only"])

    async def load() -> Pipeline:
        pipeline = await fakes.load()
        del pipeline.engines["tuned"]
        return pipeline

    with running(create_app(app, load=load, keys=Keys({}))) as server:
        assert post(server, "/admin/models/rollback")[0] == 404
        assert versions(server)["model_history"] == []


def test_the_wait_for_an_old_engine_ends(application: Application, models: list[Artifact]) -> None:
    from serving.switching import ModelSwitch

    old, fresh = FakeEngine(version=models[0].fingerprint, not_in_place="it is wider"), FakeEngine(version="new")
    old.running = 1
    pipeline = Fakes().pipeline(None)
    pipeline.engines["tuned"] = old
    switch = ModelSwitch(application.registry, lambda folder: fresh, drain_seconds=0.05)
    told = asyncio.run(switch.deploy(pipeline, lambda: models[1]))
    assert told["how"] == "beside" and old.closed and pipeline.engines["tuned"] is fresh
