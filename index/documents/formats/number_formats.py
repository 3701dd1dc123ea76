"""Numbers of a spreadsheet as it shows them: `12.50`, `30%`, `01234`, `5 kg`.

Thousands are not separated, because that depends on the language of whoever looks at the sheet.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_IGNORED = re.compile(r"\[(?!\$)[^\]]*\]|_.|\*.")
"""Colours and conditions, blanks as wide as a character, and fillings."""
_LITERAL = r'(?:"[^"]*"|\\.|\[\$[^\]]*\]|[^0#?.,%;@"\\\[\]EeGgyYmMdDhHsS/])'
_FORMAT = re.compile(rf"({_LITERAL}*)([#0?,]*)(?:\.([#0?]*))?({_LITERAL}*)(%?)({_LITERAL}*)")
_QUOTED = re.compile(r'"([^"]*)"|\\(.)|\[\$([^\]-]*)[^\]]*\]')


class _Format(NamedTuple):
    before: str
    least_digits: int
    least_decimals: int
    most_decimals: int
    is_percent: bool
    after: str
    """What follows the digits, including the percent sign."""


def shown_number(value: float, number_format: str) -> tuple[int | float | str, str]:
    """The value as filters compare it, and as it is shown; a number with leading zeros is compared as text.

    Args:
        number_format: as a spreadsheet stores it; one that is not understood shows the plain number.
    """
    plain = _plain(value)
    number = int(plain) if plain.lstrip("-").isdigit() else value
    form = _format(number_format)
    if form is None:
        return number, plain
    scaled = value * 100 if form.is_percent else value
    digits = f"{abs(scaled):.{form.most_decimals}f}"
    whole, _, decimals = digits.partition(".")
    while len(decimals) > form.least_decimals and decimals.endswith("0"):
        decimals = decimals[:-1]
    padded = whole.zfill(form.least_digits)
    body = f"{padded}.{decimals}" if decimals else padded
    sign = "-" if scaled < 0 and body.strip("0.") else ""
    shown = f"{sign}{form.before}{body}{form.after}"
    return (shown if len(padded) > len(whole) else number), shown


def _plain(value: float) -> str:
    """A number without exponent, in the 15 digits that a spreadsheet keeps."""
    text = f"{value:.15g}"
    if "e" not in text:
        return text
    text = f"{value:.15f}".rstrip("0").rstrip(".")
    return text if text.strip("-0.") else f"{value:.15g}"


@lru_cache(maxsize=1024)
def _format(number_format: str) -> _Format | None:
    """A format of digits and literal text; None for any other, such as fractions and exponents."""
    positive = _IGNORED.sub("", number_format.split(";")[0])
    match = _FORMAT.fullmatch(positive)
    if match is None or not (match.group(2) or match.group(3)) or match.group(2).endswith(","):
        return None
    before, whole, decimals, between, percent, after = (part or "" for part in match.groups())
    return _Format(
        _literal(before),
        max(whole.count("0"), 1),
        decimals.count("0"),
        len(decimals),
        bool(percent),
        _literal(f"{between}{percent}{after}"),
    )


def _literal(text: str) -> str:
    return _QUOTED.sub(lambda mark: next(filter(None, mark.groups()), ""), text)
