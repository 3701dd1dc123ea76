"""What a text shows by itself: that it breaks off, its shape, its language, and characters to tidy."""

from __future__ import annotations

import contextlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import regex

from index.store.languages import FUNCTION_WORDS, LANGUAGES
from ragft.citations import parse_citations

# --- characters

_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
)
"""Control characters, soft hyphens, zero-width spaces and marks that turn the direction of writing. Not the zero-width
joiners, which Persian, Indic scripts and emoji need."""
_TWICE_ENCODED = re.compile(
    "[ÂÃÄÅâð][\u0080-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
)
_LINE_END = re.compile(r"\r\n?|[ \t]+(?=\n)")


def tidy(text: str) -> str:
    """The text in Unicode's composed form (NFC), without invisible characters and white space at the ends of lines.

    UTF-8 that was once read as Windows-1252 (`MÃ¼ller`) is put right, where all of it can be.
    """
    if _TWICE_ENCODED.search(text):
        # Where only a part of it was encoded twice, or none, nobody can tell.
        with contextlib.suppress(UnicodeEncodeError, UnicodeDecodeError):
            text = text.encode("cp1252").decode()
    clean = unicodedata.normalize("NFC", _LINE_END.sub(_newline, _INVISIBLE.sub("", text))).rstrip()
    # The first of several lines may be indented, as code is.
    return clean.lstrip("\n") if "\n" in clean.strip() else clean.lstrip()


def _newline(match: re.Match[str]) -> str:
    return "\n" if match[0].startswith("\r") else ""


def untidiness(text: str) -> str:
    """What `tidy` would change; empty: nothing."""
    if "\ufffd" in text:
        return "a character that could not be decoded (U+FFFD)"
    # Nearly all texts are plain: the quick checks come first.
    if text.isascii() and text.isprintable() and text == text.strip():
        return ""
    if _INVISIBLE.search(text):
        return "invisible characters"
    if tidy(text) == text:
        return ""
    return "text that was encoded twice" if _TWICE_ENCODED.search(text) else "white space or uncomposed characters"


# --- texts that break off

_HANGING = frozenset([
    "a", "an", "the", "of", "to", "in", "on", "at", "by", "for", "from", "with", "and", "or", "but", "nor", "if",
    "that", "which", "who", "whose", "because", "as", "than", "is", "are", "was", "were", "be", "der", "die", "das",
    "dem", "den", "des", "ein", "eine", "einer", "eines", "und", "oder", "aber", "mit", "von", "zu", "im", "am", "auf",
    "für", "dass", "weil", "wenn", "ist", "sind",
])  # fmt: skip
_ENDS = ".!?…。！？\"'”’»)]}`*"
_UNFINISHED = re.compile(r"[,;:：(\[{–—/\\&=<-]$|(?:\.\.\.|…)$")
_EMPTY_LABEL = regex.compile(r"\n[ \t]*\p{Lu}\p{L}*(?: \p{L}+)?:$")
"""A last line of a house format that has nothing to say, such as `Source:` without a citation."""


def break_off(text: str) -> str:
    """Why a text seems to end in the middle; empty: it does not.

    >>> break_off("You may book second class in the")
    "it ends with 'the'"
    """
    text = _EMPTY_LABEL.sub("", text.rstrip())
    if text.count("```") % 2:
        return "a code block is not closed"
    if _UNFINISHED.search(text):
        return f"it ends with {text[-1]!r}"
    last = text.rpartition(" ")[2]
    if last.casefold() in _HANGING and " " in text and last.islower():
        return f"it ends with {last!r}"
    for opening, closing in zip("([{", ")]}", strict=True):
        at = text.rfind(opening)
        if at > text.rfind(closing) and len(text) - at > 1 and text[at - 1 : at] != ":":
            return f"{opening!r} is not closed"
    return ""


def is_closed(text: str) -> bool:
    """Whether it ends as a sentence does, or with a label of the house format."""
    text = text.rstrip()
    return text[-1:] in _ENDS or _EMPTY_LABEL.search(text) is not None


# --- the shape of answers

_LABEL = regex.compile(r"(?m)^[ \t]*([\p{Lu}][\p{L} ]{0,24}):(?=\s|$)")
_CHATTER = re.compile(
    r"(?i)^(?:sure|certainly|of course|absolutely|great question|good question|happy to help|thanks? (?:you )?for|"
    r"hello|hi|hey|dear|as an ai|i'm sorry|i am sorry|sorry|well|okay|ok|natürlich|gerne|hallo)\b[ ,!.:]"
    r"|\bas an ai\b|\blanguage model\b|let me know if|hope (?:this|that) helps|feel free to"
)
_BULLET = re.compile(r"(?m)^[ \t]*(?:[-*•]|\d+[.)])[ \t]")
_HEADING = re.compile(r"(?m)^#{1,6} |\*\*[^*\n]+\*\*")
_LINK = re.compile(r"https?://|www\.")
_TABLE = re.compile(r"(?m)^\|.*\|")

FEATURES = (
    "the labels of its lines", "the number of its lines", "whether it ends as a sentence", "how it begins",
    "talk around the answer", "list marks", "headings or bold text", "a code block or table", "citations", "links",
    "exclamation marks", "emoji", "capitals throughout",
)  # fmt: skip
"""What is looked at in the shape of an answer, in the order of `shape`."""


