"""One spelling of characters, numbers, units and dates: what `ragft.tokens` and the metrics of quantities share."""

from __future__ import annotations

import unicodedata
from datetime import date
from itertools import product

import regex

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_MONTH_OF = {name: at for at, name in enumerate(_MONTHS, 1)} | {name[:3]: at for at, name in enumerate(_MONTHS, 1)}
_MONTH_OF["sept"] = 9

_LARGE = {"W": "w", "V": "v", "A": "a", "J": "j", "Pa": "pa", "Wh": "wh", "eV": "ev", "m": "m", "g": "g", "s": "s"}
_MEGA = regex.compile(rf"(?<=\d\s?)M({'|'.join(_LARGE)})(?![\p{{L}}\d])")
_BITS = regex.compile(r"(?<=\d\s?)([kKMGT])b(?![\p{L}\d])")
_PREFIXED = [*_LARGE.values(), "l", "b", "bit", "byte", "hz", "cal", "n", "ω", "ohm", "mol", "bps", "bq", "sv", "t"]
UNITS = frozenset(
    [
        *(prefix + unit for prefix, unit in product((*"yzafpnuμmcdhkgt", "da", "mega"), _PREFIXED)),
        *[
            "m", "g", "s", "l", "w", "v", "j", "bit", "byte", "hz", "cal", "ω", "ohm", "mol", "bps", "bq", "sv",
            "pa", "wh",
        ],
        *(f"{prefix}i{unit}" for prefix, unit in product("kmgtp", ("b", "bit", "byte"))),
        *[
            "min", "mins", "h", "hr", "hrs", "sec", "secs", "day", "days", "wk", "yr", "yrs", "ft", "in",
            "inch", "lb", "lbs", "oz", "mi", "yd", "mph", "kmh", "px", "pt", "em", "rem", "rpm", "db", "bar",
        ],
        *[
            "psi", "fps", "ppm", "ppb", "ha", "acre", "usd", "eur", "gbp", "ev", "year", "years", "month",
            "months", "week", "weeks", "hour", "hours", "minute", "minutes",
        ],
        *["second", "seconds", "million", "billion", "bn", "thousand"],
    ]
)  # fmt: skip
"""Units that may be written right behind a number, in lower case; what is none belongs to it: "4b3", "3rd", "5x"."""

DATE_IN_DIGITS = regex.compile(r"\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2\d{4}")

_DASHES = str.maketrans(
    {"‐": "-", "‑": "-", "‒": "-", "−": "-", "⁄": "/", "∕": "/", "’": "'", "‘": "'", "٫": ".", "٬": ","}
)
_MARKUP = r"(?:b|i|em|strong|code|p|u|s|span|mark|small|big|div|li|ul|ol|table|td|th|tr)"
_TAG = regex.compile(rf"<(/?)({_MARKUP})\b[^<>]*>", regex.I)
# At the start of a line these may stay open; alone elsewhere, as in "the <b> tag", a tag is what is meant.
_OPEN_TAGS = regex.compile(r"(?m)^[ \t]*(?:<(?:p|li|tr|td|th)\b[^<>]*>[ \t]*)+(?=[^\s<])|<br\s*/?>", regex.I)
_RAISED_TAG = regex.compile(r"<sup>\s*(-?\d+)\s*</sup>", regex.I)
_RAISED = regex.compile(r"[⁰¹²³⁴-⁹⁺⁻]+")
_LOWERED = regex.compile(r"(?<=\d)[₀-₉]+")
_GROUPED = regex.compile(r"(?<![\d.,])([1-9]\d{0,2})((?:[\u00a0\u2009\u202f]\d{3})+)(?!\d)")
_POWER = regex.compile(r"(?<=\d)\s?\*\*\s?(?=-?\d)(?!\d+\*\*)")
_SPACED_DASH = regex.compile(r"(?<=\s)[–—]+(?=\s)")
_CURRENCY = regex.compile(r"(?<![\p{L}\d])([$£¥€])(-?[\d.,]*\d)")
_GROUPS = regex.compile(r"-?[1-9]\d{0,2}(?:[,'_]\d{3})+(?![\d,])|-?[1-9]\d?(?:,\d\d)+,\d{3}(?!\d)")
_POINTED_GROUPS = regex.compile(r"-?[1-9]\d{0,2}(?:\.\d{3})+,\d")
_DECIMAL_COMMA = regex.compile(r"-?\d+,\d+(?![\d,])")
_GROUP_MARKS, _DATE_MARKS = regex.compile(r"[,'_]"), regex.compile(r"[-/.]")
_EURO = regex.compile(r"€|\beuros?\b", regex.I)


