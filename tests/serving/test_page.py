"""The page is open and holds nothing; what it shows it asks for with a session, which no other site can use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.serving import Fakes, until

from ragft.keys import SCOPES, Caller, digest_of
from serving.api import web
from serving.security import Keys
from serving.sessions import COOKIE, Sessions, is_same_origin

KEY = "a-key-of-the-desk"
OURS, THEIRS = {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "cross-site"}


@pytest.fixture
def closed(make_app: Callable[..., Litestar]) -> Iterator[TestClient[Litestar]]:
    """A client of an application that needs a key."""
    keys = Keys({digest_of(KEY.encode()): Caller(SCOPES, None, id="desk")})
    with TestClient(make_app(keys), base_url="http://desk.example", raise_server_exceptions=False) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        yield client


def test_the_page_loads_from_here_alone_and_is_small(closed: TestClient[Litestar]) -> None:
    page = closed.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "style=" not in page.text and "http:" not in page.text and "https:" not in page.text
    names = sorted(web._FILES)
    assert {"app.css", "app.js", "vote.js", "search.js", "marked.js", "purify.js"} <= set(names)
    files = [closed.get(f"/web/{name}") for name in names]
    assert all(file.status_code == 200 for file in files)
    assert sum(len(file.content) for file in (page, *files)) < 300_000
    again = closed.get(f"/web/{names[1]}", headers={"if-none-match": files[1].headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["index.html", "..%2fapp.py", "", "app.js%00", "nothing.js"])
def test_no_other_file_is_given(closed: TestClient[Litestar], name: str) -> None:
    answer = closed.get(f"/web/{name}")
    assert answer.status_code in (401, 404) and "error" in answer.json()


def test_a_session_asks_as_its_key_does_and_no_other_site_can_use_it(closed: TestClient[Litestar]) -> None:
    assert closed.get("/web/session").json() == {"closed": True, "logged_in": False}
    assert closed.post("/web/session", json={"key": "another"}).status_code == 401
    told = closed.post("/web/session", json={"key": KEY})
    assert told.status_code == 200 and KEY not in told.text
    cookie = told.headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower() and KEY not in cookie
    assert closed.get("/v1/models", headers=OURS).status_code == 200
    assert closed.get("/web/session", headers=OURS).json()["logged_in"]
    for headers in (THEIRS, {"sec-fetch-site": "same-site"}, {}, {"origin": "http://other.example"}):
        assert closed.get("/v1/models", headers=headers).status_code == 401
    # A wrong key is wrong, whatever cookie goes along.
    assert closed.get("/v1/models", headers={**OURS, "authorization": "Bearer no"}).status_code == 401
    closed.delete("/web/session", headers=OURS)
    closed.cookies.set(COOKIE, cookie.partition("=")[2].partition(";")[0])
    assert closed.get("/v1/models", headers=OURS).status_code == 401


@pytest.mark.medium
def test_a_session_ends_with_its_key(make_app: Callable[..., Litestar], tmp_path: Path) -> None:
    file = tmp_path / "keys"
    line = f"chat {digest_of(KEY.encode())}\n"
    file.write_text(line)
    keys = Keys.load(file, {})
    with TestClient(make_app(keys), base_url="http://desk.example") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        assert client.post("/web/session", json={"key": KEY}).status_code == 200
        assert client.get("/v1/models", headers=OURS).status_code == 200
        assert client.post("/v1/retrieve", json={"query": "a"}, headers=OURS).status_code == 403
        file.write_text(line.replace("chat", "metrics"))
        until(lambda: client.get("/v1/models", headers=OURS).status_code == 403)
        file.write_text("# none\n")
        until(lambda: client.get("/v1/models", headers=OURS).status_code == 401)


def test_the_oldest_sessions_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.sessions.MOST", 2)
    sessions = Sessions()
    tokens = [sessions.open(name) for name in (b"a", b"b", b"c")]
    found = [
        sessions.key({b"cookie": f"{COOKIE}={token}".encode(), b"sec-fetch-site": b"same-origin"}) for token in tokens
    ]
    assert found == [None, b"b", b"c"]
    monkeypatch.setattr("serving.sessions.LIFETIME", -1.0)
    headers = {b"cookie": f"{COOKIE}={sessions.open(b'd')}".encode(), b"sec-fetch-site": b"same-origin"}
    assert sessions.key(headers) is None


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({b"origin": b"http://desk:8000", b"host": b"desk:8000"}, True),
        ({b"origin": b"http://desk:8001", b"host": b"desk:8000"}, False),
        ({b"origin": b"null", b"host": b"desk:8000"}, False),
        ({b"sec-fetch-site": b"none"}, False),
        ({b"host": b"desk"}, False),
        ({}, False),
    ],
)
def test_only_a_page_of_the_same_origin_counts(headers: dict[bytes, bytes], same: bool) -> None:
    assert is_same_origin(headers) == same


def test_without_javascript_a_form_is_answered_as_a_page(closed: TestClient[Litestar], fakes: Fakes) -> None:
    fakes.engine.tokens = ["<script>alert(1)</script> ", "12 euros [1]."]
    logged_in = closed.post("/web/session", data={"key": KEY}, headers=OURS, follow_redirects=False)
    assert (logged_in.status_code, logged_in.headers["location"]) == (303, "/")
    page = closed.post("/web/ask", data={"question": "How <b>much</b>?"}, headers=OURS)
    assert page.status_code == 200 and "12 euros" in page.text and "A ticket costs 12 euros." in page.text
    assert "<script>alert" not in page.text and "<b>much" not in page.text
    assert closed.post("/web/ask", data={"question": " "}, headers=OURS).status_code == 400
    assert closed.post("/web/ask", data={"question": "a"}, headers=THEIRS).status_code == 401


def test_another_site_sends_no_form_even_where_no_key_is_needed(client: TestClient[Litestar]) -> None:
    answer = client.post("/web/ask", data={"question": "How much?"}, headers=THEIRS)
    assert answer.status_code == 403 and "the page of this endpoint alone" in answer.text
    assert client.post("/web/ask", data={"question": "How much?"}, headers=OURS).status_code == 200
    assert client.post("/v1/retrieve", data={"query": "a"}, headers=OURS).status_code == 415
    assert client.get("/web/session").json() == {"closed": False, "logged_in": True}


def test_what_a_script_imports_is_exported_where_it_looks() -> None:
    """A browser refuses the whole page otherwise, and there is none where these tests have to run."""
    ours = {name: file.content.decode() for name, file in web._FILES.items() if name.endswith(".js")}
    imports = re.compile(r'^import (?:\* as \w+|\{([^}]*)\}|(\w+)) from "/web/([\w.]+)";$', re.MULTILINE)
    looked_up = 0
    for name in set(ours) - {"marked.js", "purify.js"}:
        for names, _, target in imports.findall(ours[name]):
            assert target in ours, (name, target)
            for wanted in filter(None, (one.split(" as ")[0].strip() for one in names.split(","))):
                looked_up += 1
                exported = (
                    rf"export (?:async )?(?:function\*?|const|let|class) {wanted}\b|export ?\{{[^}}]*\b{wanted}\b"
                )
                assert re.search(exported, ours[target]), f"{name} imports {wanted} of {target}"
    assert looked_up > 20
