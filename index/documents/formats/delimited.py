"""CSV and TSV: a table whose first lines name its columns.

Knows how people's programs write such files: which character separates the cells, how quotes are escaped, what a
spreadsheet puts above and beside the table.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath

from index.documents.document import Document, Skipped
from index.documents.formats.encoding import decode
from index.documents.formats.rows import documents_of
from index.documents.formats.settings import ReadSettings, Unreadable
from index.documents.formats.tables import Record, Row, Table, table_of, with_head

_SEPARATORS = ",;\t|"
_STATED = re.compile(r'"?sep=([^\n"])"?[,;\t ]*(?:\n|$)', re.IGNORECASE)
"""The first line by which Excel is told the separator."""

_BACKSLASH = re.compile(r'\\([\\"])')
_SAMPLE = 1 << 16
_SAMPLE_RECORDS = 50


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """A document for each row, and one `Skipped` for all rows that could not be read.

    Raises:
        Unreadable: the file is binary or blank, a column looks like labels but is not read as such, or no row can be
            read.
    """
    text = decode(data)
    if not text.strip():
        raise Unreadable("empty")
    path, fields = PurePosixPath(name), settings.fields_of(name)
    above, separator = separator_of(text, path.suffix)
    content = _content(text.partition("\n")[2] if above else text, separator)
    filled = ((line, cells) for line, cells in content.records if any(map(str.strip, cells)))
    records = [Record(f"line {line + above}", 0, cells, cells) for line, cells in filled]
    records, head = with_head(records, fields)
    numbered = [Record(place, number, cells, cells) for number, (place, _, cells, _) in enumerate(records, -head)]
    table = table_of(path.stem, numbered, head, fields)
    if content.fault:
        place = f"line {content.fault_line + above}"
        fault = Row(place, 0, fault=f"not valid CSV ({content.fault}); nothing below this line is read")
        table = Table(table.title, [*table.rows, fault])
    return documents_of(name, [table], fields)


def separator_of(text: str, suffix: str) -> tuple[int, str]:
    """How many lines stand above the table to name the separator, and the character that separates the cells.

    Args:
        text: the file, or its beginning.
        suffix: of its name; in `.tsv` a tab is likelier.
    """
    if stated := _STATED.match(text):
        return 1, stated.group(1)
    return 0, _separator(text, "\t" + _SEPARATORS if suffix.lower() == ".tsv" else _SEPARATORS)


@dataclass
class _Content:
    """The records of a text, each with the number of its first line, and where and why reading them ended early."""

    records: list[tuple[int, list[str]]] = field(default_factory=list)
    fault: str = ""
    fault_line: int = 0

    @property
    def doubts(self) -> tuple[bool, int]:
        """How badly the text fits the rules by which it was read: ended early, records of unusual width."""
        widths = Counter(len(cells) for _, cells in self.records)
        return bool(self.fault), len(self.records) - max(widths.values(), default=0)


def _content(text: str, separator: str) -> _Content:
    """The records of a text, in which quotes are doubled, or else escaped by a backslash, whichever fits better."""
    doubled = _parsed(text, separator)
    if '\\"' not in text:
        return doubled
    # Programs that escape quotes so escape backslashes, too; other backslashes stand for themselves.
    escaped = _parsed(_BACKSLASH.sub(lambda mark: '""' if mark.group(1) == '"' else "\\", text), separator)
    return min(doubled, escaped, key=lambda content: content.doubts)


def _parsed(text: str, separator: str) -> _Content:
    # The limit of the csv module (131,072 characters per field) is global and too small; the size of files is limited.
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    content = _Content()
    line = 1
    try:
        for cells in reader:
            content.records.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        content.fault, content.fault_line = str(error), line
    return content


def _separator(text: str, candidates: str) -> str:
    """The character that cuts the first records into several cells, no more than there are names; else the first."""
    sample = text[:_SAMPLE]

    def fit(separator: str) -> tuple[float, float, int]:
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=separator)
        widths = [len(cells) for cells in islice(reader, _SAMPLE_RECORDS) if cells]
        if not widths:
            return 0, 0, 0
        named = sum(1 < width <= widths[0] for width in widths)
        # Lines of a caption hold fewer cells than the table below them.
        usual, count = Counter(widths).most_common(1)[0]
        return named / len(widths), count / len(widths) if usual > 1 else 0, usual

    return max(candidates, key=fit)
