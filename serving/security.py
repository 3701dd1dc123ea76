"""Who may call what: deny by default.

Every route needs a key (or a token of `serving.oidc`) whose scopes include the route's, but for the two health checks
and the files of the page, which logs in with a key and asks with its session (`serving.sessions`).
A key opens the documents without labels, and those that share one of its own. Where neither is configured, the endpoint
answers to loopback alone, and there to requests that were addressed to loopback by name, so that a web page cannot
reach it by pointing its own name here.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from ragft.errors import UsageError
from ragft.keys import SCOPES, Caller, Granted, digest_of, parse_keys, read_keys
from serving.errors import ApiError, send_error
from serving.limits import is_http, with_headers
from serving.oidc import Issuer
from serving.rates import Rates
from serving.sessions import Sessions

OPEN_PATHS = frozenset({"/", "/health/live", "/health/ready", "/web/session"})
OPEN_FILES = "/web/"
"""Of the page: scripts and styles, which hold nothing of the domain."""
KEY_VARIABLE = "RAGFT_API_KEY"

# Seconds between two looks whether the file of keys has changed, and for which a new one may still be half written.
LOOK_SECONDS = 1.0
SETTLED_SECONDS = 2.0

log = logging.getLogger("ragft.serving")

UNRESTRICTED = Caller(SCOPES, None, id="local")
"""Whoever asks from this machine where there is no key."""


class Keys:
    """The keys that are accepted: that of the environment, and those of a file, which is read again when it changes."""

    def __init__(self, fixed: Mapping[str, Caller], file: Path | None = None) -> None:
        """
        Args:
            fixed: callers by the digests of their keys.
            file: of further keys; see `ragft.keys`.
        """
        self._fixed = fixed
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._next_look = 0.0
        self._granted = Granted()
        self.callers: Mapping[str, Caller] = fixed

    @classmethod
    def load(cls, file: Path | None, environment: Mapping[str, str] = os.environ) -> Keys:
        """Reads `RAGFT_API_KEY` (all scopes, all labels) and a file of keys.

        Raises:
            UsageError: the file is not readable, or no line of it grants anything.
        """
        key = environment.get(KEY_VARIABLE, "").encode()
        keys = cls({digest_of(key): replace(UNRESTRICTED, id=KEY_VARIABLE)} if key else {}, file)
        if file is not None:
            keys._seen = _state_of(file)
            granted = parse_keys(read_keys(file), file)
            if not granted.callers:
                raise UsageError(next(iter(granted.faults), f"The file of API keys {file} (serve.keys) holds no key."))
            keys._grant(granted)
        return keys

    def __bool__(self) -> bool:
        """Whether a key is needed. That never changes, whatever becomes of the file."""
        return self._file is not None or bool(self._fixed)

    def caller(self, key: bytes) -> Caller | None:
        """Who holds a key; None for an unknown one."""
        if self._file is not None and time.monotonic() >= self._next_look:
            self._look(self._file)
        # A digest is looked up, not a key: how long that takes says nothing of any key.
        return self.callers.get(digest_of(key))

    def _look(self, file: Path) -> None:
        """Reads the file if it has changed. While it cannot be read, it grants nothing."""
        self._next_look = time.monotonic() + LOOK_SECONDS
        state = _state_of(file)
        if state is not None and state == self._seen:
            return
        try:
            text = read_keys(file)
        except UsageError as error:
            self._seen = None
            self._grant(Granted(faults=[str(error)]))
            return
        if state is None or abs(time.time() - state[0] / 1e9) < SETTLED_SECONDS:
            # It may still be written: its last line counts when it has an end, and it is looked at once more.
            text, state = text[: text.rfind("\n") + 1], None
        self._seen = state
        self._grant(parse_keys(text, file))

    def _grant(self, granted: Granted) -> None:
        if granted != self._granted:
            log.info("%s grants %d keys", self._file, len(granted.callers))
            for fault in granted.faults:
                log.error("%s", fault)
        self._granted = granted
        self.callers = {**granted.callers, **self._fixed}


def _state_of(file: Path) -> tuple[int, int, int] | None:
    """What changes whenever a file does; None for one that is not there."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ctime_ns, stat.st_size, stat.st_ino


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, *, is_closed: bool) -> None:
    """Refuses to listen beyond loopback where anybody could call.

    Args:
        is_closed: whether callers need a key or a token.

    Raises:
        UsageError: with what to do.
    """
    if not is_closed and not is_loopback(host):
        raise UsageError(
            f"serve.host {host!r} is reachable from other machines and no API key is set: set {KEY_VARIABLE}, or "
            "name a file of keys in serve.keys, or set serve.jwt, or listen on 127.0.0.1."
        )


