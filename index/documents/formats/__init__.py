"""The formats that documents come in, each in a module with one function `read`.

    read(name, data, settings) -> list[Document | Skipped]

`name` is the path below the folder of documents, `data` the content of the file. A file that cannot be read raises
`Unreadable` with the reason. To add a format, add a module and a line in the table below.

Rich formats are extracted to Markdown, so that one chunker with heading paths serves all of them; offsets refer to the
extracted text. Their parsers are native code that may hang or crash on hostile files, so they run in a separate process
(`index.documents.formats.process`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from index.documents.document import Document, Skipped
from index.documents.formats.settings import ReadSettings

Reader = Callable[[str, bytes, ReadSettings], list[Document | Skipped]]

EXTRACTION_VERSION = 4
"""Increased whenever a reader extracts another text from the same file; cached texts are then extracted again."""

RECOGNITION_VERSION = 1
"""Increased whenever another text is recognised on the same page; recognised pages are then recognised again."""


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: the module of its reader, and whether that runs in a separate process."""

    module: str
    is_isolated: bool = False

    @property
    def read(self) -> Reader:
        """The reader, whose module is imported when the first such file is read."""
        reader: Reader = importlib.import_module(self.module).read
        return reader


_TEXT = Format("index.documents.formats.text")
_MARKDOWN = Format("index.documents.formats.markdown")
_HTML = Format("index.documents.formats.html.page", is_isolated=True)
_PDF = Format("index.documents.formats.pdf.file", is_isolated=True)
_DOCX = Format("index.documents.formats.docx.document", is_isolated=True)
_PPTX = Format("index.documents.formats.pptx", is_isolated=True)
_XLSX = Format("index.documents.formats.xlsx", is_isolated=True)
_EPUB = Format("index.documents.formats.epub", is_isolated=True)
_EML = Format("index.documents.formats.eml", is_isolated=True)
_NOTEBOOK = Format("index.documents.formats.notebook", is_isolated=True)
_DELIMITED = Format("index.documents.formats.delimited")
_JSONL = Format("index.documents.formats.jsonl")

FORMATS = {
    ".md": _MARKDOWN, ".markdown": _MARKDOWN, ".txt": _TEXT, ".html": _HTML, ".htm": _HTML, ".xhtml": _HTML,
    ".pdf": _PDF, ".docx": _DOCX, ".pptx": _PPTX, ".jsonl": _JSONL, ".ndjson": _JSONL,
    ".csv": _DELIMITED, ".tsv": _DELIMITED, ".xlsx": _XLSX, ".xlsm": _XLSX, ".epub": _EPUB, ".eml": _EML,
    ".ipynb": _NOTEBOOK,
}  # fmt: skip


def format_of(name: str) -> Format | None:
    """The format of a file, by its suffix; None if it is not supported."""
    return FORMATS.get(PurePosixPath(name).suffix.lower())


def suffixes() -> str:
    """The supported suffixes, as a list in a sentence."""
    names = list(FORMATS)
    return f"{', '.join(names[:-1])} and {names[-1]}"