def plain_characters(text: str) -> str:
    """The text in characters of one kind: compatibility forms, digits of all scripts, dashes, raised figures.

    Nothing is joined that was apart: 10² becomes 10^2, 5½ becomes "5 1/2", and what a tag sets off stays a word.
    """
    if not text.isascii():
        text = _GROUPED.sub(lambda found: found[1] + regex.sub(r"\D", "", found[2]), text)
        text = _RAISED.sub(_raised, text)
        text = _LOWERED.sub(lambda found: "_" + unicodedata.normalize("NFKC", found[0]), text)
        text = "".join(map(_plain_character, text))
        text = unicodedata.normalize("NFKC", text)
        text = "".join(str(unicodedata.decimal(letter, letter)) if letter > "\x7f" else letter for letter in text)
    text = _MEGA.sub(lambda found: "mega" + _LARGE[found[1]], text)
    text = _BITS.sub(lambda found: found[1] + "bit", text)
    if "<" in text:
        text = without_tags(_RAISED_TAG.sub(r"^\1", text), " ")
    # Bold is not a power: only digits on both sides of two stars, and no second pair, make one.
    text = _POWER.sub("^", text).replace("**", " ").replace("`", " ").replace("~~", " ")
    text = _SPACED_DASH.sub(" ", text.translate(_DASHES)).replace("–", "-").replace("—", "-")
    text = _CURRENCY.sub(r"\2 \1", text)
    return str(_EURO.sub(" eur ", text))


def without_tags(text: str, between: str = "") -> str:
    """The text without tags of HTML that set it; as it is, where nothing else would be left.

    Args:
        between: stands in their place.
    """
    opened: dict[str, list[tuple[int, int]]] = {}
    paired: list[tuple[int, int]] = []
    for found in _TAG.finditer(text):
        same = opened.setdefault(found[2].casefold(), [])
        if not found[1]:
            same.append(found.span())
        elif same:
            paired += [same.pop(), found.span()]
    kept, end = [], 0
    for start, stop in sorted(paired):
        kept.append(text[end:start])
        end = stop
    plain = _OPEN_TAGS.sub(between, between.join([*kept, text[end:]]))
    return plain if plain.strip() else text


def _raised(found: regex.Match[str]) -> str:
    run = unicodedata.normalize("NFKC", found[0]).replace("−", "-")
    return f"^{run}" if any(letter.isdigit() for letter in run) else run


def _plain_character(letter: str) -> str:
    kind = unicodedata.category(letter)
    # Marks of direction and joining are not seen, ™ is no word, and ½ must not become a part of 5½'s number.
    if kind == "Cf" or letter in "™®©℠":
        return ""
    return f" {letter} " if kind == "No" else letter


def number_of(token: str) -> str:
    """A number in its one spelling; a token that can be read in two ways stays as it is written."""
    if token.lstrip("-").startswith("."):
        return token.replace(".", "0.", 1)
    if token.isalnum():
        return token
    if _GROUPS.match(token):
        return str(_GROUP_MARKS.sub("", token))
    if _POINTED_GROUPS.match(token):
        return token.replace(".", "").replace(",", ".")
    return token.replace(",", ".") if _DECIMAL_COMMA.match(token) else token


def month_of(word: str) -> int | None:
    """The number of a month by its English name or its first three letters."""
    return _MONTH_OF.get(word)


def date_of_digits(text: str) -> str | None:
    """The ISO date that digits say; None where there is none, or day and month may be the other way round."""
    parts = _DATE_MARKS.split(text)
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return None
    numbers = [int(part) for part in parts]
    if len(parts[0]) == 4:
        orders = {(numbers[0], numbers[1], numbers[2])}
    elif len(parts[2]) == 4:
        orders = {(numbers[2], numbers[1], numbers[0]), (numbers[2], numbers[0], numbers[1])}
    else:
        return None
    found = {iso for year, month, day in orders if (iso := _iso(year, month, day))}
    return found.pop() if len(found) == 1 else None


def _iso(year: int, month: int, day: int) -> str | None:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None
