"""How a folder of documents is read, and how far."""

from __future__ import annotations

from dataclasses import dataclass, field

_MEGABYTE = 2**20


class Unreadable(Exception):
    """A file cannot be read; the message is the reason that its user is told.

    Attributes:
        by_rule: See `Skipped`.
    """

    def __init__(self, reason: str, *, by_rule: bool = False) -> None:
        super().__init__(reason)
        self.by_rule = by_rule


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost. A file beyond any of these is named and skipped.

    Attributes:
        file_bytes: Size of the file.
        pages: Pages of a PDF.
        characters: Text extracted from the file.
        depth: How deep the elements of an HTML file may be nested.
        expanded_bytes: Size of all parts of a zipped format, unpacked.
        expansion_ratio: Unpacked over packed size of a zipped format, where that is more than a megabyte.
        seconds: Processor time of the reader of an HTML, PDF or DOCX file.
        memory_bytes: What that reader may allocate.
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
    """Which field of a JSONL object, or column of a CSV file, means what.

    Attributes:
        text: The text; a row without it is skipped.
        title: The title; where a row has none, `path#ID`.
        id: Names the row in its file; where a row has none, its number.
        labels: Who may see the row: a list, or names separated by `;` or `,`.
        metadata: Fields to keep as metadata.
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
        include: Patterns as in a `.gitignore`; a file must match one, unless there are none.
        exclude: Patterns of files that are passed over in silence.
        fields: Meaning of the fields of JSONL and CSV files.
        limits: What one file may cost.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    fields: Fields = field(default_factory=Fields)
    limits: Limits = field(default_factory=Limits)
