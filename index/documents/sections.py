"""Divides a document at its headings, and finds what a piece of a section must repeat to be understood alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from index.documents.document import Document
from index.documents.markdown import Heading, Table, headings, parents, tables

RULES = "-*_ \t\n"
"""What rules between sections are made of, and the white space around them."""


@dataclass(frozen=True, slots=True)
class Section:
    """The text under one heading, including the heading line: `text[start:end]`."""

    path: tuple[str, ...]
    start: int
    end: int


def sections(document: Document) -> list[Section]:
    """The document split at its headings; the heading line of a section without a body goes to a neighbour."""
    text = document.text
    found: list[Section] = []
    stack: list[Heading] = []
    start = body = 0
    marks = headings(text) if document.is_markdown else ()
    first = next((heading.text for heading in marks if heading.level == 1), None)
    for heading in marks:
        if has_body(text[body : heading.start]):
            found.append(Section(_path(document.title, first, stack), start, heading.start))
            start = heading.start
        while stack and stack[-1].level >= heading.level:
            stack.pop()
        stack.append(heading)
        body = heading.end
    if has_body(text[body:]) or not found:
        found.append(Section(_path(document.title, first, stack), start, len(text)))
    else:
        found[-1] = replace(found[-1], end=len(text))
    return found


def has_body(text: str) -> bool:
    """Whether a text says anything: white space and rules do not."""
    return bool(text.strip().strip(RULES))


def section_headings(document: Document) -> list[str]:
    """The heading of each section in reading order, or the document's title for a section without its own."""
    return [section.path[-1] for section in sections(document)]


def _path(title: str, first: str | None, stack: Sequence[Heading]) -> tuple[str, ...]:
    """The title and the headings below it. A title that is only the first of several chapters is not above the others.

    Args:
        first: the first heading of level 1.
        stack: the headings down to the section's own.
    """
    words = tuple(heading.text for heading in stack)
    if title == first and stack and stack[0].level == 1 and stack[0].text != title:
        return words
    return (title, *(word for word in words if word != title))


@dataclass(frozen=True)
class Surroundings:
    """What stands above a place in a document that a passage from there must repeat."""

    document: Document

    def lead(self, section: Section, place: int) -> tuple[str, ...]:
        """The row of column names of the table that a place is in, or the list items that it is nested in.

        Empty if the place is in neither, or the section begins below them.
        """
        if not self.document.is_markdown:
            return ()
        text = self.document.text
        number = bisect_right(self._bodies, place) - 1
        if number >= 0 and place < self._tables[number].end and self._tables[number].start >= section.start:
            return (text[self._tables[number].start : self._tables[number].body].strip(),)
        return tuple(parents(text, section.start, place))

    @cached_property
    def _tables(self) -> list[Table]:
        return tables(self.document.text)

    @cached_property
    def _bodies(self) -> list[int]:
        return [table.body for table in self._tables]
