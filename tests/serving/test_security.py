"""Deny by default: who may call what, and where the endpoint may listen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.serving import Fakes, make_application, until

from ragft.errors import UsageError
from ragft.keys import Caller, add_key
from serving import security
from serving.api import web
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
    ("GET", "/v1/models/trains/hybrid", "chat", None),
    ("POST", "/v1/retrieve", "retrieve", {"query": "tickets"}),
    ("GET", "/v1/document?id=tickets.md", "retrieve", None),
    ("POST", "/v1/feedback", "chat", {"id": "chatcmpl-0", "thumb": "good"}),
    ("POST", "/v1/preference", "chat", {"answers": ["a", "b"], "choice": 1, "blind": True}),
    ("GET", "/admin/versions", "admin", None),
    ("GET", "/admin/drift", "admin", None),
    ("GET", "/admin/golden", "admin", None),
    ("GET", "/admin/queue", "admin", None),
    ("GET", "/admin/errors", "admin", None),
    ("GET", "/admin/evaluation", "admin", None),
    ("GET", "/admin/evaluation/report", "admin", None),
    ("POST", "/admin/index/refresh", "admin", {"folder": "/etc"}),
    ("POST", "/admin/index/rollback", "admin", {"folder": "/etc"}),
    ("POST", "/admin/models/deploy", "admin", {"model": "ffff"}),
    ("POST", "/admin/models/rollback", "admin", {}),
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


@pytest.mark.medium
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route[1])
def test_every_route_needs_a_key_with_its_scope(keyed: Client, route: tuple[str, str, str, object]) -> None:
    assert call(keyed, route, None) == 401
    assert call(keyed, route, "guess") == 401
    for scope in ("chat", "retrieve", "admin"):
        allowed = call(keyed, route, f"{scope}-key") not in (401, 403)
        assert allowed == (scope == route[2])
    assert call(keyed, route, "chat,retrieve-key") not in (401,) if route[2] != "admin" else True
    assert call(keyed, route, "master") not in (401, 403)


@pytest.mark.medium
@pytest.mark.parametrize("path", ["/metrics", "/health/deep"])
def test_how_the_server_is_can_be_seen_with_the_scope_metrics_and_with_admin(
    path: str, make_app: Callable[..., Litestar], tmp_path: Path
) -> None:
    scopes = ("chat", "retrieve", "metrics", "admin")
    (tmp_path / "keys").write_text("\n".join(f"{scope} {digest_of(scope.encode())}" for scope in scopes))
    with TestClient(make_app(keys=Keys.load(tmp_path / "keys", {}))) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        assert call(client, ("GET", path, "metrics", None), None) == 401
        allowed = [scope for scope in scopes if call(client, ("GET", path, "metrics", None), scope) == 200]
    assert allowed == ["metrics", "admin"]


def test_health_and_the_page_need_no_key_and_nothing_else_does(keyed: Client) -> None:
    for path in ("/health/live", "/health/ready", "/", "/web/app.js", "/web/session"):
        assert keyed.get(path).status_code == 200, path
    for path in (
        "/nowhere",
        "/web",
        "//web/app.js",
        "/schema",
        "/metrics",
        "/health",
        "/health/live/",
        "//health/live",
    ):
        assert keyed.get(path).status_code == 401, path


def test_every_route_of_the_application_declares_a_scope(make_app: Callable[..., Litestar]) -> None:
    handlers = [
        handler
        for route in make_app(documents=True).routes
        for handler in getattr(route, "route_handlers", [])
        if "OPTIONS" not in getattr(handler, "http_methods", ())
    ]
    documents = [handler for handler in handlers if any(path.startswith("/admin/documents") for path in handler.paths)]
    assert len(handlers) == len(ROUTES) + len(("live", "ready", "deep", "metrics")) + len(documents) + len(web.ROUTES)
    assert len(documents) == 4 and {handler.opt["scope"] for handler in documents} == {"admin"}
    scopes = ("chat", "retrieve", "metrics", "admin", "open")
    assert all(handler.opt.get("scope") in scopes for handler in handlers)


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


@pytest.mark.parametrize("labels", ["a,,b", "[board]", "-board", "board # all", "bo\u200bard"])
def test_labels_that_no_document_can_have_are_refused_in_the_file_of_keys(tmp_path: Path, labels: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"chat {'a' * 64} labels={labels}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"keys, line 1: The labels"):
        Keys.load(file, {})


class Watch:
    """A file of keys and the server's view of it, as if seconds had passed since each change."""

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = file
        monkeypatch.setattr(security, "LOOK_SECONDS", 0.0)
        monkeypatch.setattr(security, "SETTLED_SECONDS", 0.0)
        self.write(f"chat {digest_of(b'one')}\nchat {digest_of(b'two')}\n")
        self.keys = Keys.load(file, {"RAGFT_API_KEY": "master"})

    def write(self, text: str | bytes) -> None:
        self.file.write_bytes(text.encode() if isinstance(text, str) else text)

    def known(self) -> set[str]:
        assert self.keys
        return {key for key in ("one", "two", "three", "master") if self.keys.caller(key.encode())}


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(tmp_path / "keys", monkeypatch)