def shape(answer: str) -> tuple[str, ...]:
    """The shape of an answer: one value for each of `FEATURES`."""
    lines = answer.count("\n") + 1
    letters = [letter for letter in answer[:400] if letter.isalpha()]
    shouted = len(letters) > 8 and sum(map(str.isupper, letters)) > 0.8 * len(letters)
    first = answer.lstrip()[:1]
    return (
        "|".join(label.casefold() for label in _LABEL.findall(answer)[:8]),
        "1" if lines == 1 else "2-4" if lines < 5 else "5+",
        str(is_closed(answer)),
        "upper" if first.isupper() else "lower" if first.islower() else "digit" if first.isdigit() else "other",
        str(_CHATTER.search(answer) is not None),
        str(_BULLET.search(answer) is not None),
        str(_HEADING.search(answer) is not None),
        str("```" in answer or _TABLE.search(answer) is not None),
        str("[" in answer and bool(parse_citations(answer))),
        str(_LINK.search(answer) is not None),
        str("!" in answer),
        str(not answer.isascii() and any(unicodedata.category(letter) == "So" for letter in answer)),
        str(shouted),
    )


_TELLING = frozenset({"the labels of its lines", "talk around the answer"})
STRANGE = 4.0
"""Nats by which a shape must be rarer, over all features, than its most usual values: about one in fifty-five. Measured
in benchmarks/audit.py."""
_USUAL = 0.75
"""Share of the rows from which a value of a feature is the house's: where people vary, nobody departs."""


def strange_shapes(counts: Counter[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """The shapes that depart from the others, and in what.

    Each feature of which one value is usual adds the surprise of the value that the shape has instead, in nats. Other
    labels, and talk around the answer (`Sure!`), are strange by themselves where most answers have none.
    """
    total = counts.total()
    shares: list[dict[str, float]] = []
    for place in range(len(FEATURES)):
        values: Counter[str] = Counter()
        for one, count in counts.items():
            values[one[place]] += count
        shares.append({value: count / total for value, count in values.items()})
    found = {}
    for one in counts:
        surprise, why, told = 0.0, list[tuple[float, str]](), False
        for place, (value, of) in enumerate(zip(one, shares, strict=True)):
            usual = max(of.values())
            if usual >= _USUAL and of[value] < usual:
                own = math.log(usual / of[value])
                told = told or FEATURES[place] in _TELLING
                surprise += own
                why.append((own, FEATURES[place]))
        # A single small departure, such as a full stop, is chance.
        if why and (told or (surprise >= STRANGE and len(why) > 1)):
            found[one] = ", ".join(name for _, name in sorted(why, reverse=True)[:3])
    return found


# --- languages

_SPEAKERS: dict[str, tuple[int, ...]] = {}
for _code, _words in enumerate(FUNCTION_WORDS.values(), start=1):
    for _word in set(_words.split()):
        if len(_word) > 1 or not _word.isascii():
            _SPEAKERS[_word] = (*_SPEAKERS.get(_word, ()), _code)

_SCRIPTS = {
    "Chinese": r"\p{Han}", "Japanese": r"\p{Hiragana}\p{Katakana}", "Korean": r"\p{Hangul}", "Thai": r"\p{Thai}",
    "Georgian": r"\p{Georgian}", "Hebrew script": r"\p{Hebrew}", "Arabic script": r"\p{Arabic}",
    "Cyrillic script": r"\p{Cyrillic}", "Greek": r"\p{Greek}", "Devanagari script": r"\p{Devanagari}",
}  # fmt: skip
LANGUAGE_NAMES = ("unknown", *(name.capitalize() for name in LANGUAGES[1:]), *_SCRIPTS)
"""Names by code."""
_BY_SCRIPT = [
    (code, regex.compile(f"[{letters}]")) for code, letters in enumerate(_SCRIPTS.values(), start=len(LANGUAGES))
]
_KANA = len(LANGUAGES) + 1


def language_of(text: str, words: Sequence[str]) -> int:
    """The language of a text by its function words, else by its script; 0: it cannot be told.

    It is told only if the words that no rival shares are clearly more than those of the rival, as
    `index.store.languages` decides against English: three and more beyond twice the rival's, or two where it has none.

    Args:
        words: of the text, in lower case.
    """
    speakers = [found for word in words if (found := _SPEAKERS.get(word))]
    counts = Counter(code for found in speakers for code in found)
    if counts:
        (best, most), *others = counts.most_common(2)
        if others:
            rival = others[0][0]
            own = sum(best in found and rival not in found for found in speakers)
            theirs = sum(rival in found and best not in found for found in speakers)
        else:
            own, theirs = most, 0
        if own >= 2 * theirs + 3 or (theirs == 0 and own >= 2 and most >= 0.2 * len(words)):
            return best
    if text.isascii():
        return 0
    half = 0.5 * sum(map(str.isalpha, text))
    letters_of = {code: len(letters.findall(text)) for code, letters in _BY_SCRIPT}
    code = max(letters_of, key=letters_of.__getitem__)
    if letters_of[code] < 4 or letters_of[code] + letters_of[_KANA] < half:
        return 0
    # Japanese is written with Chinese characters, too.
    return _KANA if code == len(LANGUAGES) and letters_of[_KANA] >= 0.1 * letters_of[code] else code
