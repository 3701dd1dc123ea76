"""Markdown: the text below the front matter, which holds title, labels and metadata."""

from __future__ import annotations

from index.documents.document import Document, Skipped
from index.documents.formats.encoding import decode
from index.documents.formats.properties import front_matter
from index.documents.formats.settings import ReadSettings, Unreadable
from index.documents.visible import visible


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document.

    Raises:
        Unreadable: the file is binary, in an unknown encoding or blank, or its front matter cannot be understood.
    """
    stated, text = front_matter(decode(data))
    text = visible(text)
    if not text.strip():
        raise Unreadable("empty")
    return [
        Document.of(name, text, title=stated.title, labels=stated.labels, metadata=stated.metadata, is_markdown=True)
    ]
