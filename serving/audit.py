"""The log of what was administered, by whom, and what came of it.

Every call of `/admin/` by a caller who is known is a line of JSON: `time`, `request_id`, `caller`, `name`, `route`
(with its query, which names the domain where there are several), `what` (the body, or the size and SHA-256 of one that
is no short JSON) and `result` (the status). Left out are looks at the queue and at errors that were answered: an open
page repeats them every few seconds. A call that may change something has a line with the result `begun`, too,
which is on disk before it begins: what cannot be recorded is not done.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from ragft.errors import UsageError
from ragft.keys import Caller
from serving.errors import ApiError, send_error
from serving.limits import is_http, replay

log = logging.getLogger("ragft.serving")

_PATH = "/admin/"  # wherever it stands: a router may read `//admin/` as the same
_REPEATED = frozenset({"/admin/queue", "/admin/errors"})
_MAX_BODY = 2_000


class Audit:
    """The ASGI layer that records; inside of what reads bodies and finds out who calls."""

    def __init__(self, app: ASGIApp, file: Path) -> None:
        """
        Raises:
            UsageError: the file cannot be written.
        """
        self._app, self._file = app, file
        try:
            append(file, b"")
        except OSError as error:
            raise UsageError(f"The audit log {file} (serve.audit_log) cannot be written: {error}.") from None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_http(scope) or _PATH not in scope["path"]:
            await self._app(scope, receive, send)
            return
        body = b""
        if scope["method"] in ("POST", "PUT", "PATCH"):
            message = await receive()  # all of it, as `Limits` has read it
            body = message["body"] if message["type"] == "http.request" else b""
            receive = replay(body, receive)
        caller: Caller = scope["state"]["caller"]
        entry = {
            "request_id": scope["state"].get("request_id", "-"), "caller": caller.id, "name": caller.name,
            "route": _route(scope), "what": _what(body),
        }  # fmt: skip
        if scope["method"] != "GET" and not await self._wrote({**entry, "result": "begun"}):
            error = ApiError(507, "The audit log cannot be written, so nothing was done.")
            await send_error(send, error)
            return
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if scope["method"] != "GET" or scope["path"] not in _REPEATED or status != 200:
                # Shielded: a client that goes away must not leave a call without its result.
                await asyncio.shield(self._wrote({**entry, "result": status or "no answer"}))

    async def _wrote(self, entry: dict[str, Any]) -> bool:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = msgspec.json.encode({"time": now, **entry}) + b"\n"
        try:
            await asyncio.to_thread(append, self._file, line)
        except OSError as error:
            log.critical("the audit log %s cannot be written: %s", self._file, error)
            return False
        return True


def append(file: Path, line: bytes) -> None:
    """Appends to a file, which is made for its owner alone; returns when it is on disk.

    It is opened each time, so that it may be moved away at any time.

    Raises:
        OSError: that failed.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.write(descriptor, line) != len(line):
            raise OSError("the disk took only a part of the line")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _route(scope: HTTPScope) -> str:
    """Method and path, with the query, which may say more than the body."""
    query = scope["query_string"].decode("latin-1")[:_MAX_BODY]
    return f"{scope['method']} {scope['path']}{'?' if query else ''}{query}"


def _what(body: bytes) -> Any:
    if not body:
        return None
    if len(body) <= _MAX_BODY:
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            pass
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
