"""The formats that documents come in, each in a module with one function `read`.

    read(name, data, settings) -> list[Document | Skipped]

`name` is the path below the folder of documents, `data` the bytes of the file. What cannot be read raises
`Unreadable` with the reason. A new format is a module and a line in the table below.

Rich formats are extracted to Markdown, so that one chunker with heading paths serves all of them; offsets count in the
text that was extracted. Their parsers are native code that may hang or crash on hostile files, so they run in a process
of their own (`index.documents.formats.process`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from index.documents.document import Document, Skipped
from index.documents.formats.settings import Fields, Limits, ReadSettings, Unreadable

__all__ = ["FORMATS", "Fields", "Format", "Limits", "ReadSettings", "Unreadable", "format_of", "suffixes"]

Reader = Callable[[str, bytes, ReadSettings], list[Document | Skipped]]

EXTRACTION_VERSION = 2
"""Raised whenever a reader gives another text for the same file: what is kept of extracted texts is then read anew."""


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file.

    Attributes:
        module: With its reader; imported when the first such file is read.
        is_isolated: Whether the reader runs in a process of its own.
    """

    module: str
    is_isolated: bool = False

    @property
    def read(self) -> Reader:
        reader: Reader = importlib.import_module(self.module).read
        return reader


_TEXT = Format("index.documents.formats.text")
_MARKDOWN = Format("index.documents.formats.markdown")
_HTML = Format("index.documents.formats.html", is_isolated=True)
_PDF = Format("index.documents.formats.pdf", is_isolated=True)
_DOCX = Format("index.documents.formats.docx", is_isolated=True)
_TABLE = Format("index.documents.formats.tables")

FORMATS = {
    ".md": _MARKDOWN,
    ".markdown": _MARKDOWN,
    ".txt": _TEXT,
    ".html": _HTML,
    ".htm": _HTML,
    ".xhtml": _HTML,
    ".pdf": _PDF,
    ".docx": _DOCX,
    ".jsonl": _TABLE,
    ".ndjson": _TABLE,
    ".csv": _TABLE,
    ".tsv": _TABLE,
}


def format_of(name: str) -> Format | None:
    """The format of a file by its suffix."""
    return FORMATS.get(PurePosixPath(name).suffix.lower())


def suffixes() -> str:
    """All suffixes, as a person would list them."""
    names = list(FORMATS)
    return f"{', '.join(names[:-1])} and {names[-1]}"
