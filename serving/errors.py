"""Every refusal of the endpoint, with its HTTP status and one body: that of OpenAI's API.

What is the client's fault is said in a sentence; what is ours is logged with the request's id and not shown.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap, Send

from index.errors import IndexFault
from ragft.engine.base import EngineBusy, EngineDead, RequestRefused
from ragft.errors import UsageError

log = logging.getLogger("ragft.serving")

# Seconds after which a refused request may be sent again; the official clients wait so long by themselves.
RETRY_AFTER = 1

STATUS_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "method_not_allowed_error", 408: "timeout_error", 409: "conflict_error", 413: "request_too_large_error",
    415: "unsupported_media_type_error", 422: "unprocessable_entity_error", 429: "rate_limit_error",
    431: "request_too_large_error",
    503: "service_unavailable_error", 507: "insufficient_storage_error",
}  # fmt: skip


class ApiError(Exception):
    """A request that is refused.

    Attributes:
        status: HTTP status.
        message: one sentence for the client.
        param: the field of the request that is at fault, if one is.
        retry_after: seconds after which a client that was told 429 or 503 may try again.
        is_ours: whether the sentence is ours; that of an engine may hold anything of the request.
    """

    def __init__(
        self, status: int, message: str, param: str | None = None, *, retry_after: int = RETRY_AFTER,
        is_ours: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.is_ours = is_ours

    def body(self) -> dict[str, Any]:
        """The OpenAI error body."""
        kind = STATUS_TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.status}
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """The headers that belong to the status."""
        if self.status in (429, 503):
            return {"retry-after": str(self.retry_after)}
        if self.status == 401:
            return {"www-authenticate": "Bearer"}
        if self.status == 408:
            return {"connection": "close"}
        return {}


class ClientGone(Exception):
    """The client closed the connection before its answer was ready."""


_listener: ContextVar[Callable[[ApiError], None]] = ContextVar("listener", default=lambda error: None)


@contextlib.contextmanager
def telling(listener: Callable[[ApiError], None]) -> Iterator[None]:
    """Code inside, and the tasks and threads that it starts, tell a listener of each error that a client is told."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def as_api_error(error: BaseException, request_id: str) -> ApiError:
    """What a client is told about any exception; unknown ones are logged and not shown."""
    told = _as_api_error(error, request_id)
    _listener.get()(told)
    return told


def _as_api_error(error: BaseException, request_id: str) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestRefused):
        return ApiError(error.status, str(error)[:1000], error.param, is_ours=False)
    if isinstance(error, EngineBusy):
        return ApiError(503, "Too many requests are waiting: try again shortly.")
    if isinstance(error, EngineDead):
        log.error("engine dead, request %s: %s", request_id, error)
        return ApiError(503, "The engine is not running: try again later.")
    if isinstance(error, UsageError):
        return ApiError(400, str(error)[:1000], is_ours=False)
    if isinstance(error, RecursionError):
        return ApiError(400, "The request is nested too deeply.")
    if isinstance(error, HTTPException) and error.status_code < 500:
        return ApiError(error.status_code, _route_message(error))
    if isinstance(error, IndexFault):
        log.error("index fault, request %s: %s", request_id, error)
        return ApiError(503, "The index cannot be searched at the moment.")
    log.error("request %s failed", request_id, exc_info=error)
    return ApiError(500, f"Something failed here; it was logged under request {request_id}.")


def _route_message(error: HTTPException) -> str:
    if error.status_code == 404:
        return "There is no such route."
    if error.status_code == 405:
        return "This route does not take that method."
    return str(error.detail)[:300]


def error_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The exception handler of the application."""
    if isinstance(error, ClientGone):
        # Nobody reads this; the status stands for it in logs, as in nginx.
        return Response(b"", status_code=499)
    api_error = as_api_error(error, request_id_of(request))
    return Response(
        msgspec.json.encode(api_error.body()),
        status_code=api_error.status,
        headers=api_error.headers(),
        media_type=MediaType.JSON,
    )


def request_id_of(request: Request[Any, Any, Any]) -> str:
    """The id that the outermost layer gave this request."""
    return str(request.scope["state"].get("request_id", "-"))


async def send_error(send: Send, error: ApiError) -> None:
    """Answers with an error from outside of the application."""
    _listener.get()(error)
    body = msgspec.json.encode(error.body())
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers()}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": False})


EXCEPTION_HANDLERS: ExceptionHandlersMap = {Exception: error_response, HTTPException: error_response}
