"""Whether the text of a page is what its reader sees: not the codes of its glyphs, not the notice of a dynamic form.

Fonts without a table of characters give codes instead of text. Most often each code is the character's own, moved by a
constant that depends on the program (`Lorem` becomes `0SVIQ`), or a place in the private area of Unicode.
"""

from __future__ import annotations

import re

_BEGINNING = 2_000
_FEWEST_LETTERS = 16
"""Fewer characters tell too little."""

_SHIFTS = (26, 27, 28, 29, 30, 31)
"""By how much glyphs are numbered below ASCII in fonts whose first glyphs are followed by the blank."""
_LETTERS, _VOWELS = b"abcdefghijklmnopqrstuvwxyz", b"aeiouy"
_LEAST_LOWER, _MOST_LOWER = 0.8, 0.2
_LEAST_VOWELS, _MOST_VOWELS = 0.33, 0.3
"""Shares of lower-case letters and vowels: in text of any European language, and in text that is moved. Random letters
have 23 % vowels."""

_MOST_UNKNOWN = 0.3
"""Share of characters that stand for nothing."""

_UNKNOWN = re.compile("[\x00-\x08\x0e-\x1f\ue000-\uf8ff\ufffd\U000f0000-\U0010ffff]")
_LOWER = re.sub("[^a-zß-öø-ÿ]", "", bytes(range(256)).decode("latin-1")).encode("latin-1")

_NOTICE = re.compile(r"please wait\W.{0,200}if this message is not eventually replaced", re.I | re.DOTALL)
_LONGEST_NOTICE = 3_000


def is_illegible(text: str) -> bool:
    """Whether this is the codes of glyphs and not text, by its beginning."""
    text = "".join(text[:_BEGINNING].split())
    if (not text.isprintable() or "\ufffd" in text) and len(_UNKNOWN.findall(text)) > _MOST_UNKNOWN * len(text):
        return True
    codes = text.encode("latin-1", "ignore")
    if len(text) < _FEWEST_LETTERS or _number_of(_LOWER, codes) > _MOST_LOWER * len(text):  # nearly all text
        return False
    return _is_moved(codes, len(text))


def _number_of(some: bytes, codes: bytes) -> int:
    """How many of the codes are among these."""
    return len(codes) - len(codes.translate(None, some))


def _is_moved(codes: bytes, length: int) -> bool:
    if _number_of(_VOWELS + _VOWELS.upper(), codes) > _MOST_VOWELS * length:
        return False
    for shift in _SHIFTS:
        lower = _number_of(bytes(code - shift for code in _LETTERS), codes)
        vowels = _number_of(bytes(code - shift for code in _VOWELS), codes)
        if lower >= _LEAST_LOWER * length and vowels >= _LEAST_VOWELS * lower:
            return True
    return False


def is_notice_of_dynamic_form(text: str, is_dynamic: bool) -> bool:
    """Whether this text of a whole file only says that another program is needed to show the form."""
    return len(text) <= _LONGEST_NOTICE and (is_dynamic or _NOTICE.search(text) is not None)
