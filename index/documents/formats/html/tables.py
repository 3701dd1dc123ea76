"""Tables of HTML: which of them hold data, and their cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from selectolax.lexbor import LexborNode

from index.documents.formats.blocks import Cell
from index.documents.formats.html.visible import ALL_HEADINGS, Visible

_MOST_COLUMNS = 1_000
"""Columns that a cell may span, as browsers limit it."""


def holds_data(table: LexborNode) -> bool:
    """Whether a table holds data; one around headings, code or other tables is the layout of a page."""
    if (table.attributes.get("role") or "") in ("presentation", "none"):
        return False
    if table.css_first("pre, table table") is not None:
        return False
    return all(_is_in_header_cell(heading) for heading in table.css(ALL_HEADINGS))


def _is_in_header_cell(heading: LexborNode) -> bool:
    outer = heading.parent
    while outer is not None and outer.tag not in ("th", "td", "table"):
        outer = outer.parent
    return outer is not None and outer.tag == "th"


def cells_of(table: LexborNode, visible: Visible, text_of: Callable[[LexborNode], str]) -> tuple[list[list[Cell]], int]:
    """The cells of each row that is read, and the number of header rows.

    The rows of `thead` are header rows; without one, the first rows of `th` alone are, or a first row in bold.
    """
    rows: list[list[Cell]] = []
    header_rows = 0
    is_header = True
    for group in _groups(table):
        group_rows = [row for row in _rows(group) if not visible.drops(row, "tr", row.attributes)]
        for place, row in enumerate(group_rows):
            nodes = [node for node in row.iter() if node.tag in ("td", "th")]
            nodes = [node for node in nodes if not visible.drops(node, node.tag or "", node.attributes)]
            is_header = is_header and (group.tag == "thead" or _are_headers(nodes, is_first=not rows))
            header_rows += is_header
            rows.append([_cell(node, len(group_rows) - place, text_of) for node in nodes])
    # A table of headers alone is a table of words in bold.
    return rows, header_rows if header_rows < len(rows) or table.css_first("thead") is not None else min(header_rows, 1)


def _groups(table: LexborNode) -> Iterator[LexborNode]:
    """The parts of a table, whose rows no cell spans beyond; the header first, wherever it stands."""
    groups = [node for node in table.iter() if node.tag in ("thead", "tbody", "tfoot")]
    yield from sorted(groups, key=lambda group: {"thead": 0, "tfoot": 2}.get(group.tag or "", 1))


def _rows(group: LexborNode) -> Iterator[LexborNode]:
    return (node for node in group.iter() if node.tag == "tr")


def _are_headers(cells: list[LexborNode], is_first: bool) -> bool:
    if not cells:
        return False
    return all(cell.tag == "th" for cell in cells) or (is_first and len(cells) > 1 and all(map(_is_bold, cells)))


def _is_bold(cell: LexborNode) -> bool:
    """Whether a cell is marked as bold as a whole, as people write headers without knowing `th`."""
    text = cell.text(strip=True)
    return bool(text) and any(bold.text(strip=True) == text for bold in cell.css("b, strong"))


def _cell(node: LexborNode, rows_left: int, text_of: Callable[[LexborNode], str]) -> Cell:
    attributes = node.attributes
    columns = min(max(_number(attributes.get("colspan"), 1), 1), _MOST_COLUMNS)
    rows = _number(attributes.get("rowspan"), 1)
    return Cell(text_of(node), columns, rows_left if rows == 0 else min(max(rows, 1), rows_left))


def _number(text: str | None, default: int) -> int:
    digits = (text or "").strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 9 else default
