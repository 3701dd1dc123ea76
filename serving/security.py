"""Who may call what: deny by default.

Every route needs a key whose scopes include the route's, but for the two health checks. Without any key the endpoint
answers to loopback alone, and there to requests that were addressed to loopback by name, so that a web page cannot
reach it by pointing its own name here.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from ragft.errors import UsageError
from serving.errors import ApiError, send_error
from serving.limits import is_http

SCOPES = frozenset({"chat", "retrieve", "admin"})
OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
KEY_VARIABLE = "RAGFT_API_KEY"


@dataclass(frozen=True)
class Keys:
    """The keys that are accepted, as digests, each with its scopes."""

    scopes: Mapping[str, frozenset[str]]

    @classmethod
    def load(cls, file: Path | None, environment: Mapping[str, str] = os.environ) -> Keys:
        """Reads `RAGFT_API_KEY` (all scopes) and a file of `scope[,scope] sha256-hex` lines.

        Raises:
            UsageError: the file is missing, or a line of it is not of that form.
        """
        scopes: dict[str, frozenset[str]] = {}
        if file is not None:
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"The file of API keys {file} (serve.keys) is not readable: {error}.") from None
            for number, line in enumerate(lines, start=1):
                if line.strip() and not line.lstrip().startswith("#"):
                    digest, granted = _parse_line(line, f"{file}, line {number}")
                    scopes[digest] = scopes.get(digest, frozenset()) | granted
            if not scopes:
                raise UsageError(f"The file of API keys {file} (serve.keys) holds no key.")
        key = environment.get(KEY_VARIABLE, "")
        if key:
            scopes[digest_of(key.encode())] = SCOPES
        return cls(scopes)

    def __bool__(self) -> bool:
        return bool(self.scopes)

    def granted(self, key: bytes) -> frozenset[str] | None:
        """The scopes of a key; None for an unknown one. Takes the same time whichever key matches."""
        digest = digest_of(key)
        granted: frozenset[str] | None = None
        for known, scopes in self.scopes.items():
            if hmac.compare_digest(known, digest):
                granted = scopes
        return granted


def digest_of(key: bytes) -> str:
    """The SHA-256 of a key as hex digits, as it stands in the file of keys."""
    return hashlib.sha256(key).hexdigest()


def _parse_line(line: str, where: str) -> tuple[str, frozenset[str]]:
    parts = line.split()
    if len(parts) != 2 or not re.fullmatch(r"[0-9a-fA-F]{64}", parts[1]):
        raise UsageError(f"{where} is not `scope[,scope] sha256-hex` (make one with `sha256sum`).")
    granted = frozenset(parts[0].split(","))
    if not granted <= SCOPES:
        raise UsageError(
            f"{where} names the scope {', '.join(sorted(granted - SCOPES))}; there are {', '.join(sorted(SCOPES))}."
        )
    return parts[1].lower(), granted


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, keys: Keys) -> None:
    """Refuses to listen beyond loopback without a key.

    Raises:
        UsageError: with what to do.
    """
    if not keys and not is_loopback(host):
        raise UsageError(
            f"serve.host {host!r} is reachable from other machines and no API key is set: set {KEY_VARIABLE}, or "
            "name a file of keys in serve.keys, or listen on 127.0.0.1."
        )


class Security:
    """The ASGI layer that finds out who calls; what the caller may do is checked per route by `require_scope`."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_http(scope) or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            scope["state"]["scopes"] = self._scopes(scope)
        except ApiError as error:
            await send_error(send, error)
            return
        await self._app(scope, receive, send)

    def _scopes(self, scope: HTTPScope) -> frozenset[str]:
        headers = dict(scope["headers"])
        if not self._keys:
            host = headers.get(b"host", b"").decode("latin-1")
            name = host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
            if not is_loopback(name):
                raise ApiError(403, "Without an API key this endpoint answers to localhost only.")
            return SCOPES
        kind, _, key = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer" or not key:
            raise ApiError(401, "An API key is needed: send it as `Authorization: Bearer KEY`.")
        granted = self._keys.granted(key.strip())
        if granted is None:
            raise ApiError(401, "This API key is not known here.")
        return granted


async def require_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of every route: its `opt["scope"]` must be among the caller's. A route without one is closed.

    It is async because Litestar runs other guards in a thread, at ten times the cost.
    """
    needed = handler.opt.get("scope")
    if needed == "open" and connection.scope["path"] in OPEN_PATHS:
        return
    if needed not in connection.scope["state"].get("scopes", ()):
        raise ApiError(403, f"This API key does not have the scope {needed!r}.")
