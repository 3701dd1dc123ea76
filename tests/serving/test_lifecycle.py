"""From loading to the last answer: health, draining, refreshing under traffic."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from support import PYTHONPATH
from support.serving import Fakes, Running, make_application, running, until

import serving.deployment as deployment_module
from index.encoders.encoder import Encoder
from index.errors import NoSnapshot
from index.refresh.refresh import refresh
from index.store.folder import CURRENT, current_id
from ragft.engine.base import EngineDead
from ragft.errors import RagftError, UsageError
from ragft.models import resolve_encoder
from ragft.pipeline import Pipeline
from ragft.stages.application import Application
from ragft.stages.index import refresh as refresh_index
from serving.app import create_app, listen, serve
from serving.deployment import open_retriever
from serving.security import Keys

CHAT = "/v1/chat/completions"
ASK = {"model": "hybrid", "messages": [{"role": "user", "content": "What does a ticket cost?"}]}


def test_while_loading_the_process_is_alive_and_not_ready(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    fakes.may_load = threading.Event()
    with running(make_app(), wait=False) as served:
        assert httpx.get(served.url + "/health/live").status_code == 200
        ready = httpx.get(served.url + "/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "loading"})
        answer = httpx.post(served.url + CHAT, json=ASK)
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        fakes.may_load.set()
        until(lambda: httpx.get(served.url + "/health/ready").status_code == 200)
    assert fakes.engine.closed


def test_a_dead_engine_is_not_ready(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    with running(make_app()) as served:
        fakes.engine.dead = True
        ready = httpx.get(served.url + "/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "engine dead"})
        assert httpx.get(served.url + "/health/live").status_code == 200


def test_a_server_whose_engine_died_ends_so_that_its_supervisor_starts_another(
    make_app: Callable[..., Litestar], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment_module, "WATCH_SECONDS", 0.05)
    app = make_app(engine_restarts=0)
    ended = threading.Event()
    app.state.domains.on_failure = ended.set
    with running(app):
        fakes.engine.dead = True
        assert ended.wait(10)
        assert isinstance(app.state.domains.failure, EngineDead)


@pytest.mark.medium
def test_running_answers_finish_when_the_server_stops_and_new_ones_are_refused(
    make_app: Callable[..., Litestar], fakes: Fakes
) -> None:
    fakes.engine.tokens = ["word "] * 10
    fakes.engine.pause = 0.1
    texts: list[str] = []

    def post(url: str, stream: bool) -> None:
        texts.append(httpx.post(url + CHAT, json={**ASK, "stream": stream}).text)

    with running(make_app()) as served:
        threads = [threading.Thread(target=post, args=(served.url, stream)) for stream in (True, False, True)]
        for thread in threads:
            thread.start()
        until(lambda: fakes.engine.running == 3)
        with httpx.Client() as kept:
            kept.get(served.url + "/health/live")
            served.stop()
            until(lambda: _refused(served))
        for thread in threads:
            thread.join()
    assert len(texts) == 3
    assert all("stop" in text for text in texts)
    assert fakes.engine.cancelled == 0


def _refused(served: Running) -> bool:
    try:
        return httpx.post(served.url + CHAT, json=ASK).status_code == 503
    except httpx.TransportError:
        return True


@pytest.mark.medium
def test_answers_that_outlast_the_drain_are_cut_off(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    fakes.engine.pause = 30
    with running(make_app(drain_seconds=0.5)) as served:
        thread = threading.Thread(target=lambda: _refused(served))
        thread.start()
        until(lambda: fakes.engine.running == 1)
        served.stop()
        served.join(8)
        thread.join()
    assert fakes.engine.running == 0


@pytest.mark.medium
def test_serve_ends_with_status_0_on_sigterm_and_says_where_it_listens(tmp_path: Path) -> None:
    script = """
        from pathlib import Path
        from support.serving import Fakes, make_application
        from serving.app import serve
        application = make_application(Path("."), port=0, setups=["prompt-only"])
        application.reporter.say = lambda line: print(line, flush=True)
        serve(application, load=Fakes().load)
        print("ended", flush=True)
    """
    file = tmp_path / "script.py"
    file.write_text(textwrap.dedent(script))
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    process = subprocess.Popen(
        [sys.executable, str(file)], stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        url = next(word for word in line.split() if word.startswith("http")).rstrip(",")
        assert process.stdout.readline() == "Ready\n"
        assert httpx.get(url + "/health/ready").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "ended\n"
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.medium
def test_an_engine_that_cannot_start_ends_serve_with_its_sentence(tmp_path: Path, fakes: Fakes) -> None:
    fakes.failure = RagftError("vLLM could not load it.")
    application = make_application(tmp_path, port=0, setups=["prompt-only"])
    with pytest.raises(RagftError, match="could not load"):
        serve(application, load=fakes.load)


def test_a_port_in_use_is_one_sentence_and_nothing_is_loaded(tmp_path: Path, fakes: Fakes) -> None:
    fakes.failure = AssertionError("loading began")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        application = make_application(tmp_path, port=port, setups=["prompt-only"])
        with pytest.raises(UsageError, match=f"Port {port} is in use"):
            serve(application, load=fakes.load)


def test_an_address_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"serve\.host"):
        listen("192.0.2.1", 0)


def test_a_setup_that_retrieves_needs_an_index(tmp_path: Path, fakes: Fakes) -> None:
    with pytest.raises(NoSnapshot, match="ragft index build"):
        serve(make_application(tmp_path, setups=["rag-only"]), load=fakes.load)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(resolve_encoder("all-minilm-l6-v2"), dtype="float32")


@pytest.fixture
def indexed(tmp_path: Path, fakes: Fakes, encoder: Encoder) -> tuple[Application, Litestar]:
    """An endpoint over a real index of one document."""
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "tickets.md").write_text("# Tickets\n\nA ticket costs 12 euros.\n")
    application = make_application(tmp_path, {"documents": {"folder": documents}})
    application.encoder = encoder
    settings = application.config.index.refresh_settings(application.config.seed, model=application.model_tokenizer)
    refresh(application.index_root, documents, encoder, settings)

    async def load() -> Pipeline:
        return fakes.pipeline(await asyncio.to_thread(open_retriever, application))

    return application, create_app(application, load=load, keys=Keys({}))


def _search(url: str, query: str) -> Any:
    return httpx.post(url + "/v1/retrieve", json={"query": query, "top_k": 1}).json()


@pytest.mark.medium
def test_a_refresh_is_served_at_once_and_a_dry_run_changes_nothing(indexed: tuple[Application, Litestar]) -> None:
    application, app = indexed
    with running(app) as served:
        before = _search(served.url, "ticket")["index_version"]
        (application.config.index.documents.folder / "dogs.md").write_text("# Dogs\n\nDogs travel free of charge.\n")
        url = served.url + "/admin/index/refresh"
        plan = httpx.post(url, json={"dry_run": True}).json()
        assert (plan["added"], plan["unchanged"], plan["published"]) == (1, 1, False)
        assert _search(served.url, "dogs")["index_version"] == before
        done = httpx.post(url, json={}).json()
        assert (done["added"], done["published"]) == (1, True)
        found = _search(served.url, "dogs")
        assert found["index_version"] == done["index_version"] != before
        assert found["hits"][0]["document_id"] == "dogs.md"
        again = httpx.post(url, json={}).json()
        assert (again["published"], again["index_version"]) == (False, done["index_version"])
        versions = httpx.get(served.url + "/admin/versions").json()
        assert [entry["id"] for entry in versions["index_history"]] == [before, done["index_version"]]
        assert versions["index_version"] == done["index_version"]


@pytest.mark.medium
def test_a_refresh_while_one_runs_is_409(
    indexed: tuple[Application, Litestar], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, app = indexed
    release = threading.Event()
    began = threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        began.set()
        release.wait(10)
        return refresh_index(*arguments, **options)

    monkeypatch.setattr(deployment_module, "refresh", slow)
    with running(app) as served:
        url = served.url + "/admin/index/refresh"
        first = threading.Thread(target=lambda: httpx.post(url, json={}))
        first.start()
        began.wait(5)
        assert httpx.post(url, json={}).status_code == 409
        assert httpx.get(served.url + "/health/ready").status_code == 200
        release.set()
        first.join()
        assert httpx.post(url, json={}).status_code == 200


@pytest.mark.medium
@pytest.mark.parametrize("body", [{"folder": "/etc"}, {"dry_run": "yes"}, [], "x"])
def test_a_body_that_names_a_path_is_400(indexed: tuple[Application, Litestar], body: Any) -> None:
    _, app = indexed
    with running(app) as served:
        assert httpx.post(served.url + "/admin/index/refresh", json=body).status_code == 400


@pytest.mark.medium
def test_a_snapshot_that_another_process_published_is_served(
    indexed: tuple[Application, Litestar], encoder: Encoder, tmp_path: Path
) -> None:
    application, app = indexed
    with running(app) as served:
        (application.config.index.documents.folder / "dogs.md").write_text("# Dogs\n\nDogs travel free of charge.\n")
        report = refresh(application.index_root, application.config.index.documents.folder, encoder)
        until(lambda: _search(served.url, "dogs")["index_version"] == report.snapshot_id)


@pytest.mark.medium
def test_a_snapshot_that_cannot_be_opened_leaves_the_old_one_serving(
    indexed: tuple[Application, Litestar], tmp_path: Path
) -> None:
    _, app = indexed
    root = tmp_path / "workspace" / "index"
    with running(app) as served:
        before = _search(served.url, "ticket")["index_version"]
        (root / "CURRENT.new").write_text("0" * 16 + "\n")
        (root / "CURRENT.new").replace(root / CURRENT)
        (deployment,) = app.state.domains.deployments
        threading.Event().wait(1.5)
        assert current_id(root) == "0" * 16
        found = _search(served.url, "ticket")
        assert (found["index_version"], found["hits"][0]["document_id"]) == (before, "tickets.md")
        assert len(deployment.history) == 1
