"""Another value of the same kind, as plausible as the first: for passages, questions and answers to be made wrong."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Literal

Kind = Literal["date", "version", "number", "choice"]

_DATES = ("%Y-%m-%d", "%d %B %Y", "%B %d, %Y")
_VERSION = re.compile(r"v?\d+(?:\.\d+)+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_CHOICES = {"yes": "no", "no": "yes", "true": "false", "false": "true"}
_TRIES = 100  # of a value that is not known already


def standing(value: str) -> re.Pattern[str]:
    """Finds a value that is not a part of another one."""
    return re.compile(rf"(?<![\w.,:-]){re.escape(value)}(?![\w:-]|[.,]\d)", re.IGNORECASE)


def another_value(value: str, known: str, draw: random.Random) -> tuple[Kind, str] | None:
    """Another value of the same kind that is not known, and its kind; None for a value of no such kind."""
    kinds: tuple[tuple[Kind, Callable[[], str | None]], ...] = (
        ("date", lambda: _other_date(value, draw)),
        ("version", lambda: _other_version(value, draw)),
        ("number", lambda: _other_number(value, draw)),
    )
    if value.casefold() in _CHOICES:
        return "choice", _CHOICES[value.casefold()]
    for kind, other in kinds:
        for _ in range(_TRIES):
            new = other()
            if new is None:
                break
            if new != value and not standing(new).search(known):
                return kind, new
    return None


def _other_date(value: str, draw: random.Random) -> str | None:
    """A date up to two years away, written as the first one is."""
    for written in _DATES:
        try:
            day = datetime.strptime(value, written).date()
        except ValueError:
            continue
        other = day + timedelta(days=draw.choice((-1, 1)) * draw.randint(20, 730))
        return _written(other, written)
    return None


def _written(day: date, form: str) -> str:
    return day.strftime(form) if form == _DATES[0] else day.strftime(form).replace(" 0", " ").removeprefix("0")


def _other_version(value: str, draw: random.Random) -> str | None:
    """A version with another last part."""
    if not _VERSION.fullmatch(value):
        return None
    head, _, last = value.rpartition(".")
    return f"{head}.{draw.randint(0, max(9, 2 * int(last)))}"


def _other_number(value: str, draw: random.Random) -> str | None:
    """A number with as many digits in the same places; the first one is not 0 unless it was."""
    if not _NUMBER.fullmatch(value):
        return None
    digits = [str(draw.randint(0 if at else 1, 9)) if digit.isdigit() else digit for at, digit in enumerate(value)]
    return "".join(digits)
