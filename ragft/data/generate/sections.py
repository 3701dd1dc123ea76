"""The sections of an index, put together again from its chunks: what generated questions are made from."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from index.documents.chunking import PATH_SEPARATOR, Chunk
from index.documents.markdown import headings
from ragft.data.sources import Source, collapsed
from ragft.tokens import contains_tokens, tokens

_NUMBER = re.compile(r"(?:\d+\.)+\d*\.?\s+(?=[^\W\d])")
"""The number of a chapter before its heading: `4.2.2. Use of uninitialised values`."""

_SITE = re.compile(r"\s+[|–—·]\s+.*$")
"""What pages of one site have behind their title: `File system | Node.js Documentation`."""

_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)")
_EMPHASIS = re.compile(r"(?<!\w)(\*\*|__|\*|_|`)(?=\S)(.+?)(?<=\S)\1(?!\w)")

_SAME_TEXT = 20
"""Words that a section needs for two documents that both hold it to be versions of one."""


@dataclass(frozen=True)
class Section:
    """The text under one heading, as the index holds it.

    Attributes:
        title: of the document.
        path: the title and the headings down to the section's own.
        text: without the heading lines; chunks that overlap are joined.
        passages: those that it is cut into, as they are searched and shown.
        restricted: whether only callers with some access label may see it.
    """

    document_id: str
    title: str
    path: tuple[str, ...]
    text: str
    passages: tuple[str, ...]
    restricted: bool = False

    @property
    def source(self) -> Source:
        """How examples and questions name it: by all its headings, so that no other section is meant."""
        return Source(f"{self.document_id}#{PATH_SEPARATOR.join(self.path)}" if self.path else self.document_id)

    @cached_property
    def heading(self) -> str:
        """Its own heading, or the document's title, without a number before it."""
        return plain_heading(self.path[-1]) if self.path else self.name

    @cached_property
    def name(self) -> str:
        """The document's title, without what every page of its site repeats."""
        return plain_heading(self.title)

    @cached_property
    def subject(self) -> str:
        """What it is about, so that a question can name it to somebody who does not see the document.

        A heading that does not say so itself is completed by the document's title: `Support (Django)`.
        """
        if contains_tokens(tokens(self.heading), tokens(self.name)) or collapsed(self.heading) == collapsed(self.name):
            return self.heading
        return f"{self.heading} ({self.name})"


def sections_of(chunks: Iterable[Chunk]) -> list[Section]:
    """The sections that chunks are from, document by document, in the order of their text."""
    of_document: dict[str, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        of_document[chunk.document_id].append(chunk)
    found: list[Section] = []
    for document_id, own in of_document.items():
        runs: list[list[Chunk]] = []
        for chunk in sorted(own, key=lambda chunk: chunk.start):
            if runs and runs[-1][0].heading_path == chunk.heading_path:
                runs[-1].append(chunk)
            else:
                runs.append([chunk])
        found += [_section(document_id, run) for run in runs]
    return found


def document_groups(sections: Sequence[Section]) -> dict[str, str]:
    """For each document the first by name of those that it shares a section with, word for word, directly or through
    others: copies and versions of one page are one group.
    """
    root = {section.document_id: section.document_id for section in sections}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    holder: dict[str, str] = {}
    for section in sections:
        words = tokens(section.text)
        if len(words) < _SAME_TEXT:
            continue
        low, high = sorted((find(holder.setdefault(" ".join(words), section.document_id)), find(section.document_id)))
        root[high] = low
    return {name: find(name) for name in root}


def plain_heading(heading: str) -> str:
    """A heading without a chapter's number before it and without the name of a site behind it."""
    heading = plain(heading)
    return _SITE.sub("", _NUMBER.sub("", heading, count=1)).strip() or heading


def plain(text: str) -> str:
    """A text in one line, links by their words, without emphasis."""
    text = _LINK.sub(r"\1", " ".join(text.split()))
    while (changed := _EMPHASIS.sub(r"\2", text)) != text:
        text = changed
    return text.strip()


def _section(document_id: str, run: Sequence[Chunk]) -> Section:
    parts: list[str] = []
    end = run[0].start
    for chunk in run:
        # Chunks leave out only white space between them, which may have ended a line.
        parts += ["\n"] if parts and chunk.start > end else []
        parts.append(chunk.text[max(0, end - chunk.start) :])
        end = max(end, chunk.end)
    text = "".join(parts)
    first = run[0]
    return Section(
        document_id, first.title, first.heading_path, _without_headings(text),
        tuple(chunk.passage for chunk in run), any(chunk.labels for chunk in run),
    )  # fmt: skip


def _without_headings(text: str) -> str:
    kept, end = [], 0
    for heading in headings(text):
        kept.append(text[end : heading.start])
        end = heading.end
    return "".join([*kept, text[end:]]).strip("\n")
