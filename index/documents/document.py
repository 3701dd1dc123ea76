"""Documents as the index reads them: their text, title, labels and metadata."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from blake3 import blake3

from index.documents.markdown import headings

_MARKDOWN_SUFFIXES = frozenset({".md", ".markdown"})

_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False)

Value = str | int | float | bool | list[str | int | float | bool]
Metadata = Mapping[str, Value]
"""Flat JSON values; lists hold no lists or objects."""


@dataclass(frozen=True, slots=True)
class Document:
    """One readable file, or one row of a table.

    Attributes:
        id: path below the folder, with forward slashes; `path#ID` for a row of a table.
        title: the title its author gave it, else the first level-1 heading, else the file's stem.
        text: the extracted text; line ends are `\\n`. Offsets of chunks refer to it.
        hash: blake3 of all other fields but the id, in hex.
        metadata: values that searches can filter by.
        labels: callers that hold any of these may see the document; empty: everybody may.
        page_starts: offset of each page in the text, the first 0; empty for formats without pages.
        is_markdown: whether the text is Markdown, so that its headings divide it into sections.
    """

    id: str
    title: str
    text: str
    hash: str
    metadata: Metadata = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    page_starts: tuple[int, ...] = ()
    is_markdown: bool = False

    @classmethod
    def of(
        cls,
        path: str,
        text: str,
        *,
        title: str | None = None,
        metadata: Metadata | None = None,
        labels: tuple[str, ...] = (),
        page_starts: tuple[int, ...] = (),
        is_markdown: bool | None = None,
    ) -> Document:
        """Create a document with the id `path` and compute its hash; by default, the suffix tells what is Markdown.

        Raises:
            UnicodeEncodeError: the text, title or metadata holds a lone surrogate (half a character).
        """
        if is_markdown is None:
            is_markdown = PurePosixPath(path).suffix.lower() in _MARKDOWN_SUFFIXES
        if not title:
            found = headings(text) if is_markdown else ()
            title = next((heading.text for heading in found if heading.level == 1), PurePosixPath(path).stem)
        labels = tuple(sorted(set(labels))) if labels else ()
        content = [title, text, metadata or {}, labels, page_starts, is_markdown]
        digest = blake3(_ENCODER.encode(content).encode()).hexdigest()
        return cls(path, title, text, digest, metadata or {}, labels, page_starts, is_markdown)

    def page_at(self, offset: int) -> int | None:
        """Number of the page, from 1, that holds the character at this offset; None if there are no pages."""
        return bisect_right(self.page_starts, offset) or None


class HasContent(Protocol):
    """What an index lists of a document."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def hash(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, folder, or some rows of a file that were not read.

    Attributes:
        path: path below the folder of documents, printable.
        by_rule: True: it is not one of the documents (another format, a link), so the index drops an older version of
            it. False: it could not be read, so the index keeps an older version.
        scanned: pages of a PDF, from 1, that character recognition may read.
    """

    path: str
    reason: str
    by_rule: bool = False
    scanned: tuple[int, ...] = ()


def to_json(items: Sequence[Document | Skipped]) -> bytes:
    """Serialise items to one JSON text."""
    return json.dumps([{"kind": type(item).__name__, **asdict(item)} for item in items]).encode()


def from_json(content: bytes) -> list[Document | Skipped]:
    """Restore the items that `to_json` wrote."""
    items: list[Document | Skipped] = []
    for item in json.loads(content):
        if item.pop("kind") == Skipped.__name__:
            items.append(Skipped(**item | {"scanned": tuple(item["scanned"])}))
        else:
            item |= {"labels": tuple(item["labels"]), "page_starts": tuple(item["page_starts"])}
            items.append(Document(**item))
    return items
