"""How a filter compares values: numbers and truth values also with texts that read as nothing else, dates as dates.

A filter's number also finds text that is a plain number, because the columns of a CSV file hold nothing but text:
`2024` and `-3.5` are plain; `01234`, `+5`, `1e3`, `1,234` and `12:30` are not. Text whose decimals end in zero may be
an amount (`80.00`) or a version (`1.10`). It passes a test only if it does so both as a number and as a version:
`80.00` is greater than 79.5 and equals 80; `1.10` is less than 2, but neither greater nor less than 1.5. In the same
way, true and false find the texts `true` and `false`, in any case, but neither `yes` nor `1`.

A filter's text is compared with text alone, letter by letter; a date (`2024-05-01`, `2024-05`, or one with a time) is
less or greater than dates alone, and compared as exactly as the filter writes it.
"""

from __future__ import annotations

import datetime
import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

Scalar = str | int | float | bool

ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}

_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.([0-9]+))?")
_TRUTHS = {"true": True, "false": False}
_DATE = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12][0-9]|3[01])(?:[T ][0-9]{2}:[0-9]{2}[0-9:.]*(?:Z|[+-][0-9:]+)?)?)?"
)
_DAY = len("2024-05-01")


def is_scalar(value: object) -> TypeGuard[Scalar]:
    """Whether a filter can compare with this value."""
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def equal_to(values: Sequence[Scalar]) -> Callable[[Scalar], bool]:
    """Whether a value of a passage equals any of these of a filter."""
    wanted = {(_kind(value), value) for value in values}
    has_truths = any(kind == "truth" for kind, _ in wanted)
    has_numbers = any(kind == "number" for kind, _ in wanted)

    def passes(found: Scalar) -> bool:
        if (_kind(found), found) in wanted:
            return True
        if not isinstance(found, str):
            return False
        if has_truths and ("truth", _TRUTHS.get(found.lower())) in wanted:
            return True
        return has_numbers and _equals_number(found, wanted)

    return passes


def ordered(kind: str, wanted: str | int | float) -> Callable[[Scalar], bool]:
    """Whether a value of a passage is greater or less than one of a filter; `kind` is a key of `ORDERS`."""
    compare = ORDERS[kind]
    if not isinstance(wanted, str):
        return lambda found: _orders_number(compare, found, wanted)
    if _is_date(wanted):
        return lambda found: isinstance(found, str) and _orders_date(compare, found, wanted)
    return lambda found: isinstance(found, str) and compare(found, wanted)


def _kind(value: Scalar) -> str:
    """The type of a value as filters see it: in Python true equals 1, in a filter it does not."""
    return "text" if isinstance(value, str) else "truth" if isinstance(value, bool) else "number"


def _number(text: str) -> tuple[int | float, bool] | None:
    """The number that a text is, and whether it may be a version as well; None if it is no plain number."""
    match = _PLAIN.fullmatch(text)
    if match is None or len(text) > 300:  # no float has more digits before its point
        return None
    decimals = match.group(1)
    if decimals is None:
        return int(text), False
    return float(text), decimals.endswith("0")


def _equals_number(text: str, wanted: set[tuple[str, Scalar]]) -> bool:
    number = _number(text)
    if number is None or ("number", number[0]) not in wanted:
        return False
    return not number[1] or set(text.partition(".")[2]) == {"0"}  # `1.10` is not 1.1 for certain, but `80.00` is 80


def _orders_number(compare: Callable[[Any, Any], bool], found: Scalar, wanted: int | float) -> bool:
    if not isinstance(found, str):
        return not isinstance(found, bool) and compare(found, wanted)
    number = _number(found)
    if number is None or not compare(number[0], wanted):
        return False
    return not number[1] or compare(_as_version(found), _as_version(repr(wanted)))


def _as_version(text: str) -> list[int]:
    """The parts of a version, without zeros at its end, so that 2.0 equals 2."""
    parts = [int(part) for part in re.findall("[0-9]+", text)]
    while parts and not parts[-1]:
        parts.pop()
    return parts


def _is_date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None


def _orders_date(compare: Callable[[Any, Any], bool], found: str, wanted: str) -> bool:
    """Compares dates as exactly as the filter writes its own: every hour of a day is that day."""
    if not _is_date(found):
        return False
    if len(wanted) <= _DAY:
        return compare(found[: len(wanted)], wanted)
    moments = _moment(found), _moment(wanted)
    return None not in moments and compare(*moments)


def _moment(text: str) -> datetime.datetime | None:
    """The moment that a date with or without a time is; without a zone, that of UTC."""
    try:
        moment = datetime.datetime.fromisoformat(text if len(text) > len("2024-05") else f"{text}-01")
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)
