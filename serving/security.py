"""Who may call what: deny by default.

Every route needs a key whose scopes include the route's, but for the two health checks. A key opens the documents
without labels, and those that share one of its own. Without any key the endpoint answers to loopback alone, and there
to requests that were addressed to loopback by name, so that a web page cannot reach it by pointing its own name here.
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

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import SkipValidation
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from index.store.filters import FilterError, Labels, parse_labels
from ragft.errors import UsageError
from serving.errors import ApiError, send_error
from serving.limits import is_http

SCOPES = frozenset({"chat", "retrieve", "metrics", "admin"})
OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
KEY_VARIABLE = "RAGFT_API_KEY"


@dataclass(frozen=True)
class Caller:
    """What a caller may do.

    Attributes:
        scopes: routes that it may call.
        labels: documents with any of these are open to it beside those without labels; None: all documents.
    """

    scopes: frozenset[str]
    labels: Labels = frozenset()

    def joined(self, other: Caller) -> Caller:
        """What two lines for one key grant together."""
        labels = None if self.labels is None or other.labels is None else self.labels | other.labels
        return Caller(self.scopes | other.scopes, labels)


UNRESTRICTED = Caller(SCOPES, None)
"""Whoever holds the key of the environment, or asks from this machine where there is no key."""


@dataclass(frozen=True)
class Keys:
    """The keys that are accepted, as digests, each with what it grants."""

    callers: Mapping[str, Caller]

    @classmethod
    def load(cls, file: Path | None, environment: Mapping[str, str] = os.environ) -> Keys:
        """Reads `RAGFT_API_KEY` (all scopes, all labels) and a file of `scope[,scope] sha256-hex [labels=...]` lines.

        Raises:
            UsageError: the file is missing, or a line of it is not of that form.
        """
        callers: dict[str, Caller] = {}
        if file is not None:
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"The file of API keys {file} (serve.keys) is not readable: {error}.") from None
            for number, line in enumerate(lines, start=1):
                if line.strip() and not line.lstrip().startswith("#"):
                    digest, caller = _parse_line(line, f"{file}, line {number}")
                    callers[digest] = callers[digest].joined(caller) if digest in callers else caller
            if not callers:
                raise UsageError(f"The file of API keys {file} (serve.keys) holds no key.")
        key = environment.get(KEY_VARIABLE, "")
        if key:
            callers[digest_of(key.encode())] = UNRESTRICTED
        return cls(callers)

    def __bool__(self) -> bool:
        return bool(self.callers)

    def caller(self, key: bytes) -> Caller | None:
        """Who holds a key; None for an unknown one. Takes the same time whichever key matches."""
        digest = digest_of(key)
        found: Caller | None = None
        for known, caller in self.callers.items():
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def digest_of(key: bytes) -> str:
    """The SHA-256 of a key as hex digits, as it stands in the file of keys."""
    return hashlib.sha256(key).hexdigest()


def _parse_line(line: str, where: str) -> tuple[str, Caller]:
    parts = line.split(maxsplit=2)  # labels may hold spaces
    labelled = len(parts) == 3 and parts[2].startswith("labels=")
    if not (len(parts) == 2 or labelled) or not re.fullmatch(r"[0-9a-fA-F]{64}", parts[1]):
        raise UsageError(
            f"{where} is not `scope[,scope] sha256-hex [labels=label[,label]]` (make a digest with `sha256sum`)."
        )
    granted = frozenset(parts[0].split(","))
    if not granted <= SCOPES:
        raise UsageError(
            f"{where} names the scope {', '.join(sorted(granted - SCOPES))}; there are {', '.join(sorted(SCOPES))}."
        )
    try:
        labels = parse_labels(parts[2].removeprefix("labels=")) if labelled else frozenset()
    except FilterError as error:
        raise UsageError(f"{where}: {error}") from None
    return parts[1].lower(), Caller(granted, labels)


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
            scope["state"]["caller"] = self._caller(scope)
        except ApiError as error:
            await send_error(send, error)
            return
        await self._app(scope, receive, send)

    def _caller(self, scope: HTTPScope) -> Caller:
        headers = dict(scope["headers"])
        if not self._keys:
            host = headers.get(b"host", b"").decode("latin-1")
            name = host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
            if not is_loopback(name):
                raise ApiError(403, "Without an API key this endpoint answers to localhost only.")
            return UNRESTRICTED
        kind, _, key = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer" or not key:
            raise ApiError(401, "An API key is needed: send it as `Authorization: Bearer KEY`.")
        caller = self._keys.caller(key.strip())
        if caller is None:
            raise ApiError(401, "This API key is not known here.")
        return caller


async def require_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of every route: its `opt["scope"]` must be among the caller's. A route without one is closed.

    It is async because Litestar runs other guards in a thread, at ten times the cost.
    """
    needed = handler.opt.get("scope")
    if needed == "open" and connection.scope["path"] in OPEN_PATHS:
        return
    scopes = _caller_of(connection).scopes
    # Whoever may change what is served may see how it is.
    if needed not in scopes and not (needed == "metrics" and "admin" in scopes):
        raise ApiError(403, f"This API key does not have the scope {needed!r}.")


def labels_of(request: Request[Any, Any, Any]) -> Labels:
    """The labels that decide what a request may see; routes ask for them as `labels`."""
    return _caller_of(request).labels


CallerLabels = NamedDependency[SkipValidation[Labels]]


def _caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    caller = connection.scope["state"].get("caller")
    return caller if isinstance(caller, Caller) else Caller(frozenset())
