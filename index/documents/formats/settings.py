"""How a folder of documents is read, and the limits for a file."""

from __future__ import annotations

from dataclasses import dataclass, field

_MEGABYTE = 2**20


class Unreadable(Exception):
    """A file cannot be read; the message is the reason, as its user sees it. `by_rule`: see `Skipped`."""

    def __init__(self, reason: str, *, by_rule: bool = False) -> None:
        super().__init__(reason)
        self.by_rule = by_rule


def refuse_long(length: int, most: int) -> None:
    """Raise `Unreadable` if a file holds more characters of text than `Limits.characters`."""
    if length > most:
        raise Unreadable(f"more than {most} characters of text")


def first_line(error: object) -> str:
    """What an error of a parser says, in one line; the name of its type if it says nothing."""
    return str(error).strip().split("\n")[0] or type(error).__name__


def damage(error: Exception) -> str:
    """The reason why a file is skipped whose reader failed in a way that it does not expect."""
    line = str(error).strip().split("\n")[0]
    return f"damaged ({type(error).__name__}: {line[:200]})"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one file may cost. A file beyond any of these limits is listed as skipped.

    Attributes:
        pages: most pages of a PDF.
        characters: most characters extracted from a file.
        depth: deepest nesting of elements in an HTML file.
        expanded_bytes: largest unpacked size of an archive (DOCX, PPTX, XLSX, EPUB).
        expansion_ratio: largest ratio of unpacked to packed size of an archive, above 1 MiB unpacked.
        seconds: most processor time for reading a file of a rich format: all but text, Markdown, CSV and JSONL.
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
class OcrSettings:
    """Whether and how the scanned pages of PDFs are read by character recognition.

    Attributes:
        languages: languages of the text, by tesseract's names for them.
        min_confidence: mean confidence of its words below which a page is left out.
        seconds_per_page: most wall time for a page, which is then left out.
    """

    enabled: bool = False
    languages: tuple[str, ...] = ("eng",)
    min_confidence: float = 0.6
    seconds_per_page: float = 120.0


@dataclass(frozen=True, slots=True)
class Fields:
    """Which column of a table, or field of a JSONL object, holds what; nested fields are named by path, `meta.title`.

    Attributes:
        text: the text; rows without it are skipped. A file without such a field is served as `column: value` lines.
        title: the title; rows without it are titled `path#ID`, and rows of such lines by the name of the table.
        id: identifies the row within its file; rows without it are numbered.
        labels: who may see the row: a list, or names separated by `;` or `,`.
        metadata: fields to keep as metadata; None: all others with short values.
    """

    text: str = "text"
    title: str = "title"
    id: str = "id"
    labels: str = "labels"
    metadata: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class FileFields:
    """The meaning of the fields in the files that match a pattern, as in a `.gitignore`."""

    files: str
    fields: Fields

    def applies_to(self, name: str) -> bool:
        """Whether the file of this name, a path below the folder of documents, matches.

        Raises:
            ValueError: the pattern is not valid.
        """
        from pathspec import GitIgnoreSpec

        return GitIgnoreSpec.from_lines([self.files]).match_file(name)


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """How a folder is read.

    Attributes:
        include: patterns, as in a `.gitignore`, of files to read; empty: every file.
        exclude: patterns of files to ignore.
        fields: meaning of the fields of tables that no pattern of `fields_by_file` matches.
        fields_by_file: meaning of the fields of certain files; the first pattern that matches a file applies.
        limits: limits for each file.
        default_labels: who may see documents that name no labels themselves; empty: everybody.
        require_labels: whether a document without any label is left out instead of being open to everybody.
        ocr: character recognition of scanned pages.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    fields: Fields = field(default_factory=Fields)
    limits: Limits = field(default_factory=Limits)
    fields_by_file: tuple[FileFields, ...] = ()
    default_labels: tuple[str, ...] = ()
    require_labels: bool = False
    ocr: OcrSettings = field(default_factory=OcrSettings)

    def fields_of(self, name: str) -> Fields:
        """What the fields of one file mean."""
        return next((item.fields for item in self.fields_by_file if item.applies_to(name)), self.fields)
