"""Tables as they are read from any file: cells under the names of their columns.

Knows records of cells, nothing of CSV, workbooks or documents. Finds the row that names the columns, below the lines of
a caption if there are any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import Any, NamedTuple

from index.documents.formats.labels import is_spelling, looks_like_labels, refuse_attempts
from index.documents.formats.settings import Fields, Unreadable

_SEPARATORS = re.compile(r"[,;\t|]")
_NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*%?")
_MOST_COUNTED = 100
"""Number of records that tell how wide a table usually is."""
_LONGEST_NAME = 60
_MOST_LINES_ABOVE = 20
"""Number of records among which the names of the columns are looked for."""


class Names(NamedTuple):
    """The names of the fields that a row has, which other rows share.

    Attributes:
        hidden: places of those that readers of the file do not see; they may still say who may see the row.
    """

    names: tuple[str, ...]
    hidden: frozenset[int] = frozenset()


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        place: where it is in the file, for messages: `line 7`.
        number: its number in the table, from 1, or in the sheet.
        names: names of its fields.
        values: of these fields, as filters compare them: texts, numbers, truth values, or what JSON holds.
        shown: the same values as a reader of the file sees them; empty for those that are missing.
        fault: why the row cannot be read; empty if it can.
    """

    place: str
    number: int
    names: Names = Names(())
    values: Sequence[Any] = ()
    shown: Sequence[str] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a file.

    Attributes:
        title: its name, under which rows without a title and a text of their own are served.
        scope: put before the ids of its rows, to tell them from those of the file's other tables.
    """

    title: str
    rows: Sequence[Row]
    scope: str = ""


class Record(NamedTuple):
    """The cells of one line of a file, or row of a sheet; `values` are the typed ones, in the same order."""

    place: str
    number: int
    shown: Sequence[str]
    values: Sequence[Any]


def with_head(records: Sequence[Record], fields: Fields) -> tuple[list[Record], int]:
    """The records, and the place of the one that names the columns; those above it are a caption.

    It is the first that fills the table's usual width with different values, or that names the text or the labels. If
    it holds nothing but numbers, a blank one is put above it.
    """
    head = _first_wide(records, fields)
    if not records or not all(map(_NUMBER.fullmatch, _filled(records[head]))):
        return list(records), head
    return [*records[:head], blank_head(records), *records[head:]], head


def blank_head(records: Sequence[Record]) -> Record:
    """Names of the columns of a table that has none."""
    nothing = [""] * max(len(record.shown) for record in records)
    return Record("", 0, nothing, nothing)


def _first_wide(records: Sequence[Record], fields: Fields) -> int:
    first = [_filled(record) for record in records[:_MOST_COUNTED]]
    usual = median(map(len, first)) if first else 0
    above = list(zip(records[:_MOST_LINES_ABOVE], first, strict=False))
    for place, (record, names) in enumerate(above):
        is_whole = len(set(names)) > 1 and len(names) >= usual
        # Programs leave the corner above their own numbers of the rows blank.
        has_corner = not record.shown[0].strip() and len(names) >= usual - 1
        if is_whole or has_corner or fields.text in names or fields.labels in names:
            return place
    return next((place for place, (_, names) in enumerate(above) if len(set(names)) > 1), 0)


def table_of(
    title: str, records: Sequence[Record], head: int, fields: Fields, hidden: Set[int] = frozenset(), scope: str = ""
) -> Table:
    """The table whose columns the record at `head` names, without columns and rows that are blank.

    Args:
        hidden: numbers of columns, from 0, that readers of the file do not see.

    Raises:
        Unreadable: a column, or a line of the caption, looks like labels, and is not what the settings name.
    """
    if not records:
        return Table(title, ())
    body = records[head + 1 :]
    names = [_on_one_line(name) for name in records[head].shown]
    captions = [" ".join(dict.fromkeys(_filled(record))) for record in records[:head]]
    refuse_unclear_labels(names, "the table", fields)
    _refuse_lost_labels(records, head, fields)
    width = len(names)
    columns = [place for place, name in enumerate(names) if name or _is_used(body, place)]
    shape = Names(
        tuple(names[place] or f"column {place + 1}" for place in columns),
        frozenset(number for number, place in enumerate(columns) if place in hidden),
    )
    labelled = next((place for place in columns if names[place] == fields.labels), -1)
    rows = [_row(record, shape, columns, width, labelled) for record in body if any(map(str.strip, record.shown))]
    return Table(" > ".join(dict.fromkeys([title, *filter(None, captions)])), rows, scope)


def _is_used(records: Sequence[Record], column: int) -> bool:
    return any(column < len(record.shown) and record.shown[column].strip() for record in records)


def _refuse_lost_labels(records: Sequence[Record], head: int, fields: Fields) -> None:
    """Refuse a table if the name of a column of labels may be elsewhere than among the names of the columns.

    It may be part of another name, if the separator of cells was mistaken; or in a line above or below, if that is the
    head, and what was taken for the head is a caption or a row.

    Raises:
        Unreadable: there is such a name.
    """
    names = _filled(records[head])
    is_sure = fields.text in names or fields.labels in names
    is_doubtful = head > 0 or len(names) < 2 or any(map(_NUMBER.match, names))
    for place, record in enumerate(records[: head + 1 if is_sure else _MOST_LINES_ABOVE]):
        if place <= head or is_doubtful or _reads_like_names(record):
            for cell in record.shown:
                parts = _SEPARATORS.split(cell.partition(":")[0])
                if (place != head or len(parts) > 1) and any(map(is_spelling, parts)):
                    raise Unreadable(
                        f"{cell[:80]!a} looks like the name of a column of labels, but is not read as such"
                    )


def _reads_like_names(record: Record) -> bool:
    """Whether a record might be a head: it holds no number, date or long text."""
    names = _filled(record)
    return not any(len(name) > _LONGEST_NAME or _NUMBER.match(name) for name in names)


def refuse_unclear_labels(names: Iterable[str], what: str, fields: Fields) -> None:
    """Refuse what holds a field that looks like labels, unless the settings say that the labels are read from it.

    Args:
        what: what holds these fields, as the subject of a sentence.

    Raises:
        Unreadable: there is such a field.
    """
    read = fields.labels
    for name in names:
        if name != read and name.casefold() == read.casefold():
            raise Unreadable(f"{what} has {name!a}, and labels are read from {read!r}; name both alike")
        if is_attempt(name) and name != read:
            refuse_attempts([name], what, read)


is_attempt = lru_cache(maxsize=4096)(looks_like_labels)
"""Rows of JSONL repeat the same few names."""


def _row(record: Record, shape: Names, columns: Sequence[int], width: int, labelled: int) -> Row:
    place, number, shown, values = record
    present = len(shown)
    if present > width and any(map(str.strip, shown[width:])):
        return Row(place, number, fault=f"{present} cells for {width} columns")
    if labelled >= present:  # whether the labels are blank, or cells before them are missing, is not known
        return Row(place, number, fault="it ends before the column of labels")
    if present < width:
        missing = [""] * (width - present)
        shown, values = [*shown, *missing], [*values, *missing]
    if len(columns) == len(shown):
        return Row(place, number, shape, values, shown)
    return Row(place, number, shape, [values[column] for column in columns], [shown[column] for column in columns])


def _filled(record: Record) -> list[str]:
    return [name for text in record.shown if (name := _on_one_line(text))]


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
