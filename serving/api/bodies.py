"""Bodies of requests: JSON objects, read strictly into structs, and the fields that several of them have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from litestar import Request

from index.store.filters import Filter, FilterError, parse_filter, parse_where
from serving.api.schemas import T, check
from serving.errors import ApiError

MAX_DEPTH = 100
"""Brackets within brackets; far fewer than what the recursion of a template, a schema or a grammar withstands."""


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
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ApiError(400, "The body is nested too deeply.")
    if not isinstance(value, dict):
        raise ApiError(400, "The body is not a JSON object.")
    return value


def _depth(value: Any) -> int:
    """How many lists and objects stand in each other."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


async def read_body(request: Request[Any, Any, Any], kind: type[T], *, empty: bytes = b"") -> T:
    """The body as a struct; `empty` stands for one that is left out.

    Raises:
        ApiError: 400: it is no JSON object, or not one of this kind.
    """
    return check(decode_object(await request.body() or empty), kind)


def read_filter(value: Any, field: str) -> Filter | None:
    """The filter in a field of a request; None where there is none.

    Raises:
        ApiError: 400: with what is wrong in it.
    """
    with _understood(field):
        return parse_filter(value) if value is not None else None


def read_where(conditions: Sequence[str], field: str) -> Filter | None:
    """The filter that conditions in a field of a request make; raises as `read_filter`."""
    with _understood(field):
        return parse_where(conditions)


@contextlib.contextmanager
def _understood(field: str) -> Iterator[None]:
    try:
        yield
    except FilterError as error:
        raise ApiError(400, str(error)[:500], field) from None