def test_a_file_of_keys_is_read_again_when_it_changes(watch: Watch) -> None:
    assert watch.known() == {"one", "two", "master"}
    watch.write(f"chat {digest_of(b'two')}\nadmin {digest_of(b'three')}")
    assert watch.known() == {"two", "three", "master"}
    add_key(watch.file, "one", Caller(frozenset({"chat"})))
    assert watch.known() == {"one", "two", "three", "master"}


def test_a_line_that_is_damaged_later_closes_its_key_alone_and_is_named_once(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.write(f"chat {digest_of(b'one')}\nchat {digest_of(b'two')} expires=soon\n")
    assert watch.known() == watch.known() == {"one", "master"}
    watch.write(f"chat {digest_of(b'one')}\nchat {digest_of(b'two')} expires=soon\n")
    assert watch.known() == {"one", "master"}
    assert [
        record.message for record in caplog.records if "keys, line 2: " in record.message and "date" in record.message
    ]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"# nothing\n", None])
def test_a_file_that_grants_nothing_any_more_closes_and_never_opens(
    watch: Watch, damage: bytes | None, make_app: Callable[..., Litestar]
) -> None:
    with TestClient(make_app(keys=watch.keys), base_url="http://localhost") as client:
        if damage is None:
            watch.file.unlink()
        else:
            watch.write(damage)
        assert watch.known() == {"master"}
        assert client.get("/v1/models").status_code == 401
        watch.write(f"chat {digest_of(b'one')}\n")
        assert watch.known() == {"one", "master"}


def test_a_last_line_that_is_being_written_waits_for_its_end(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "SETTLED_SECONDS", 60.0)
    watch.write(f"chat {digest_of(b'one')}\nchat {digest_of(b'three')}")
    assert watch.known() == {"one", "master"}
    watch.write(f"chat {digest_of(b'one')}\nchat {digest_of(b'three')} expires=2001-01-01\n")
    assert watch.known() == {"one", "three", "master"}
    watch.write(f"chat {digest_of(b'one')}\nchat {digest_of(b'three')}")
    monkeypatch.setattr(security, "SETTLED_SECONDS", 0.0)
    assert watch.known() == {"one", "three", "master"}


def test_a_key_that_has_expired_is_told_so(make_app: Callable[..., Litestar]) -> None:
    callers = {digest_of(b"old"): Caller(frozenset({"chat"}), expires=time.time() - 1)}
    with TestClient(make_app(keys=Keys(callers)), base_url="http://localhost") as client:
        answer = client.get("/v1/models", headers={"authorization": "Bearer old"})
        assert answer.status_code == 401 and "expired" in answer.json()["error"]["message"]


def test_a_server_starts_with_the_lines_that_it_understands(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys"
    file.write_text(f"chat {digest_of(b'one')}\nroot {digest_of(b'two')}\n")
    keys = Keys.load(file, {})
    assert keys.caller(b"one") is not None and keys.caller(b"two") is None
    assert "keys, line 2: There is no scope root" in caplog.text


def test_a_setup_without_its_model_is_refused_before_anything_is_loaded(tmp_path: Path, fakes: Fakes) -> None:
    with pytest.raises(UsageError, match=r"tuned model.*serve\.setups"):
        serve(make_application(tmp_path), load=fakes.load)
