"""What is malformed, too large, too slow or too much is refused with a status, and never with a 500 or a hang."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import support.serving
from litestar import Litestar
from litestar.testing import TestClient
from support.fuzzing import written
from support.serving import Fakes, make_application, running, until

from ragft.config import EngineSection
from serving.app import create_app, listen
from serving.security import Keys

Client = TestClient[Litestar]
JSON = {"content-type": "application/json"}
CHAT = "/v1/chat/completions"
ASK = {"model": "hybrid", "messages": [{"role": "user", "content": "What does a ticket cost?"}]}


@pytest.mark.medium
@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "\xff\xfe"}',
        b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"messages": ' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"}",
        b"not json",
        b"",
        b"[]",
        b'"text"',
        b'{"temperature": NaN}',
        b'{"temperature": 1e999}',
        b'{"seed": ' + b"9" * 5000 + b"}",
        b'{"model": "\\ud800"}',
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/retrieve"])
def test_a_body_that_is_no_json_object_is_400(client: Client, path: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers=JSON)
    assert answer.status_code == 400
    assert len(answer.content) < 1000


def test_deep_nesting_that_json_allows_is_no_server_error(client: Client, fakes: Fakes) -> None:
    deep = b"[" * 900 + b"]" * 900
    body = b'{"model":"hybrid","messages":[{"role":"user","content":"a"}],"response_format":' + deep + b"}"
    assert client.post(CHAT, content=body, headers=JSON).status_code in (200, 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_415(client: Client, kind: str) -> None:
    assert client.post(CHAT, content=b"{}", headers={"content-type": kind}).status_code == 415


def test_a_body_over_the_limit_is_413_whether_declared_or_not(make_app: Callable[..., Litestar]) -> None:
    with running(make_app(max_body_bytes=2000)) as served, httpx.Client(base_url=served.url) as client:
        assert client.post(CHAT, content=b" " * 3000, headers=JSON).status_code == 413
        assert client.post(CHAT, content=iter([b" " * 1500] * 2), headers=JSON).status_code == 413


def test_a_body_slower_than_the_limit_is_408(make_app: Callable[..., Litestar]) -> None:
    with running(make_app(body_timeout=0.2)) as served:
        host, port = served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
            connection.settimeout(3)
            assert b" 408 " in connection.recv(4096).split(b"\r\n")[0]


@pytest.mark.medium
@pytest.mark.parametrize("begun", [b"", b"\r\n", b"GET /health/live HTTP/1.1\r\nHost: local"])
def test_a_connection_on_which_no_request_arrives_is_closed_however_slowly_it_goes_on(
    make_app: Callable[..., Litestar], begun: bytes
) -> None:
    with running(make_app(body_timeout=0.3)) as served:
        host, port = served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 3) as connection:
            begin = time.monotonic()
            connection.sendall(begun)
            while time.monotonic() < begin + 3:
                connection.settimeout(0.05)
                try:
                    assert connection.recv(100) == b""
                    break
                except TimeoutError:
                    connection.sendall(begun[-1:])
                except ConnectionResetError:
                    break
            assert time.monotonic() < begin + 3


@pytest.mark.medium
def test_an_answer_and_an_idle_connection_may_take_longer_than_a_head(
    make_app: Callable[..., Litestar], fakes: Fakes
) -> None:
    fakes.engine.pause = 0.2
    with running(make_app(body_timeout=0.3)) as served, httpx.Client(base_url=served.url) as client:
        assert client.post(CHAT, json=ASK).elapsed.total_seconds() > 0.5
        time.sleep(0.5)
        assert client.post(CHAT, json=ASK).status_code == 200


def test_headers_over_the_limit_are_431(make_app: Callable[..., Litestar]) -> None:
    with running(make_app()) as served:
        answer = httpx.get(served.url + "/health/live", headers={"x-filler": "a" * 20_000})
        assert answer.status_code == 431


def test_the_request_id_of_the_client_comes_back_unless_it_is_odd(client: Client) -> None:
    assert client.get("/health/live", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert len(client.get("/health/live", headers={"x-request-id": "a b\t"}).headers["x-request-id"]) == 32
    assert "x-request-id" in client.get("/nowhere").headers


def test_unknown_routes_and_methods_have_the_same_error_body(client: Client) -> None:
    assert client.get("/v1/nowhere").json()["error"]["code"] == 404
    assert client.get(CHAT).json()["error"]["code"] == 405


@pytest.mark.medium
def test_a_stream_arrives_piece_by_piece(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    fakes.engine.pause = 0.2
    with running(make_app()) as served:
        with httpx.stream("POST", served.url + CHAT, json={**ASK, "stream": True}) as answer:
            times = [time.monotonic() for line in answer.iter_lines() if line]
        assert times[1] - times[0] > 0.1
        assert len(times) == 4


@pytest.mark.medium
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot(make_app: Callable[..., Litestar], fakes: Fakes, stream: bool) -> None:
    fakes.engine.tokens = ["word "] * 1000
    fakes.engine.pause = 0.02
    with running(make_app()) as served:
        with pytest.raises(httpx.ReadTimeout):
            if stream:
                with httpx.stream("POST", served.url + CHAT, json={**ASK, "stream": True}) as answer:
                    next(answer.iter_lines())
                    raise httpx.ReadTimeout("enough")
            httpx.post(served.url + CHAT, json=ASK, timeout=0.3)
        until(lambda: fakes.engine.running == 0, 1.0)
        assert fakes.engine.cancelled == 1


def _asking(url: str, room: int | None = None) -> socket.socket:
    """A connection of a client that has asked for a stream, and has not read any of it.

    Args:
        room: bytes that the client's operating system takes; None: as many as it likes.
    """
    host, port = url.removeprefix("http://").split(":")
    connection = socket.socket()
    if room is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    connection.connect((host, int(port)))
    body = json.dumps({**ASK, "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    connection.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection


@pytest.mark.medium
def test_a_client_that_stops_reading_frees_its_slot(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    fakes.engine.tokens = [" " * 100_000] * 500
    with running(make_app(write_timeout=0.3)) as served, _asking(served.url):
        until(lambda: fakes.engine.running == 1, 3.0)
        until(lambda: fakes.engine.running == 0, 5.0)
        assert fakes.engine.cancelled == 1


@pytest.mark.medium
def test_a_client_that_does_not_read_the_end_of_its_answer_is_gone_soon(
    make_app: Callable[..., Litestar], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listen_with_little_room(*where: Any) -> socket.socket:
        listener = listen(*where)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return listener

    monkeypatch.setattr(support.serving, "listen", listen_with_little_room)
    # More than the operating system takes, and less than what asyncio calls much.
    fakes.engine.tokens = [" " * 1000] * 40
    with running(make_app(write_timeout=0.3)) as served, _asking(served.url, room=2048):
        until(lambda: fakes.engine.running == 1, 3.0)
        until(lambda: not served.server.server_state.connections, 3.0)
        assert fakes.engine.running == 0


@pytest.mark.medium
def test_a_client_that_reads_slowly_gets_all_of_its_answer(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    fakes.engine.tokens = [" " * 100_000] * 200
    with running(make_app(write_timeout=0.3)) as served, _asking(served.url) as connection:
        read, begin, last = 0, time.monotonic(), b""
        # Slower than the server writes, and for longer than the limit.
        while piece := connection.recv(4096 if (slow := time.monotonic() - begin < 1.0) else 1 << 20):
            read, last = read + len(piece), last[-100:] + piece[-100:]
            time.sleep(0.01 if slow else 0.0)
        assert b"[DONE]" in last and read > 20_000_000
        assert fakes.engine.cancelled == 0


def test_a_client_that_goes_away_before_the_first_token_frees_its_slot(
    make_app: Callable[..., Litestar], fakes: Fakes
) -> None:
    fakes.engine.pause = 5
    with running(make_app()) as served:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(served.url + CHAT, json={**ASK, "stream": True}, timeout=0.3)
        until(lambda: fakes.engine.running == 0, 1.0)


def test_a_client_that_goes_away_with_another_request_behind_frees_its_slot(
    make_app: Callable[..., Litestar], fakes: Fakes
) -> None:
    fakes.engine.pause = 5
    body = json.dumps(ASK).encode()
    with running(make_app()) as served:
        host, port = served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(2 * written("POST", CHAT, body, close=False))
            until(lambda: fakes.engine.running == 1)
        until(lambda: fakes.engine.running == 0, 1.0)
        assert len(fakes.engine.requests) == 1


@pytest.mark.medium
def test_more_requests_than_may_wait_are_503_at_once(tmp_path: Any, fakes: Fakes) -> None:
    application = make_application(tmp_path, max_queued=1)
    application.config = application.config.model_copy(update={"engine": EngineSection(max_num_seqs=1)})
    fakes.engine.pause = 0.3
    with running(create_app(application, load=fakes.load, keys=Keys({}))) as served:
        statuses: list[int] = []

        def post() -> None:
            statuses.append(httpx.post(served.url + CHAT, json=ASK).status_code)

        threads = [threading.Thread(target=post) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 200, 503, 503, 503]
        assert httpx.post(served.url + CHAT, json=ASK).status_code == 200
