"""Markdown: the text below the front matter, which gives title, labels and metadata."""

from __future__ import annotations

from index.documents.document import Document, Skipped
from index.documents.formats.encoding import decode
from index.documents.formats.properties import front_matter
from index.documents.formats.settings import ReadSettings, Unreadable


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document.

    Raises:
        Unreadable: binary, in an unknown encoding, blank, or with a front matter that cannot be understood.
    """
    said, text = front_matter(decode(data))
    if not text.strip():
        raise Unreadable("empty")
    return [
        Document.of(name, text, title=said.title, labels=said.labels or (), metadata=said.metadata, is_markdown=True)
    ]
