"""Models and snapshots exchanged under traffic."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.fakes import FakeEngine, FakeHost, FakeRetriever
from support.serving import Fakes, Running, make_application, make_models, running, until

from ragft.artifacts import Artifact, model_version
from ragft.engine.adapter import Adapter
from ragft.engine.base import EngineDead
from ragft.engine.live import LiveEngine, Shared
from ragft.errors import RagftError
from ragft.keys import Caller
from ragft.pipeline import Pipeline
from ragft.stages.application import Application
from serving import deployment as deployment_module
from serving import switching
from serving.api import admin
from serving.app import create_app
from serving.security import Keys, digest_of


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

    def open_engines(app: Application, folders: dict[str, Path], count: int) -> dict[str, FakeEngine]:
        opened.extend(FakeEngine(version=folder.name) for folder in folders.values())
        return dict(zip(folders, opened[-len(folders) :], strict=True))

    monkeypatch.setattr(deployment_module, "open_engines", open_engines)
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


@pytest.mark.medium
def test_another_process_deploys_and_the_running_server_follows(
    served: Running, models: list[Artifact], application: Application
) -> None:
    application.registry.deploy(models[2])
    until(lambda: ask(served) == models[2].fingerprint)


@pytest.mark.medium
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


class MortalEngine(FakeEngine):
    """Cannot answer any more once it is closed."""

    def _accept(self, request: Any) -> None:
        if self.closed:
            raise EngineDead("it was closed")
        super()._accept(request)


class SlowRetriever(FakeRetriever):
    """Finds something as soon as it may."""

    def __init__(self) -> None:
        super().__init__()
        self.searching, self.may_find = threading.Event(), threading.Event()

    def search(self, *arguments: Any, **options: Any) -> Any:
        self.searching.set()
        self.may_find.wait(30)
        return super().search(*arguments, **options)


@pytest.mark.medium
@pytest.mark.parametrize("tokens", [None, 100_000])
@pytest.mark.parametrize("stream", [False, True])
def test_who_still_retrieves_is_answered_by_the_model_that_came_meanwhile(
    application: Application, models: list[Artifact], beside: list[FakeEngine], tokens: int | None, stream: bool
) -> None:
    fakes = Fakes(MortalEngine(version=models[0].fingerprint, not_in_place="it is wider"), SlowRetriever())
    keys = Keys(
        {
            digest_of(b"chat"): Caller(frozenset({"chat"}), id="k", tokens=tokens),
            digest_of(b"admin"): Caller(frozenset({"admin"}), id="a"),
        }
    )
    answered: list[httpx.Response] = []

    def call(served: Running, key: str, path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(served.url + path, json=body, headers={"authorization": f"Bearer {key}"}, timeout=30)

    with running(create_app(application, load=fakes.load, keys=keys)) as served:
        ask = {"model": "hybrid", "messages": [{"role": "user", "content": "Why?"}], "stream": stream}
        slow = threading.Thread(target=lambda: answered.append(call(served, "chat", "/v1/chat/completions", ask)))
        slow.start()
        assert fakes.retriever.searching.wait(30)  # type: ignore[attr-defined]
        told = call(served, "admin", "/admin/models/deploy", {"model": models[1].fingerprint})
        assert told.json()["how"] == "beside" and fakes.engine.closed
        fakes.retriever.may_find.set()  # type: ignore[attr-defined]
        slow.join()
    assert answered[0].status_code == 200, answered[0].text
    assert answered[0].headers["x-ragft-model-version"] == models[1].fingerprint and len(beside[0].requests) == 1


@pytest.mark.medium
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


def test_a_look_at_what_others_have_deployed_refuses_no_exchange(
    application: Application, models: list[Artifact], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switching, "POLL_SECONDS", 0.01)
    looking, may_end = threading.Event(), threading.Event()

    def version_of(folder: Path) -> str:
        looking.set()
        may_end.wait(10)
        return folder.name

    async def deploy_meanwhile() -> dict[str, Any]:
        pipeline = await fakes.load()
        fakes.engine.version = models[0].fingerprint
        switch = switching.ModelSwitch(application.registry, lambda folder: FakeEngine(), version_of, 1.0)
        follower = asyncio.create_task(switch.follow(pipeline))
        await asyncio.to_thread(looking.wait, 10)
        deploying = asyncio.create_task(switch.deploy(pipeline, lambda: models[1]))
        await asyncio.sleep(0.05)
        may_end.set()
        told = await deploying
        follower.cancel()
        return told

    assert asyncio.run(deploy_meanwhile())["model"] == models[1].fingerprint == application.registry.current()


@pytest.mark.medium
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


@pytest.fixture
def live(application: Application, models: list[Artifact], monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server whose two models answer from one engine, which says in each answer by which adapter it is."""
    host = FakeHost(pause=0.002)

    def find(folder: Path) -> Adapter:
        if folder == models[2].folder:
            raise RagftError("its proof says that it differs")
        return Adapter(folder, version_of(application, folder), 8)

    def version_of(app: Application, folder: Path) -> str:
        if folder.name not in (models[0].fingerprint, models[1].fingerprint):
            raise RagftError("it is DoRA")
        return f"live {folder.name[:4]}"

    async def load() -> Pipeline:
        shared = Shared(host)
        engines = {"base": LiveEngine(shared, None, find), "tuned": LiveEngine(shared, find(models[0].folder), find)}
        for engine in engines.values():
            await engine.start()
        pipeline = Fakes().pipeline(FakeRetriever())
        pipeline.engines.update(engines)
        return pipeline

    monkeypatch.setattr(deployment_module, "version_of", version_of)
    monkeypatch.setattr(admin, "version_of", version_of)
    with running(create_app(application, load=load, keys=Keys({}))) as server:
        yield server
    assert host.starts == 1 and host.closed


