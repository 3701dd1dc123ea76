"""Tables of a DOCX file: which cells stand in which row, how far they reach, and which rows are the header."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from index.documents.formats.blocks import Cell
from index.documents.formats.docx.inline import GONE
from index.documents.formats.docx.styles import Styles, W, is_on, value
from index.documents.formats.office import OFF, number

_MOST_HEADER_ROWS = 5
_FIRST_ROW = 0x20
"""The bit of `w:tblLook` that older files have in place of an attribute."""


@dataclass(frozen=True, slots=True)
class CellText:
    """What a cell says, and whether all of it is bold."""

    text: str
    is_bold: bool


def rows_of(table: Any) -> list[list[Any]]:
    """The cells of each row, without rows and cells that are deleted or hidden, and without those of tables inside."""
    return [
        [cell for cell in _inside(row, "tc") if cell.find(f"{W}tcPr/{W}cellDel") is None]
        for row in _inside(table, "tr")
        if row.find(f"{W}trPr/{W}del") is None and not is_on(row.find(f"{W}trPr/{W}hidden"))
    ]


def _inside(parent: Any, tag: str) -> Iterator[Any]:
    """The elements with this tag, also those inside controls and insertions."""
    for child in parent:
        if child.tag == W + tag:
            yield child
        elif child.tag not in GONE and child.tag not in (W + "tbl", W + "tr", W + "tc"):
            yield from _inside(child, tag)


def read_rows(rows: Sequence[Sequence[Any]], read: Callable[[Any], CellText]) -> tuple[list[list[Cell]], list[bool]]:
    """The cells of each row with their spans, and for each row whether all its text is bold."""
    cells: list[list[Cell]] = []
    is_bold: list[bool] = []
    reaching_down: frozenset[int] = frozenset()
    for row in rows:
        contents = {cell: read(cell) for cell in row}
        found, reaching_down = _placed(row, reaching_down, contents)
        cells.append(found)
        with_text = [content for content in contents.values() if content.text.strip()]
        is_bold.append(bool(with_text) and all(content.is_bold for content in with_text))
    return cells, is_bold


def _placed(
    row: Sequence[Any], reaching_down: frozenset[int], contents: Mapping[Any, CellText]
) -> tuple[list[Cell], frozenset[int]]:
    """The cells of a row, and the columns in which they may reach down; `reaching_down` are those of the row above.

    A cell that continues nothing is one of its own.
    """
    outer = next(row[0].iterancestors(W + "tr")) if row else None
    start = max(number(value(outer.find(f"{W}trPr/{W}gridBefore"))), 0) if outer is not None else 0
    found = [Cell("", start)] if start else []
    merged: set[int] = set()
    for cell in row:
        properties = cell.find(W + "tcPr")
        columns = max(number(value(properties.find(W + "gridSpan")), 1), 1) if properties is not None else 1
        if found and _merge(properties, "hMerge") == "continue":
            found[-1] = replace(found[-1], columns=found[-1].columns + columns)
        elif _merge(properties, "vMerge") == "continue" and start in reaching_down:
            found.append(Cell("", columns, continues=True))
        else:
            found.append(Cell(contents[cell].text, columns))
        if _merge(properties, "vMerge"):
            merged.add(start)
        start += columns
    return found, frozenset(merged)


def _merge(properties: Any | None, name: str) -> str:
    """`restart` for the first of several merged cells, `continue` for the others; empty for one that is not merged."""
    found = properties.find(W + name) if properties is not None else None
    return "" if found is None else value(found) or "continue"


def count_header_rows(table: Any, cells: Sequence[Sequence[Cell]], is_bold: Sequence[bool], styles: Styles) -> int:
    """How many of the first rows name the columns.

    Those that the author lets each page repeat; else the first row, if the table's style gives it a look of its own, or
    if its text is bold and that of others is not.
    """
    repeated = [is_on(row.find(f"{W}trPr/{W}tblHeader")) for row in _inside(table, "tr")][: len(cells)]
    count = repeated.index(False) if False in repeated else len(repeated)
    style = value(table.find(f"{W}tblPr/{W}tblStyle")) or ""
    if not count:
        is_styled = _has_first_row(table) and styles.marks_first_row(style)
        count = int(is_styled or (is_bold[0] and not all(is_bold)))
    while 0 < count < len(cells) and _belongs_to_header(cells, is_bold, count):
        count += 1
    return count if count < len(cells) and count <= _MOST_HEADER_ROWS else min(count, 1)


def _belongs_to_header(cells: Sequence[Sequence[Cell]], is_bold: Sequence[bool], place: int) -> bool:
    """Whether a row below a header row is one, too: a cell reaches into it, or it divides the cells above, all bold."""
    above, row = cells[place - 1], cells[place]
    divides = len(row) > len(above) and any(cell.columns > 1 for cell in above)
    return any(cell.continues for cell in row) or (divides and is_bold[place - 1] and is_bold[place])


def _has_first_row(table: Any) -> bool:
    look = table.find(f"{W}tblPr/{W}tblLook")
    if look is None:
        return False
    if (first := look.get(W + "firstRow")) is not None:
        return first not in OFF
    try:
        return bool(int(value(look) or "0", 16) & _FIRST_ROW)
    except ValueError:
        return False
