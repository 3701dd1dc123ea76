"""Bounds on every request, outside of the application: headers, content type, size and pace of the body, and how many
requests are under way at once.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeGuard, TypeVar

from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, HTTPScope, Message, Receive, Scope, Send

from serving.errors import ApiError, ClientGone, send_error

MAX_HEADER_BYTES = 16_384
FORM = "application/x-www-form-urlencoded"
FORM_PATHS = frozenset({"/web/session", "/web/ask"})
"""What the page's forms are sent to; who takes one looks where it comes from."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_T = TypeVar("_T")


def is_http(scope: Scope) -> TypeGuard[HTTPScope]:
    """Whether a connection is a plain request; the server takes no others."""
    return scope["type"] == ScopeType.HTTP


def with_headers(send: Send, headers: Iterable[tuple[bytes, bytes]]) -> Send:
    """A `send` that adds headers to the answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return sending


class RequestIds:
    """Gives every request an id, the client's own if it is a sane one, and every answer the header X-Request-Id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_http(scope):
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope["state"]["request_id"] = request_id

        await self._app(scope, receive, with_headers(send, [(b"x-request-id", request_id.encode())]))


class Limits:
    """Reads a request's body for the application, so that what is too large, too slow or no JSON never reaches it."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, body_timeout: float, max_requests: int) -> None:
        """`body_timeout` in seconds; `max_requests` to /v1/ may be under way, waiting ones included."""
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._body_timeout = body_timeout
        self._max_requests = max_requests
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_http(scope):
            await self._app(scope, receive, send)
            return
        try:
            _check_headers(scope)
            if scope["method"] in ("POST", "PUT", "PATCH"):
                receive = replay(await self._body(scope, receive), receive)
        except ApiError as error:
            await send_error(send, error)
            return
        except ClientGone:
            return
        if not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        if self._running >= self._max_requests:
            await send_error(send, ApiError(503, "Too many requests are waiting: try again shortly."))
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1

    async def _body(self, scope: HTTPScope, receive: Receive) -> bytes:
        headers = dict(scope["headers"])
        # Only JSON: a web page may send other types across origins without asking first.
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json" and not (kind == FORM.encode() and scope["path"] in FORM_PATHS):
            raise ApiError(415, "The body must be sent with `Content-Type: application/json`.")
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._body_timeout):
                return await self._read(receive)
        except TimeoutError:
            raise ApiError(408, f"The body did not arrive within {self._body_timeout:g} seconds.") from None

    async def _read(self, receive: Receive) -> bytes:
        chunks = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            chunks.append(message["body"])
            size += len(message["body"])
            if size > self._max_body_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return b"".join(chunks)

    def _too_large(self) -> ApiError:
        return ApiError(413, f"The body is larger than {self._max_body_bytes} bytes (serve.max_body_bytes).")


def _check_headers(scope: HTTPScope) -> None:
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size > MAX_HEADER_BYTES:
        raise ApiError(431, f"The headers are larger than {MAX_HEADER_BYTES} bytes.")


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read already, and then what comes after it."""
    replayed = False

    async def replaying() -> Any:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        message: HTTPReceiveMessage = {"type": "http.request", "body": body, "more_body": False}
        return message

    return replaying


async def until_disconnect(request: Request[Any, Any, Any], work: Callable[[], Awaitable[_T]]) -> _T:
    """The result of `work`, which is cancelled when the client goes away. The body must have been read.

    Raises:
        ClientGone: the client was quicker.
    """

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task = asyncio.ensure_future(work())
    watcher = asyncio.ensure_future(watch())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        for future in (task, watcher):
            future.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)