@pytest.mark.medium
def test_live_adapters_are_exchanged_under_traffic_and_every_answer_is_of_the_version_that_it_names(
    live: Running, models: list[Artifact], application: Application
) -> None:
    over, seen = threading.Event(), list[tuple[str, str]]()

    def keep_asking() -> None:
        body = {"model": "hybrid", "messages": [{"role": "user", "content": "What does a ticket cost?"}]}
        while not over.is_set():
            answer = httpx.post(live.url + "/v1/chat/completions", json=body, timeout=30).json()
            seen.append((answer["choices"][0]["message"]["content"], answer["ragft"]["model_version"]))

    askers = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in askers:
        thread.start()
    names = [f"live {model.fingerprint[:4]}" for model in models]
    for number in range(1, 6):
        status, told = post(live, "/admin/models/deploy", model=models[number % 2].fingerprint)
        assert (status, told.get("how"), told.get("model_version")) == (200, "in place", names[number % 2]), told
    assert post(live, "/admin/models/rollback")[1]["model"] == application.registry.current() == models[0].fingerprint
    over.set()
    for thread in askers:
        thread.join()
    assert {name for name, _ in seen} == set(names[:2]) and all(text == version for text, version in seen)


def test_a_model_that_cannot_be_served_live_is_refused_and_listed_without_a_version(
    live: Running, models: list[Artifact], application: Application
) -> None:
    status, told = post(live, "/admin/models/deploy", model=models[2].fingerprint)
    assert (status, application.registry.current()) == (422, models[0].fingerprint) and "DoRA" not in str(told)
    listed = {entry["model"]: entry["version"] for entry in versions(live)["available"]["models"]}
    assert listed[models[2].fingerprint] is None and listed[models[1].fingerprint].startswith("live ")


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
    switch = ModelSwitch(application.registry, lambda folder: fresh, model_version, drain_seconds=0.05)
    told = asyncio.run(switch.deploy(pipeline, lambda: models[1]))
    assert told["how"] == "beside" and old.closed and pipeline.engines["tuned"] is fresh
