"""Slips that people make in a text, and which of its words may have any. Pure functions; `draw` decides what is random.

What a text is about is never changed: words with a capital letter or a digit, names of files and addresses, what is
quoted or code, and the words that a caller names stay as they are. With a slip in one it would be another text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Sequence

from index.documents.formats.encoding_languages import LANGUAGES

SHORTEST = 4
"""Letters of the shortest word that slips are made in."""
_WORD = re.compile(rf"(?<![\w.-])[^\W\d_]{{{SHORTEST},}}(?![\w-]|\.\w)")
_ANY_WORD = re.compile(r"(?<![\w.'’-])[^\W\d_]+(?![\w'’-]|\.\w)")
_QUOTED = re.compile(r"`[^`]*`|\"[^\"]*\"|“[^”]*”|„[^“”]*[“”]|«[^»]*»|(?<!\w)'[^']*'(?!\w)|‘[^’]*’")
_NAMING = re.compile(r"[\d/\\@_=<>{}\[\]#$%&*+|~^]")
"""Characters of identifiers, paths, addresses and code; a run without spaces that has one is none of the words."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_TRIES = 50

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
# Each row stands about half a key to the right of the one above.
_AROUND = ((0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0))
_KEYS = {
    key: "".join(
        _ROWS[row + down][column + right]
        for down, right in _AROUND
        if 0 <= row + down < len(_ROWS) and 0 <= column + right < len(_ROWS[row + down])
    )
    for row, keys in enumerate(_ROWS)
    for column, key in enumerate(keys)
}
"""Letters and those around them on a keyboard (QWERTY)."""

_MEANING = frozenset([
    "not", "no", "without", "from", "to", "by", "and", "or", "if", "nicht", "ohne", "von", "bis", "und", "oder", "nach",
    "über", "ne", "pas", "sans", "et", "ou", "e", "o", "y", "sin", "sem", "não", "niet", "inte", "och", "eller", "ikke",
    "og", "nie", "bez", "i", "ni",
])  # fmt: skip
"""Frequent words that a statement turns on: with another one, or without it, it would be another question."""


def fixed_spans(text: str) -> list[tuple[int, int]]:
    """What of a text is a name, a figure, code or quoted: from and to, in order; they may overlap."""
    spans = [found.span() for found in _QUOTED.finditer(text)]
    for number, run in enumerate(re.finditer(r"\S+", text)):
        inner = run[0].strip(".,;:!?()…¿¡\"'")
        is_name = any(letter.isupper() for letter in (inner if number else inner[1:]))
        if _NAMING.search(inner) or is_name or re.search(r"\w[.:]\w", inner):
            spans.append(run.span())
    return sorted(spans)


def free_words(text: str, kept: Collection[str], *, shortest: int = SHORTEST) -> list[re.Match[str]]:
    """The words of a text that may be changed.

    Args:
        kept: words in lower case that stay as they are.
        shortest: letters that a word has at least.
    """
    fixed = fixed_spans(text)
    return [
        word
        for word in (_WORD if shortest >= SHORTEST else _ANY_WORD).finditer(text)
        if len(word[0]) >= shortest
        and word[0].islower()
        and word[0] not in kept
        and not any(start < word.end() and word.start() < end for start, end in fixed)
    ]


def function_words(text: str) -> list[str]:
    """Frequent words of the language that a text is written in, which say how it is built and not what it asks for."""
    said = set(text.lower().split())
    language = max(LANGUAGES, key=lambda one: len(one.words & said))
    return sorted(language.words - _MEANING) if language.words & said else []


def lower_words(text: str, kept: Collection[str]) -> list[re.Match[str]]:
    """The words that slips are made in where a text may be anything: in lower case, and none of those to keep."""
    return [word for word in _WORD.finditer(text) if word[0].islower() and word[0] not in kept]


def with_slips(text: str, words: Sequence[re.Match[str]], draw: random.Random) -> str | None:
    """The text with one or two slips in these of its words; None where there are none."""
    return _changed(text, words, draw, slip)


def with_wrong_keys(text: str, words: Sequence[re.Match[str]], draw: random.Random) -> str | None:
    """The text with one or two of these words typed with a key beside the right one; None where none can be."""
    return _changed(text, [word for word in words if any(letter in _KEYS for letter in word[0][1:])], draw, _wrong_key)


def with_other_case(text: str, words: Sequence[re.Match[str]], draw: random.Random) -> str | None:
    """The text with all of these words in capitals, or each with one; None where there are none."""
    if not words:
        return None
    other = draw.choice((str.upper, str.capitalize))
    for word in reversed(words):
        text = text[: word.start()] + other(word[0]) + text[word.end() :]
    return text


def without_a_word(text: str, words: Sequence[re.Match[str]], draw: random.Random) -> str | None:
    """The text without one function word (random deletion, arXiv 1901.11196, of words that say little).

    None where none stands behind another word.
    """
    small = function_words(text)
    dropped = [word for word in words if word[0] in small and text[: word.start()].endswith(" ")]
    if not dropped:
        return None
    word = draw.choice(dropped)
    return text[: word.start() - 1] + text[word.end() :]


def with_a_word(text: str, words: Sequence[re.Match[str]], draw: random.Random) -> str | None:
    """The text with a function word before one of these (random insertion, arXiv 1901.11196, of words that say little).

    None where its language cannot be told.
    """
    small = function_words(text)
    if not words or not small:
        return None
    at = draw.choice(words).start()
    return f"{text[:at]}{draw.choice(small)} {text[at:]}"


def slip(word: str, draw: random.Random) -> str:
    """The word with two letters exchanged, or one left out, doubled or replaced; never the first one."""
    for _ in range(_TRIES):
        at = draw.randrange(1, len(word) - 1)
        slips = (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:], word[:at] + draw.choice(_LETTERS) + word[at + 1 :],
        )  # fmt: skip
        slipped = draw.choice(slips)
        if slipped != word:
            return slipped
    return word[:-1]


def _wrong_key(word: str, draw: random.Random) -> str:
    at = draw.choice([place for place, letter in enumerate(word) if place and letter in _KEYS])
    return word[:at] + draw.choice(_KEYS[word[at]]) + word[at + 1 :]


def _changed(
    text: str, words: Sequence[re.Match[str]], draw: random.Random, change: Callable[[str, random.Random], str]
) -> str | None:
    if not words:
        return None
    count = min(len(words), draw.randint(1, 2))
    for word in sorted(draw.sample(words, count), key=lambda found: -found.start()):
        text = text[: word.start()] + change(word[0], draw) + text[word.end() :]
    return text
