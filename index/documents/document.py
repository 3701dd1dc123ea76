"""What the index knows of a document: its text, and what stands beside the text."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from blake3 import blake3

from index.documents.markdown import headings

MARKDOWN_SUFFIXES = frozenset({".md", ".markdown"})

Value = str | int | float | bool | list[str]
Metadata = Mapping[str, Value]
"""Flat, and made of what JSON has; a list holds strings."""


@dataclass(frozen=True, slots=True)
class Document:
    """One readable file, or one row of a table.

    Attributes:
        id: Path below the folder, with forward slashes; `path#ID` for a row of a table.
        title: What its author calls it, else the first level-1 heading, else the file's stem.
        text: The text that was extracted; line ends are `\\n`. Offsets of chunks count in it.
        hash: blake3 of everything else here, in hex.
        metadata: What is known about the document beside its text, to filter by.
        labels: Who may see it: callers that hold any of them; empty for everybody.
        page_starts: Where each page begins in the text, the first at 0; empty where there are no pages.
        is_markdown: Whether the text is Markdown, so that its headings count.
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
        """The document at this path below the folder; the title, unless given, follows from path and text.

        Raises:
            UnicodeEncodeError: the text or the path holds half a character (a lone surrogate).
        """
        if is_markdown is None:
            is_markdown = PurePosixPath(path).suffix.lower() in MARKDOWN_SUFFIXES
        title = title or _title(path, text, is_markdown)
        labels = tuple(sorted(set(labels)))
        content = [title, text, metadata or {}, labels, page_starts, is_markdown]
        digest = blake3(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        return cls(path, title, text, digest, metadata or {}, labels, page_starts, is_markdown)

    def page_at(self, offset: int) -> int | None:
        """The page (from 1) that a character stands on; None where there are no pages."""
        return bisect_right(self.page_starts, offset) or None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, some rows of one, or a folder that was not read, and why.

    Attributes:
        by_rule: It is none of the documents (another format, a link), so that an older version of it goes from the
            index; False where it could not be read, and an older version stays.
    """

    path: str
    reason: str
    by_rule: bool = False


def to_json(items: Sequence[Document | Skipped]) -> bytes:
    """Items as one JSON text."""
    return json.dumps([{"kind": type(item).__name__, **asdict(item)} for item in items]).encode()


def from_json(content: bytes) -> list[Document | Skipped]:
    """The items that `to_json` wrote."""
    return [_revived(item) for item in json.loads(content)]


def _revived(item: dict[str, Any]) -> Document | Skipped:
    if item.pop("kind") == Skipped.__name__:
        return Skipped(**item)
    return Document(**{**item, "labels": tuple(item["labels"]), "page_starts": tuple(item["page_starts"])})


def _title(path: str, text: str, is_markdown: bool) -> str:
    """The first level-1 heading of a Markdown document, or the stem of the file name."""
    for heading in headings(text) if is_markdown else ():
        if heading.level == 1:
            return heading.text
    return PurePosixPath(path).stem
