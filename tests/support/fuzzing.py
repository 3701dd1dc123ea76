"""Requests that no sound client sends, over real sockets, and what must be true of every answer to them.

Used by the tests, and by `benchmarks/fuzz.py` with ten thousand requests.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import struct
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h11
import httpx
from hypothesis import strategies as st

from index.encoders.encoder import TextEncoder
from ragft.pipeline import Pipeline
from ragft.stages.index import refresh
from serving.app import create_app
from serving.deployment import open_retriever
from serving.errors import STATUS_TYPES
from serving.security import Keys
from support.garbage import VALUES, nested
from support.serving import Fakes, Running, make_application, make_models, running, until

HANG_SECONDS = 30.0
BODY_SECONDS = 0.5
"""Within which heads and bodies must arrive at the fuzzed server."""
_LONGEST_ERROR = 4096  # bytes of a refusal, whatever was sent
_LEAK = re.compile(rb'Traceback|File "|site-packages|\w\.py\b|/(?:tmp|home|root|usr|opt|work|proc)/')

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/chat/completions"): {"model": "hybrid", "messages": [{"role": "user", "content": "Why?"}]},
    ("POST", "/v1/completions"): {"model": "hybrid", "prompt": "A ticket"},
    ("POST", "/v1/responses"): {"model": "hybrid", "input": "What does it cost?"},
    ("POST", "/v1/embeddings"): {"model": "all-minilm-l6-v2", "input": "a ticket"},
    ("POST", "/v1/retrieve"): {"query": "tickets", "filter": {"document": "tickets.md"}},
    ("POST", "/admin/index/refresh"): {"documents": ["tickets.md"], "dry_run": True},
    ("POST", "/admin/index/rollback"): {"snapshot": "0123456789abcdef"},
    ("POST", "/admin/models/deploy"): {"model": "ffff"},
    ("POST", "/admin/models/rollback"): {},
    ("PUT", "/admin/documents/a-1"): {"text": "# A\n\nDogs travel free.", "format": "md", "refresh": False},
}  # fmt: skip
"""A sound body of every route that takes one."""

_OPTIONS: dict[str, list[str]] = {
    "/v1/chat/completions": ["stream", "n", "ragft", "tools", "stop", "logit_bias", "response_format", "max_tokens"],
    "/v1/completions": ["stream", "n", "echo", "logprobs", "stop", "max_tokens"],
    "/v1/responses": ["stream", "text", "instructions", "metadata", "max_output_tokens"],
    "/v1/embeddings": ["dimensions", "encoding_format", "input_type"],
    "/v1/retrieve": ["top_k"],
    "/admin/index/refresh": ["gate", "allow_removal"],
    "/admin/documents/a-1": ["base64"],
}
_READ = ["/v1/models", "/v1/models/hybrid", "/openapi.json", "/docs", "/health/live", "/health/ready", "/health/deep",
         "/metrics", "/admin/versions", "/admin/documents", "/admin/documents/a-1", "/"]  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What is written to one connection.

    Attributes:
        kind: what is wrong with it, for counting.
        parts: bytes, written one after the other with a pause in seconds between them.
        end: what the client does then: it reads all that comes, closes its writing half first, or resets the
            connection.
        ids: the values of X-Request-Id of the requests that must be answered, in this order; None: whatever comes is
            judged, and nothing may come at all.
    """

    kind: str
    parts: tuple[bytes, ...]
    pause: float = 0.0
    end: Literal["read", "half-close", "reset"] = "read"
    ids: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Answer:
    """One answer; `headers` have names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Fuzzed:
    """An application under fuzz.

    Attributes:
        secrets: texts that no answer may hold.
        logged: what was logged as an error, and what asyncio reported.
    """

    served: Running
    fakes: Fakes
    secrets: Sequence[bytes]
    logged: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.served.url.removeprefix("http://").partition(":")
        return host, int(port)

    def faults_of(self, request: Request) -> list[str]:
        """Sends a request and says what is wrong with how it was answered."""
        begin = time.monotonic()
        try:
            received = exchange(self.address, request)
        except TimeoutError:
            return [f"{request.kind}: no end within {HANG_SECONDS:g} s: {request.parts!r:.1000}"]
        answers, broken = parse(received)
        if broken and request.end == "read":
            return [f"{request.kind}: {broken}"]
        seconds = time.monotonic() - begin
        found = [fault for answer in answers for fault in self.judge(answer)]
        ids = tuple(answer.headers.get("x-request-id") for answer in answers)
        # On a machine too busy to send what follows in time, the server may end the connection.
        late = seconds >= BODY_SECONDS and (not answers or answers[-1].status == 408)
        if request.ids is not None and ids != (request.ids[: len(ids)] if late else request.ids):
            found.append(f"{ids} were answered, and not {request.ids}")
        return [f"{request.kind} after {seconds:.1f} s: {fault}: {request.parts!r:.1000}" for fault in found]

    def judge(self, answer: Answer) -> list[str]:
        """What is wrong with an answer, whatever was asked."""
        found = []
        if answer.status >= 500:
            found.append(f"status {answer.status}: {answer.body[:300]!r}")
        elif answer.status not in STATUS_TYPES and answer.status not in (200, 204):
            found.append(f"status {answer.status} is not documented")
        if leak := _LEAK.search(answer.body) or next((one for one in self.secrets if one in answer.body), None):
            found.append(f"it leaks {leak!r}")
        if answer.status >= 400 and answer.body != b"Invalid HTTP request received.":
            if len(answer.body) > _LONGEST_ERROR:
                found.append(f"an error of {len(answer.body)} bytes")
            found += _form(answer)
        return found

    def settled(self) -> list[str]:
        """What is wrong with the server after all requests: it must be ready, with nothing in progress."""
        try:
            until(lambda: self.fakes.engine.running == 0, HANG_SECONDS)
            assert httpx.get(self.served.url + "/health/ready", timeout=HANG_SECONDS).status_code == 200
        except (AssertionError, httpx.HTTPError) as error:
            return [f"afterwards: {error!r}, {self.fakes.engine.running} answers in progress", *self.logged]
        return self.logged


def _form(answer: Answer) -> list[str]:
    try:
        error = json.loads(answer.body)["error"]
    except (ValueError, KeyError, TypeError):
        return [] if not answer.body else [f"an error of another form: {answer.body[:100]!r}"]
    right = set(error) == {"message", "type", "param", "code"} and error["code"] == answer.status
    return [] if right else [f"an error of another form: {error}"]


@contextmanager
def fuzzed(place: Path, encoder: TextEncoder) -> Iterator[Fuzzed]:
    """The whole application over a real socket, with a real index, a stand-in for the engine, and all its routes."""
    documents = place / "documents"
    documents.mkdir()
    for name, text in (("tickets", "A ticket costs 12 euros."), ("dogs", "Dogs travel free of charge.")):
        (documents / f"{name}.md").write_text(f"# {name.title()}\n\n{text}\n")
    application = make_application(
        place, {"documents": {"folder": documents}}, documents=True, body_timeout=BODY_SECONDS, max_body_bytes=200_000
    )
    application.encoder = encoder
    refresh(application, reporter=application.reporter)
    (model,) = make_models(application, 1)
    fakes = Fakes()
    fakes.engine.version = model.fingerprint

    async def load() -> Pipeline:
        return fakes.pipeline(await asyncio.to_thread(open_retriever, application))

    app = create_app(application, load=load, keys=Keys({}))
    with running(app) as served:
        found = Fuzzed(served, fakes, [str(place).encode(), str(Path.cwd()).encode()])
        handler = _Errors(found.logged)
        # The root logger: whoever logs, and asyncio with what no task caught.
        logging.getLogger().addHandler(handler)
        try:
            yield found
        finally:
            logging.getLogger().removeHandler(handler)


class _Errors(logging.Handler):
    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.found = found

    def emit(self, record: logging.LogRecord) -> None:
        told = [f"logged by {record.name}: {record.getMessage()[:300]}"]
        error = record.exc_info[1] if record.exc_info else None
        while error is not None:
            where = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)][-4:]
            told.append(f"{error!r:.300} in {' '.join(where)}")
            error = error.__cause__ or error.__context__
        self.found.append("; from ".join(told))


def exchange(address: tuple[str, int], request: Request) -> bytes:
    """All that the server sends until it closes the connection.

    Raises:
        TimeoutError: it does not.
    """
    received = bytearray()
    end = time.monotonic() + HANG_SECONDS
    with socket.create_connection(address, HANG_SECONDS) as connection:
        try:
            for number, part in enumerate(request.parts):
                if number:
                    time.sleep(request.pause)
                connection.sendall(part)
            if request.end == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return b""
            if request.end == "half-close":
                connection.shutdown(socket.SHUT_WR)
            while piece := _receive(connection, end):
                received += piece
        except (BrokenPipeError, ConnectionResetError):
            # A server that has refused need not read the rest, and then what it said may be lost on the way.
            with _ignored(OSError):
                while piece := _receive(connection, end):
                    received += piece
    return bytes(received)


@contextmanager
def _ignored(*kinds: type[BaseException]) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise
    except kinds:
        return


def _receive(connection: socket.socket, end: float) -> bytes:
    connection.settimeout(max(0.01, end - time.monotonic()))
    return connection.recv(65536)


def parse(received: bytes) -> tuple[list[Answer], str]:
    """The answers in what a server has sent, and what is wrong with it as HTTP."""
    answers: list[Answer] = []
    while received:
        reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=10**6)
        reader.send(h11.Request(method="GET", target="/", headers=[("host", "localhost")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(received)
        reader.receive_data(b"")
        head, body = None, bytearray()
        try:
            while not isinstance(event := reader.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
                if isinstance(event, h11.Response):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
        except h11.RemoteProtocolError as error:
            # An answer to HEAD has a length and no body, and nothing follows it.
            if head is not None and not body and b"content-length" in dict(head.headers):
                answers.append(_answer(head, b""))
                return answers, ""
            return answers, f"no HTTP: {error}: {received[:200]!r}"
        if head is None:
            return answers, f"no HTTP: {received[:200]!r}"
        answers.append(_answer(head, bytes(body)))
        received = reader.trailing_data[0]
    return answers, ""


def _answer(head: h11.Response, body: bytes) -> Answer:
    return Answer(head.status_code, {name.decode(): value.decode("latin-1") for name, value in head.headers}, body)


# --- what is sent


def written(
    method: str, path: str, body: bytes = b"", *, headers: Sequence[tuple[bytes, bytes]] = (), close: bool = True,
    kind: bytes | None = b"application/json", length: bytes | None = b"own",
) -> bytes:  # fmt: skip
    """A request as bytes; `length` replaces the value of Content-Length, None leaves it out."""
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), b"Host: localhost"]
    if kind is not None:
        lines.append(b"Content-Type: " + kind)
    if length is not None:
        lines.append(b"Content-Length: " + (str(len(body)).encode() if length == b"own" else length))
    if close:
        lines.append(b"Connection: close")
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


ROUTES = st.sampled_from(sorted(BODIES))
_BAD_BYTES = st.sampled_from([
    b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\\ud800", b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b'"' * 3,
    b"[" * 150, b'{"a":' * 150, b"\xef\xbb\xbf", b"//", b",,", b"\\", b"\x1f\x8b\x08",
])  # fmt: skip
_TYPES = st.sampled_from([
    b"", b"text/plain", b"multipart/form-data; boundary=x", b"application/x-www-form-urlencoded", b"application/xml",
    b"application/json; charset=utf-16", b"application/json;;;", b"APPLICATION/JSON", b"application/json, text/html",
    b"application/jsonp", b"\xff\xfe", b"application/json; charset=" + b"x" * 2000,
]) | st.none()  # fmt: skip
_TOKEN = st.text("abcXYZ0189-_", min_size=1, max_size=12).map(str.encode)
_VALUE = st.binary(max_size=40).map(lambda data: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", data))
_NAMES = st.sampled_from([
    b"Authorization", b"X-Request-Id", b"Traceparent", b"Accept", b"Accept-Encoding", b"Content-Encoding", b"Cookie",
    b"Transfer-Encoding", b"Content-Length", b"Expect", b"Upgrade", b"Connection", b"Origin", b"Range", b"Host",
    b"X-Forwarded-For", b"If-None-Match", b"Access-Control-Request-Method", b"Referer", b"X-HTTP-Method-Override",
]) | _TOKEN  # fmt: skip
_VALUES = st.sampled_from([
    b"", b"Bearer", b"Bearer ", b"Bearer " + b"x" * 5000, b"Basic YTpi", b"chunked", b"gzip", b"100-continue", b"-1",
    b"websocket", b"h2c", b"upgrade", b"99999999999999999999", b"bytes=0-", b"*", b"null", b"00-0-0-00", b"=;=;=",
]) | _VALUE  # fmt: skip
_ENDS = st.sampled_from([
    b"0\r\n\r\n", b"0\r\nX-Trailer: a\r\n\r\n", b"zz\r\n", b"-1\r\n\r\n", b"", b"\r\n", b"f" * 18 + b"\r\n",
    b"5;ext=" + b"x" * 3000 + b"\r\n", b"0\r\n" + b"a: b\r\n" * 500,
])  # fmt: skip
_PATHS = st.sampled_from([
    "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/v1/models/%00", "/v1/models/%ff%fe", "/%",
    "/%zz", "/v1/models/..%2f..%2fetc", "/v1/models/" + "a" * 5000, "/v1/models/%F0%9F%92%A9", "/docs/",
    "/docs/../docs",
    "/v1/chat/completions/", "/V1/MODELS", "/admin/documents/..%2Ftickets", "/admin/documents/CON", "*", "http://x/",
    "/?" + "a=b&" * 2000, "/health/live?x=%ff", "/admin/documents/a-1?refresh=%ff", "/admin/documents/a-1?refresh=2",
    "/v1/models?limit=1e999", "/openapi.json;x", "/v1/mod\u00e9ls", "/\\..\\", "/admin/documents/a-1/b",
    "/admin/documents/%0d%0aX: y", "/metrics?name[]=\u00ff",
]) | st.sampled_from(_READ)  # fmt: skip
_METHODS = st.sampled_from(
    ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "BREW", "get"]
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    """A route, and a body of its form in which some fields hold anything."""
    method, path = draw(ROUTES)
    body = dict(BODIES[method, path])
    names = [*body, *_OPTIONS.get(path, ()), "unknown"]
    for name in draw(st.lists(st.sampled_from(names), max_size=3)):
        body[name] = draw(VALUES | st.integers(50, 120).map(nested) | st.just("x" * 50_000))
    if draw(st.integers(0, 3)) == 0 and path.startswith("/v1/"):
        body["stream"] = True
    return method, path, body


def _fields() -> st.SearchStrategy[Request]:
    def made(asked: tuple[str, str, dict[str, Any]]) -> Request:
        method, path, body = asked
        return Request("fields", (written(method, path, json.dumps(body).encode()),))

    return bodies().map(made)


@st.composite
def _bytes(draw: st.DrawFn) -> Request:
    method, path = draw(ROUTES)
    body = json.dumps(BODIES[method, path], ensure_ascii=draw(st.booleans())).encode()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(body)))
        change = draw(st.sampled_from(["insert", "cut", "twice", "flip", "utf-16", "wrap"]))
        if change == "insert":
            body = body[:place] + draw(_BAD_BYTES | st.binary(max_size=8)) + body[place:]
        elif change == "cut":
            body = body[:place]
        elif change == "twice":
            body += body
        elif change == "flip" and place < len(body):
            body = body[:place] + bytes([body[place] ^ draw(st.integers(1, 255))]) + body[place + 1 :]
        elif change == "utf-16":
            body = body.decode("latin-1").encode("utf-16")
        elif change == "wrap":
            depth = draw(st.sampled_from([1, 99, 500, 20_000]))
            body = b"[" * depth + body + b"]" * depth
    return Request("bytes of the body", (written(method, path, body),))


@st.composite
def _types(draw: st.DrawFn) -> Request:
    method, path = draw(ROUTES)
    return Request(
        "content types", (written(method, path, json.dumps(BODIES[method, path]).encode(), kind=draw(_TYPES)),)
    )


@st.composite
def _headers(draw: st.DrawFn) -> Request:
    method, path = draw(ROUTES | st.sampled_from([("GET", path) for path in _READ]))
    body = json.dumps(BODIES[method, path]).encode() if method != "GET" else b""
    own = draw(st.lists(st.tuples(_NAMES, _VALUES), min_size=1, max_size=6))
    if draw(st.integers(0, 4)) == 0:
        count, size = draw(st.sampled_from([(2000, 4), (1, 20_000), (1, 100_000), (150, 100), (10_000, 1)]))
        own += [(b"x-%d" % number, b"v" * size) for number in range(count)]
    return Request("headers", (written(method, path, body, headers=own),))


@st.composite
def _lengths(draw: st.DrawFn) -> Request:
    method, path = draw(ROUTES)
    body = json.dumps(BODIES[method, path]).encode()
    declared = draw(
        st.sampled_from([b"-1", b"0", b"1e3", b"0x10", b" 5", b"99999999999999999999", b"+5", b"5, 5", b"999999", b""])
        | st.none()
        | st.integers(0, 10**7).map(lambda number: str(number).encode())
    )
    return Request("lengths", (written(method, path, body, length=declared),))


@st.composite
def _chunked(draw: st.DrawFn) -> Request:
    method, path = draw(ROUTES)
    body = json.dumps(BODIES[method, path]).encode()
    cut = draw(st.integers(0, len(body)))
    pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:cut], body[cut:]) if piece]
    end = draw(_ENDS)
    head = written(method, path, length=None, headers=[(b"Transfer-Encoding", b"chunked")])
    return Request("chunks", (head + b"".join(pieces) + end,))


@st.composite
def _paths(draw: st.DrawFn) -> Request:
    method, path = draw(_METHODS), draw(_PATHS)
    head = written(method, path) if path.isascii() else written(method, path.encode().decode("latin-1"))
    return Request("methods and paths", (head,))


@st.composite
def _slow(draw: st.DrawFn) -> Request:
    method, path = draw(ROUTES)
    whole = written(method, path, json.dumps(BODIES[method, path]).encode())
    cut = draw(st.integers(1, len(whole) - 1))
    if draw(st.booleans()):
        return Request("never the rest", (whole[:cut],))
    step = max(1, (len(whole) - cut) // 3)
    rest = [whole[place : place + step] for place in range(cut, len(whole), step)]
    return Request("piece by piece", (whole[:cut], *rest), pause=draw(st.sampled_from([0.0, 0.01, BODY_SECONDS / 2])))


@st.composite
def _pipelined(draw: st.DrawFn) -> Request:
    count = draw(st.integers(2, 8))
    asked = [draw(bodies()) for _ in range(count)]
    # Only the last one closes: what stands before it is answered first.
    parts = [
        written(
            method, path, json.dumps(body).encode(), close=number == count - 1,
            headers=[(b"X-Request-Id", b"r-%d" % number)],
        )
        for number, (method, path, body) in enumerate(asked)
    ]  # fmt: skip
    ids = tuple(f"r-{number}" for number in range(count))
    return Request("pipelines", (b"".join(parts),), ids=ids)


@st.composite
def _gone(draw: st.DrawFn) -> Request:
    method, path, body = draw(bodies())
    whole = written(method, path, json.dumps({**body, "stream": True}).encode())
    cut = draw(st.integers(1, len(whole)) | st.just(len(whole)))
    return Request("clients that go", (whole[:cut],), end=draw(st.sampled_from(["half-close", "reset"])))


def _other_protocols() -> st.SearchStrategy[Request]:
    begin = st.sampled_from([
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"SSH-2.0-x\r\n",
        b"\r\n" * 50, b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n", b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"POST /v1/retrieve HTTP/1.0\r\nContent-Type: application/json\r\n\r\n", b"\x00" * 100, b"A" * 100_000,
        b"GET " + b"/a" * 40_000 + b" HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\nConnection: close\r\n\r\n",
    ])  # fmt: skip
    return st.tuples(begin, st.binary(max_size=30)).map(lambda parts: Request("other protocols", (b"".join(parts),)))


KINDS: dict[str, st.SearchStrategy[Request]] = {
    "fields": _fields(), "bytes of the body": _bytes(), "content types": _types(), "headers": _headers(),
    "lengths": _lengths(), "chunks": _chunked(), "methods and paths": _paths(), "slow": _slow(),
    "pipelines": _pipelined(), "clients that go": _gone(), "other protocols": _other_protocols(),
}  # fmt: skip
"""What is sent, by what is wrong with it."""
