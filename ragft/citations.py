"""Citations: the passage numbers in an answer.

The endpoint that resolves `[2]` for a user and the evaluation that asks whether `[2]` was right read them alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# Up to three digits: [2026] is a year. Not an image, a link or the definition of one: ![1], [1](...), [1]:
# http...
_CITATION = re.compile(r"(?<!!)\[\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*\](?!\(|:\s*http)")
# Marks at the start of a line go with the space behind them, others with the space before, unless a word follows.
_MARKS = re.compile(rf"(?m)^(?:{_CITATION.pattern})+ ?| ?(?:{_CITATION.pattern})+(?!\w)|(?:{_CITATION.pattern})+")


def parse_citations(answer: str) -> tuple[int, ...]:
    """The passage numbers that an answer cites, each once, in order: `[2]`, `[1][3]`, `[1, 3]`.

    Numbers are not checked against the passages: one that does not exist is a wrong citation, not none.
    """
    numbers = (number for group in _CITATION.findall(answer) for number in re.split(r"[,;]", group))
    return tuple(dict.fromkeys(int(number) for number in numbers))


def without_citations(answer: str) -> str:
    """The answer without its citation marks, whose numbers must not be read as values."""
    return _CITATION.sub("", answer)


def with_citations(answer: str, number_of: Callable[[int], int]) -> str:
    """The answer with other numbers in its citation marks."""
    return _CITATION.sub(lambda mark: re.sub(r"\d+", lambda number: str(number_of(int(number[0]))), mark[0]), answer)


def in_plain_words(answer: str) -> str:
    """The answer as one writes it where there is nothing to cite: the marks go, and the space that set them off."""
    return _MARKS.sub("", answer)
