"""How a folder of documents is read, and the limits for a file."""

from __future__ import annotations

from dataclasses import dataclass, field

_MEGABYTE = 2**20


class Unreadable(Exception):
    """A file cannot be read; the message is the reason, as its user sees it. `by_rule`: see `Skipped`."""

    def __init__(self, reason: str, *, by_rule: bool = False) -> None:
        super().__init__(reason)
        self.by_rule = by_rule


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one file may cost. A file beyond any of these limits is listed as skipped.

    Attributes:
        pages: most pages of a PDF.
        characters: most characters extracted from a file.
        depth: deepest nesting of elements in an HTML file.
        expanded_bytes: largest unpacked size of a zipped format.
        expansion_ratio: largest ratio of unpacked to packed size of a zipped format, above 1 MiB unpacked.
        seconds: most processor time for reading an HTML, PDF or DOCX file.
        memory_bytes: most memory that reading such a file may allocate.
    """

    file_bytes: int = 64 * _MEGABYTE
    pages: int = 5_000
    characters: int = 50_000_000
    depth: int = 1_000
    expanded_bytes: int = 512 * _MEGABYTE
    expansion_ratio: float = 200.0
    seconds: float = 20.0
    memory_bytes: int = 2_048 * _MEGABYTE


@dataclass(frozen=True, slots=True)
class Fields:
    """Which field of a JSONL object, or column of a CSV file, holds what.

    Attributes:
        text: the text; rows without it are skipped.
        title: the title; rows without it are titled `path#ID`.
        id: identifies the row within its file; rows without it are numbered.
        labels: who may see the row: a list, or names separated by `;` or `,`.
        metadata: fields to keep as metadata.
    """

    text: str = "text"
    title: str = "title"
    id: str = "id"
    labels: str = "labels"
    metadata: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """How a folder is read.

    Attributes:
        include: patterns, as in a `.gitignore`, of files to read; empty: every file.
        exclude: patterns of files to ignore.
        fields: meaning of the fields of JSONL and CSV files.
        limits: limits for each file.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    fields: Fields = field(default_factory=Fields)
    limits: Limits = field(default_factory=Limits)
