"""The value of an answer, read whatever its markup; and the answer in plain text."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from ragft.citations import parse_citations, without_citations, without_last_citations
from ragft.data.answers import text_of
from ragft.evaluate.metrics.base import Rules
from ragft.spelling import without_tags
from ragft.tokens import tokens

_FENCE = regex.compile(r"(?m)^\s*(?:```|~~~)[\w-]*[ \t]*$\n?")
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
        written: the value with its marks, which a right answer may have, too ("range [1, 5]").
    """

    value: str
    others: tuple[str, ...] = ()
    found: bool = False
    cut: bool = False
    written: str = ""

    @functools.cached_property
    def is_marks(self) -> bool:
        """Whether the value is nothing but citation marks."""
        return _is_marks(self.value)

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
        return Reading("", cut=True) if cut_off else Reading(_without_marks(answer), written=answer.strip())
    for text in (plain(answer), answer):
        matches = [match for match in rules.value.finditer(text) if match[1] and match[1].strip()]
        if matches:
            if cut_off and matches[-1].end(1) >= len(text.rstrip()):
                return Reading("", found=True, cut=True)
            said = [_without_marks(match[1]) for match in matches]
            different = {tokens(value): value for value in said if tokens(value) != tokens(said[-1])}
            return Reading(said[-1], tuple(different.values()), found=True, written=matches[-1][1].strip())
    return Reading(_without_marks(answer), cut=cut_off, written=answer.strip())


def value_of(answer: str, rules: Rules, *, cut_off: bool = False) -> str:
    """The value of an answer; see `read`."""
    return read(answer, rules, cut_off=cut_off).value


def plain(answer: str) -> str:
    """The answer without Markdown: bold, code, quotations, headings, dashes of lists and indentation."""
    text = without_tags(_FENCE.sub("", answer))
    text = _BOLD.sub("", _LINE_START.sub("", text))
    return str(_UNDERLINED.sub(r"\2", text))


def sentences_of(text: str) -> list[str]:
    """Sentences and lines, each with the citations behind it."""
    return [sentence for sentence in _SENTENCE_ENDS.split(text) if sentence.strip()]


def equals_any(said: Reading, golds: Sequence[str]) -> bool:
    """Whether a value is one of the right ones; a date may be told with its time where the right one has none."""
    return any(_equal(said, gold) for gold in golds)


@dataclass(frozen=True)
class Gold:
    """A right answer, read as an answer is.

    Attributes:
        text: without the citation at its end; other brackets belong to it, and so does what is nothing else.
        has_marks: whether what reads like citations belongs to it, as an interval or a list does.
        is_marks: whether it is nothing but citation marks.
    """

    text: str
    has_marks: bool
    is_marks: bool


@functools.lru_cache(maxsize=4096)  # every metric asks, of every setup
def read_gold(gold: str) -> Gold:
    """Reads a right answer."""
    core, is_marks = without_last_citations(gold.strip(), single=True), _is_marks(gold)
    has_marks = not is_marks and bool(parse_citations(core))
    return Gold(core if has_marks else _without_marks(gold), has_marks, is_marks)


def words_said(said: Reading, gold: str) -> tuple[str, ...]:
    """The words of a value, to be counted beside those of a right answer: with the marks in it where that has some.

    Of writing without spaces, each pair of neighbouring characters is one.
    """
    has_marks = read_gold(gold).has_marks
    return text_of(without_last_citations(said.written, single=True) if has_marks else said.value).run


def words_of(gold: str) -> tuple[str, ...]:
    """The words of a right answer; see `read_gold` and `words_said`."""
    return text_of(read_gold(gold).text).run


def _equal(reading: Reading, right: str) -> bool:
    gold = read_gold(right)
    if reading.is_marks or gold.is_marks:
        # "[1]" cites a passage; it is the value only where a right answer is written so.
        return reading.is_marks and gold.is_marks and tokens(reading.value) == tokens(right)
    wanted = tokens(gold.text)
    if gold.has_marks:
        # Which of the last marks are citations, the right answer tells: "range [1, 5] [2]" is "range [1, 5]".
        return wanted in (tokens(reading.written), tokens(without_last_citations(reading.written, single=True)))
    said = tokens(reading.value)
    if said == wanted:
        return True
    is_date = len(wanted) == 1 and _DATE.fullmatch(wanted[0])
    return bool(is_date) and said[:1] == wanted and all(_TIME.fullmatch(part) for part in said[1:])


def _is_marks(text: str) -> bool:
    """Whether a text is nothing but citation marks."""
    return bool(parse_citations(text)) and not without_citations(text).strip()


def _without_marks(value: str) -> str:
    return value.strip() if _is_marks(value) else without_citations(value).strip()
