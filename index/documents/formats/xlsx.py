"""XLSX: every sheet is a table; its rows are documents, `book.xlsx#Sheet!7`.

Cells are read as a person sees them: dates as dates, numbers in their format, the results of formulas, merged cells in
every place that they cover. Hidden sheets, rows and columns are not served.
"""

from __future__ import annotations

import datetime
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from index.documents.document import Document, Skipped
from index.documents.formats.archive import OLD_OFFICE, open_archive
from index.documents.formats.blocks import joined_header
from index.documents.formats.number_formats import shown_number
from index.documents.formats.rows import documents_of
from index.documents.formats.settings import Fields, ReadSettings, Unreadable, first_line
from index.documents.formats.tables import Record, Table, blank_head, table_of, with_head

_MOST_PLACES = 20_000_000
"""Most places of a sheet between its first cell and its last, so that one stray cell costs no gigabytes."""

_DEEPEST_HEAD = 5
_BOOK = "xl/workbook.xml"
_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/")
"""How names begin in the Strict variant, in which some programs save."""
_DAMAGED = (
    InvalidFileException, zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, AttributeError, SyntaxError,
)  # fmt: skip

_Value = tuple[Any, str]
"""A cell's typed value, and how it is shown."""
_BLANK: _Value = ("", "")


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """A document for each visible row of each visible sheet, and one `Skipped` for all that could not be read.

    Raises:
        Unreadable: the file is damaged, encrypted, beyond a limit or without rows, or a column looks like labels but is
            not read as such.
    """
    if data.startswith(OLD_OFFICE):
        raise Unreadable("encrypted, or an old .xls file; save it as XLSX without a password")
    archive = open_archive(data, settings.limits, "XLSX")
    try:
        book = openpyxl.load_workbook(_usual_variant(archive) or io.BytesIO(data), data_only=True)
    except _DAMAGED as error:
        raise Unreadable(f"not a readable XLSX file ({first_line(error)})") from None
    fields, stem = settings.fields_of(name), PurePosixPath(name).stem
    sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
    return documents_of(name, [_table(sheet, f"{stem} > {sheet.title}", fields) for sheet in sheets], fields)


def _usual_variant(archive: zipfile.ZipFile) -> io.BytesIO | None:
    """A file of the Strict variant, which openpyxl takes for empty, in the usual one; None if it is not of that."""
    if _BOOK not in archive.namelist() or _STRICT.search(archive.read(_BOOK)) is None:
        return None
    usual = io.BytesIO()
    with zipfile.ZipFile(usual, "w") as rewritten:
        for name in archive.namelist():
            if name.endswith((".xml", ".rels")):
                content = _STRICT.sub(rb"http://schemas.openxmlformats.org/\1/2006/", archive.read(name))
                rewritten.writestr(name, content)
    return usual


def _table(sheet: Any, title: str, fields: Fields) -> Table:
    """The table on a sheet."""
    grid = _grid(sheet)
    records = [
        Record(f"sheet {sheet.title!r}, row {row}", row, [shown for _, shown in cells], [value for value, _ in cells])
        for row, cells in grid.items()
        if any(shown for _, shown in cells)
    ]
    records, head = with_head(records, fields)
    records = _with_joined_head(sheet, records, head)
    if len(records) == head + 1:  # nothing below it: a sheet of one line of text
        records.insert(head, blank_head(records))
    hidden_rows = {number for number, row in sheet.row_dimensions.items() if row.hidden}
    above = [record for record in records[:head] if record.number not in hidden_rows]
    below = [record for record in records[head + 1 :] if record.number not in hidden_rows]
    visible = [*above, *records[head : head + 1], *below]
    return table_of(title, visible, len(above), fields, frozenset(_hidden_columns(sheet)), f"{sheet.title}!")


def _grid(sheet: Any) -> dict[int, list[_Value]]:
    """The cells of each row that has any, by its number, from the sheet's first column to its last that is used."""
    # Not `iter_rows`, which makes a cell for every place up to the last one, a million rows below if it comes to that.
    values = {place: value for place, cell in sheet._cells.items() if (value := _value(cell)) is not _BLANK}
    if not values:
        return {}
    width = max(column for _, column in values)
    rows = sorted({row for row, _ in values})
    if len(rows) * width > _MOST_PLACES:
        raise Unreadable(f"the sheet {sheet.title!r} has {len(rows)} rows and {width} columns, more than can be read")
    grid = {row: [values.get((row, column), _BLANK) for column in range(1, width + 1)] for row in rows}
    for merged in sheet.merged_cells.ranges:
        value = values.get((merged.min_row, merged.min_col), _BLANK)
        if value is not _BLANK:
            for row in _present(grid, merged.min_row, merged.max_row):
                grid[row][merged.min_col - 1 : min(merged.max_col, width)] = [value] * (
                    min(merged.max_col, width) - merged.min_col + 1
                )
    return grid


def _present(grid: dict[int, list[_Value]], first: int, last: int) -> Iterator[int]:
    """The rows of a grid from one to another, which may be the last that a sheet can have."""
    if last - first < len(grid):
        return (row for row in range(first, last + 1) if row in grid)
    return (row for row in grid if first <= row <= last)


def _with_joined_head(sheet: Any, records: Sequence[Record], head: int) -> list[Record]:
    """The records, those that together name the columns joined to one: a merged cell above says what is below it."""
    if not records:
        return []
    width, top = len(records[head].shown), records[head].number
    bottom = top
    for merged in sorted(sheet.merged_cells.ranges, key=lambda item: item.min_row):
        if top <= merged.min_row <= bottom:
            is_group = 1 < merged.max_col - merged.min_col + 1 < width
            bottom = max(bottom, merged.max_row + (1 if is_group else 0))
    if bottom - top >= _DEEPEST_HEAD:  # not a head, but a table whose first column is one merged cell
        return list(records)
    end = head + 1
    while end < len(records) and records[end].number <= bottom:
        end += 1
    names = joined_header([list(record.shown) for record in records[head:end]])
    return [*records[:head], records[head]._replace(shown=names, values=names), *records[end:]]


def _hidden_columns(sheet: Any) -> Iterator[int]:
    """Numbers, from 0, of the columns that are hidden; neighbours of one width are stored as a range."""
    for dimension in sheet.column_dimensions.values():
        if dimension.hidden and dimension.min and dimension.max:
            yield from range(dimension.min - 1, dimension.max)


def _value(cell: Any) -> _Value:
    """The typed value of a cell and how it is shown; `_BLANK` for empty cells and failed formulas."""
    value = cell.value
    if value is None or cell.data_type == "e":
        return _BLANK
    if isinstance(value, bool):
        return value, str(value).upper()
    if isinstance(value, int | float):
        return shown_number(value, cell.number_format or "General")
    text = _as_iso(value) if isinstance(value, datetime.datetime | datetime.date | datetime.time) else str(value)
    return (text, text) if text.strip() else _BLANK


def _as_iso(value: datetime.datetime | datetime.date | datetime.time) -> str:
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.datetime | datetime.time):
        return value.isoformat(timespec="seconds" if value.second or value.microsecond else "minutes")
    return value.isoformat()
