"""Citations: the passage numbers in an answer, and the sources that examples and questions name.

Both sides of the application read them the same way: the endpoint that resolves `[2]` for a user, and the evaluation
that asks whether `[2]` was right.
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


def passage_matches(source: str, document_id: str, heading: str, title: str = "") -> bool:
    """Whether a passage is the one that a question's source names.

    The document must be the same. Where the source names a section, the passage's heading must be that
    section, as it stands or with the document's title taken off its front; case and white space do not count.

    Args:
        source: `document` or `document#section`, as in `django.md#4.2`.
        document_id: the passage's document.
        heading: the passage's last heading, as in `Django 4.2`.
        title: the document's title, as in `Django`.
    """
    # Asking for the known document id, not for the first '#', keeps documents such as `c#.md` whole.
    if source == document_id:
        return True
    if not source.startswith(document_id + "#"):
        return False
    section, heading, title = (collapsed(text) for text in (source[len(document_id) + 1 :], heading, title))
    if not section or section == heading:
        return True
    return bool(title) and heading.startswith(title) and _after(heading, title) == section


def _after(heading: str, title: str) -> str:
    """What follows the title in a heading; nothing where the title ends within a word."""
    rest = heading[len(title) :]
    return "" if rest[:1].isalnum() else rest.lstrip(" :-–—")


def collapsed(text: str) -> str:
    """`text` as it is compared where case and white space do not count."""
    return " ".join(text.casefold().split())
