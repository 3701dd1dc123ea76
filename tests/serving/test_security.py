"""Deny by default: who may call what, and where the endpoint may listen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.serving import Fakes, make_application, until

from ragft.errors import UsageError
from serving.app import create_app, serve
from serving.security import Keys, digest_of

Client = TestClient[Litestar]
ASK = {"model": "hybrid", "messages": [{"role": "user", "content": "What does a ticket cost?"}]}
ROUTES = [
    ("POST", "/v1/chat/completions", "chat", ASK),
    ("POST", "/v1/completions", "chat", {"model": "hybrid", "prompt": "A ticket"}),
    ("POST", "/v1/responses", "chat", {"model": "hybrid", "input": "Why?"}),
    ("POST", "/v1/embeddings", "retrieve", {"model": "all-minilm-l6-v2", "input": "a"}),
    ("GET", "/openapi.json", "chat", None),
    ("GET", "/docs", "chat", None),
    ("GET", "/v1/models", "chat", None),
    ("GET", "/v1/models/hybrid", "chat", None),
    ("POST", "/v1/retrieve", "retrieve", {"query": "tickets"}),
    ("GET", "/admin/versions", "admin", None),
    ("POST", "/admin/index/refresh", "admin", {"folder": "/etc"}),
]


@pytest.fixture
def keyed(make_app: Callable[..., Litestar], tmp_path: Path) -> Iterator[Client]:
    file = tmp_path / "keys"
    lines = [
        f"{scope} {digest_of(f'{scope}-key'.encode())}" for scope in ("chat", "retrieve", "admin", "chat,retrieve")
    ]
    file.write_text("# who may what\n\n" + "\n".join(lines))
    app = make_app(keys=Keys.load(file, {"RAGFT_API_KEY": "master"}))
    with TestClient(app, base_url="http://example.org") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        yield client


def call(client: Client, route: tuple[str, str, str, object], key: str | None) -> int:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return client.request(route[0], route[1], json=route[3], headers=headers).status_code


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route[1])
def test_every_route_needs_a_key_with_its_scope(keyed: Client, route: tuple[str, str, str, object]) -> None:
    assert call(keyed, route, None) == 401
    assert call(keyed, route, "guess") == 401
    for scope in ("chat", "retrieve", "admin"):
        allowed = call(keyed, route, f"{scope}-key") not in (401, 403)
        assert allowed == (scope == route[2])
    assert call(keyed, route, "chat,retrieve-key") not in (401,) if route[2] != "admin" else True
    assert call(keyed, route, "master") not in (401, 403)


def test_health_needs_no_key_and_nothing_else_does(keyed: Client) -> None:
    assert keyed.get("/health/live").status_code == 200
    assert keyed.get("/health/ready").status_code == 200
    for path in ("/", "/nowhere", "/schema", "/metrics", "/health", "/health/live/", "//health/live"):
        assert keyed.get(path).status_code == 401, path


def test_every_route_of_the_application_declares_a_scope(make_app: Callable[..., Litestar]) -> None:
    handlers = [
        handler
        for route in make_app(documents=True).routes
        for handler in getattr(route, "route_handlers", [])
        if "OPTIONS" not in getattr(handler, "http_methods", ())
    ]
    documents = [handler for handler in handlers if "document" in handler.fn.__name__]
    assert len(handlers) == len(ROUTES) + 2 + len(documents)
    assert len(documents) == 4 and {handler.opt["scope"] for handler in documents} == {"admin"}
    assert all(handler.opt.get("scope") in ("chat", "retrieve", "admin", "open") for handler in handlers)


def test_an_error_of_authentication_has_openais_body(keyed: Client) -> None:
    answer = keyed.get("/v1/models")
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_without_a_key_only_requests_that_name_localhost_are_answered(client: Client) -> None:
    assert client.get("/v1/models", headers={"host": "localhost:8000"}).status_code == 200
    assert client.get("/v1/models", headers={"host": "[::1]:8000"}).status_code == 200
    assert client.get("/v1/models", headers={"host": "127.0.0.1"}).status_code == 200
    assert client.get("/v1/models", headers={"host": "evil.example"}).status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_beyond_loopback_a_key_is_needed(tmp_path: Path, fakes: Fakes, host: str) -> None:
    application = make_application(tmp_path, host=host)
    with pytest.raises(UsageError, match="RAGFT_API_KEY"):
        create_app(application, load=fakes.load, keys=Keys({}))
    create_app(application, load=fakes.load, keys=Keys.load(None, {"RAGFT_API_KEY": "k"}))


@pytest.mark.parametrize("text", ["chat", "chat 123", f"root {'a' * 64}", f"chat {'a' * 64} more", "# nothing\n"])
def test_a_file_of_keys_that_is_not_understood_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(UsageError, match="keys"):
        Keys.load(file, {})
    with pytest.raises(UsageError, match="not readable"):
        Keys.load(tmp_path / "missing", {})


def test_a_key_can_hold_every_label_that_a_document_can_have(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    (digest, other) = (digest_of(b"one"), digest_of(b"two"))
    lines = [f"chat {digest} labels=human  resources, board", f"chat {digest} labels=R&D/a.b", f"chat {other} labels=*"]
    file.write_text("\n".join(lines))
    keys = Keys.load(file, {})
    assert keys.callers[digest].labels == {"human resources", "board", "R&D/a.b"} and keys.callers[other].labels is None


@pytest.mark.parametrize("labels", ["a,,b", "[board]", "-board", "board # all", "board labels=staff", "bo\u200bard"])
def test_labels_that_no_document_can_have_are_refused_in_the_file_of_keys(tmp_path: Path, labels: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"chat {'a' * 64} labels={labels}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"keys, line 1: The labels"):
        Keys.load(file, {})


def test_a_setup_without_its_model_is_refused_before_anything_is_loaded(tmp_path: Path, fakes: Fakes) -> None:
    with pytest.raises(UsageError, match=r"tuned model.*serve\.setups"):
        serve(make_application(tmp_path), load=fakes.load)
