"""Which web pages may call the endpoint: those of the origins that are listed, and no others.

Credentials of the browser's own (cookies) are never allowed, and an origin is named, never `*`.
"""

from __future__ import annotations

from collections.abc import Collection

from litestar.types import ASGIApp, Receive, Scope, Send

from serving.limits import is_http, with_headers

_METHODS = b"GET, POST, PUT, DELETE"
_HEADERS = b"authorization, content-type, x-request-id"
_SHOWN = (
    b"x-request-id, x-ragft-index-version, x-ragft-model-version, retry-after, x-ratelimit-limit-requests, "
    b"x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, "
    b"x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
# Seconds for which a browser need not ask again.
_MAX_AGE = b"600"


class Cors:
    """Answers what a browser asks before it lets a page of a listed origin call, and lets it read the answers."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_http(scope):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        if origin not in self._origins:
            await self._app(scope, receive, with_headers(send, [(b"vary", b"Origin")]))
            return
        allowed = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            allowed += [
                (b"access-control-allow-methods", _METHODS), (b"access-control-allow-headers", _HEADERS),
                (b"access-control-max-age", _MAX_AGE),
            ]  # fmt: skip
            await send({"type": "http.response.start", "status": 204, "headers": allowed})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        allowed.append((b"access-control-expose-headers", _SHOWN))
        await self._app(scope, receive, with_headers(send, allowed))
