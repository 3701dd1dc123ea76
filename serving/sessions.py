"""Sessions of the page: the browser keeps a random token in a cookie, this process the key that was logged in with.

A key is looked up again with every request, so that one that was revoked or has expired opens nothing any more.
Sessions end with the process. A cookie goes along with every request of a browser, whoever made it do so; hence it
counts only where the browser says that a page of this very endpoint is asking.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

COOKIE = "ragft_session"
LIFETIME = 12 * 3600.0
"""Seconds that a session lasts."""
MOST = 10_000
"""Sessions that are kept; the oldest are forgotten first."""


class Sessions:
    """Who has logged in."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def open(self, key: bytes) -> str:
        """The token of a new session of whoever holds this key."""
        token = secrets.token_urlsafe(32)
        self._kept[_digest(token)] = (key, time.monotonic() + LIFETIME)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return token

    def key(self, headers: Mapping[bytes, bytes]) -> bytes | None:
        """The key of the session that a request belongs to; None where there is none, or another site may be asking."""
        token = _token(headers)
        if token is None or not is_same_origin(headers):
            return None
        key, end = self._kept.get(_digest(token), (None, 0.0))
        return key if time.monotonic() < end else None

    def close(self, headers: Mapping[bytes, bytes]) -> None:
        """Ends the session of a request, if it has one."""
        token = _token(headers)
        if token is not None:
            self._kept.pop(_digest(token), None)


def is_same_origin(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that a page of this endpoint makes the request."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    # Browsers that do not say so name the origin, if with POST alone.
    origin = headers.get(b"origin", b"").partition(b"://")[2]
    return bool(origin) and origin == headers.get(b"host")


def _token(headers: Mapping[bytes, bytes]) -> str | None:
    try:
        found = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
