"""The value of an answer, read whatever its markup; and the answer in plain text."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from ragft.citations import parse_citations, without_citations
from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules
from ragft.tokens import tokens

_FENCE = regex.compile(r"(?m)^\s*(?:```|~~~)[\w-]*[ \t]*$\n?")
_TAGS = regex.compile(r"</?(?:b|i|em|strong|code|p|u|span|mark)\b[^<>]*>|<br\s*/?>", regex.I)
# Indentation, a dash or number of a list, a quotation, the signs of a heading.
_LINE_START = regex.compile(
    r"(?m)^[ \t]*(?:>[ \t]*)*(?:[-*+•][ \t]+(?=\S)|\d+[.)][ \t]+(?=\p{L}|[*_`])|\#{1,6}[ \t]+)?"
)
_BOLD = regex.compile(r"\*\*|(?<!\S)\*(?=\S)|(?<=\S)\*(?=\s|[.,:;!?]|$)|`")
_DATE = regex.compile(r"\d{4}-\d\d-\d\d")
_TIME = regex.compile(r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?|at|utc|gmt|[+-]")
_SENTENCE_ENDS = regex.compile(r"(?<=[.!?](?:\[[^\]]*\])*)\s+(?=[^\s\[【])|\n+")
_UNDERLINED = regex.compile(r"(?m)^(_{1,2})(\S[^_\n]*)\1")


@dataclass(frozen=True)
class Reading:
    """What was read from an answer.

    Attributes:
        value: what counts: the last value that `rules.value` finds, or the whole answer; without citation marks. Empty
            where the answer ends within it.
        others: the values before it that say something else.
        found: whether `rules.value` found it.
        cut: whether the answer ends within its value.
    """

    value: str
    others: tuple[str, ...] = ()
    found: bool = False
    cut: bool = False

    @property
    def detail(self) -> str:
        """The value, for a reader."""
        if self.cut:
            return "cut off before its value is complete"
        return f"{self.value} (before it, other values: {'; '.join(self.others)})" if self.others else self.value


@functools.lru_cache(maxsize=4096)
def read(answer: str, rules: Rules, *, cut_off: bool = False) -> Reading:
    """Reads the value of an answer.

    The last value counts, because an answer that reckons comes to it last: a right value in a draft before a wrong one
    is wrong. Of an answer that was cut off, a value counts if text follows it, since only then it is complete.

    Args:
        cut_off: the answer ended because it was as long as it may be.
    """
    if rules.value is None:
        return Reading("", cut=True) if cut_off else Reading(_without_marks(answer))
    for text in (plain(answer), answer):
        matches = [match for match in rules.value.finditer(text) if match[1] and match[1].strip()]
        if matches:
            if cut_off and matches[-1].end(1) >= len(text.rstrip()):
                return Reading("", found=True, cut=True)
            said = [_without_marks(match[1]) for match in matches]
            different = {tokens(value): value for value in said if tokens(value) != tokens(said[-1])}
            return Reading(said[-1], tuple(different.values()), found=True)
    return Reading(_without_marks(answer), cut=cut_off)


def value_of(answer: str, rules: Rules, *, cut_off: bool = False) -> str:
    """The value of an answer; see `read`."""
    return read(answer, rules, cut_off=cut_off).value


def plain(answer: str) -> str:
    """The answer without Markdown: bold, code, quotations, headings, dashes of lists and indentation."""
    text = _TAGS.sub("", _FENCE.sub("", answer))
    text = _BOLD.sub("", _LINE_START.sub("", text))
    return str(_UNDERLINED.sub(r"\2", text))


def sentences_of(text: str) -> list[str]:
    """Sentences and lines, each with the citations behind it."""
    return [sentence for sentence in _SENTENCE_ENDS.split(text) if sentence.strip()]


def equals_any(value: str, golds: Sequence[str]) -> bool:
    """Whether a value is one of the right ones; a date may be told with its time where the right one has none."""
    return any(_equal(value, gold) for gold in golds)


def tokens_of_golds(question: Question) -> list[tuple[str, ...]]:
    """The right answers as tokens, read as an answer is: without citation marks, unless they are nothing else."""
    return [tokens(_without_marks(gold)) for gold in question.answers]


def _equal(value: str, gold: str) -> bool:
    if _is_marks(value) or _is_marks(gold):
        # "[1]" cites a passage; it is the value only where a right answer is written so.
        return _is_marks(value) and _is_marks(gold) and tokens(value) == tokens(gold)
    said, wanted = tokens(value), tokens(without_citations(gold))
    if said == wanted:
        return True
    is_date = len(wanted) == 1 and _DATE.fullmatch(wanted[0])
    return bool(is_date) and said[:1] == wanted and all(_TIME.fullmatch(part) for part in said[1:])


def _is_marks(text: str) -> bool:
    """Whether a text is nothing but citation marks."""
    return bool(parse_citations(text)) and not without_citations(text).strip()


def _without_marks(value: str) -> str:
    return value.strip() if _is_marks(value) else without_citations(value).strip()
