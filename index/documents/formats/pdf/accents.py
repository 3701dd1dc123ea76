"""Letters whose accents are drawn as characters of their own: `Schr¨oder` is read as `Schröder`.

TeX draws them so in its older fonts. An accent belongs to the letter beside it if it stands in the middle above or
below that letter; one that stands for itself, as in a backquote before a word, does not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_COMBINING = {
    "`": "\u0300", "\u00b4": "\u0301", "^": "\u0302", "\u02c6": "\u0302", "~": "\u0303", "\u02dc": "\u0303",
    "\u00af": "\u0304", "\u02c9": "\u0304", "\u02d8": "\u0306", "\u02d9": "\u0307", "\u00a8": "\u0308",
    "\u02da": "\u030a", "\u02dd": "\u030b", "\u02c7": "\u030c", "\u00b8": "\u0327", "\u02db": "\u0328",
}  # fmt: skip
_ACCENT = re.compile(f"[{''.join(map(re.escape, _COMBINING))}]")
_DOTLESS = {"ı": "i", "ȷ": "j"}
_NOTHING = "\u00ad"
"""Takes the place of what was joined, so that others keep theirs; it is left out with all that nobody sees."""

_OFF_CENTRE = 0.3
"""Most distance of the middles of accent and letter, in widths of the wider one."""


def with_accents(text: str, box: Callable[[int], tuple[float, float, float, float]]) -> str:
    """The characters of a page with accents on their letters, each character at its own place.

    Args:
        box: gives left, bottom, right and top of the character at a place.
    """
    if _ACCENT.search(text) is None:
        return text
    written = list(text)
    for match in _ACCENT.finditer(text):
        accent = match.start()
        for letter in (accent + 1, accent - 1):
            composed = _composed(written[letter], match.group()) if 0 <= letter < len(written) else ""
            if composed and _is_centred(box(accent), box(letter)):
                written[min(accent, letter)], written[max(accent, letter)] = composed, _NOTHING
                break
    return "".join(written)


def _composed(letter: str, accent: str) -> str:
    """One letter of the two; empty if there is none."""
    composed = unicodedata.normalize("NFC", _DOTLESS.get(letter, letter) + _COMBINING[accent])
    return composed if letter.isalpha() and len(composed) == 1 else ""


def _is_centred(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    widest = max(one[2] - one[0], other[2] - other[0])
    return abs(one[0] + one[2] - other[0] - other[2]) <= 2 * _OFF_CENTRE * widest