class Callers:
    """Whoever may call: holders of keys, of an issuer's tokens, and of sessions that were opened with either.

    Attributes:
        are_known: whether a key or token is needed at all.
    """

    def __init__(self, keys: Keys, issuer: Issuer | None = None) -> None:
        """`issuer` of tokens that are accepted beside keys."""
        self._keys, self._issuer = keys, issuer
        self.sessions = Sessions()
        self.are_known = bool(keys) or issuer is not None

    async def of(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Who makes a request with these headers.

        Raises:
            ApiError: 401 or 403: nobody who is known here.
        """
        if not self.are_known:
            host = headers.get(b"host", b"").decode("latin-1")
            name = host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
            if not is_loopback(name):
                raise ApiError(403, "Without an API key this endpoint answers to localhost only.")
            return UNRESTRICTED
        kind, _, key = headers.get(b"authorization", b"").partition(b" ")
        if not kind and (logged_in := self.sessions.key(headers)) is not None:
            return await self.of_key(logged_in)
        if kind.lower() != b"bearer" or not (key := key.strip()):
            raise ApiError(401, "An API key is needed: send it as `Authorization: Bearer KEY`.")
        return await self.of_key(key)

    async def of_key(self, key: bytes) -> Caller:
        """Who holds a key or token.

        Raises:
            ApiError: 401: it is not known, or has expired.
        """
        caller = self._keys.caller(key)
        if caller is None and self._issuer is not None and key.count(b".") == 2:
            return await self._issuer.caller(key)
        if caller is None:
            raise ApiError(401, "This API key is not known here.")
        if caller.has_expired(time.time()):
            raise ApiError(401, "This API key has expired.")
        return caller


class Security:
    """The ASGI layer that finds out who calls, and how much; what the caller may do is checked per route by
    `require_scope`.
    """

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self._app, self._callers = app, callers
        self._rates = Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_http(scope) or is_open(scope):
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._callers.of(dict(scope["headers"]))
            if caller.requests is not None or caller.tokens is not None:
                send = with_headers(send, self._rates.admit(caller))
                scope["state"]["charge"] = self._rates.charge_of(caller)
        except ApiError as error:
            await send_error(send, error)
            return
        scope["state"]["caller"] = caller
        await self._app(scope, receive, send)


def is_open(scope: HTTPScope) -> bool:
    """Whether a request needs no key."""
    path = scope["path"]
    return path in OPEN_PATHS or (path.startswith(OPEN_FILES) and scope["method"] in ("GET", "HEAD"))


async def require_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of every route: its `opt["scope"]` must be among the caller's. A route without one is closed.

    It is async because Litestar runs other guards in a thread, at ten times the cost.
    """
    needed = handler.opt.get("scope")
    if needed == "open" and is_http(connection.scope) and is_open(connection.scope):
        return
    scopes = caller_of(connection).scopes
    # Whoever may change what is served may see how it is.
    if needed not in scopes and not (needed == "metrics" and "admin" in scopes):
        raise ApiError(403, f"This API key does not have the scope {needed!r}.")


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Who calls; without the layer of security, somebody who may do nothing."""
    caller = connection.scope["state"].get("caller")
    return caller if isinstance(caller, Caller) else Caller(frozenset())
