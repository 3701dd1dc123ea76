"""Plain text, unchanged."""

from __future__ import annotations

from index.documents.document import Document, Skipped
from index.documents.formats.encoding import decode
from index.documents.formats.settings import ReadSettings, Unreadable


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document.

    Raises:
        Unreadable: the file is binary, in an unknown encoding, or blank.
    """
    text = decode(data)
    if not text.strip():
        raise Unreadable("empty")
    return [Document.of(name, text, is_markdown=False)]
