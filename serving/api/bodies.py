"""Bodies of requests: JSON objects, read strictly into structs, and the fields that several of them have."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from litestar import Request

from index.store.filters import Filter, FilterError, parse_filter
from serving.errors import ApiError

MAX_TOP_K = 100
T = TypeVar("T", bound=msgspec.Struct)


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        ApiError: 400: no UTF-8, no JSON, nested too deeply, or no object.
    """
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise ApiError(400, "The body is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ApiError(400, f"The body is not JSON: {str(error)[:200]}.") from None
    if not isinstance(value, dict):
        raise ApiError(400, "The body is not a JSON object.")
    return value


async def read_body(request: Request[Any, Any, Any], kind: type[T], *, empty: bytes = b"") -> T:
    """The body as a struct; `empty` stands for one that is left out.

    Raises:
        ApiError: 400: it is no JSON object, or not one of this kind.
    """
    try:
        return msgspec.convert(decode_object(await request.body() or empty), kind)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"The body is not valid: {str(error)[:200]}.") from None


def check_top_k(top_k: int | None, field: str) -> None:
    """Refuses a number of passages that is out of range.

    Raises:
        ApiError: 400.
    """
    if top_k is not None and not 1 <= top_k <= MAX_TOP_K:
        raise ApiError(400, f"{field} must be from 1 to {MAX_TOP_K}.", field)


def read_filter(value: Any, field: str) -> Filter | None:
    """The filter in a field of a request; None where there is none.

    Raises:
        ApiError: 400: with what is wrong in it.
    """
    try:
        return parse_filter(value) if value is not None else None
    except FilterError as error:
        raise ApiError(400, str(error)[:500], field) from None
