"""From pieces of lines to blocks in reading order: cells of a row together, columns of text one after the other.

Knows places and words, nothing of PDFium. The file's own order is kept wherever it makes sense: nearly every producer
draws in reading order, and knows better than geometry can tell what is a table and what are columns.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from index.documents.formats.pdf.characters import Box
from index.documents.formats.pdf.lines import HYPHEN, Line

_MOST_BLOCKS = 200
"""Pages with more blocks are read as they are drawn: sorting takes time cubic in the number of blocks."""

_PARAGRAPH_GAP = 0.8
"""Space between lines, in type sizes, above which a paragraph ends."""

_ROW_GAP = 2.5
"""Space between rows, in type sizes, above which a table ends."""

_SAME_BASELINE = 0.3
"""Lines whose baselines differ by less, in type sizes, stand in one row."""

_NARROWEST_GUTTER = 0.6
"""Space between columns, in type sizes."""

_MOST_TEXT_COLUMNS = 3
_FEWEST_PROSE_WORDS = 4
"""Columns of text have this many words in their median line; cells of a table have fewer, or there are more columns."""

_LONGEST_CELL = 6
"""Most words of a cell."""

_LETTERED = re.compile(r"[^\W\d_]+")

_Row = list[Line]
"""Pieces of lines on one baseline, from left to right."""


def blocks_of_page(pieces: Sequence[Line]) -> list[list[Line]]:
    """The blocks of a page in reading order; text that runs in another direction than the rest comes last."""
    upright = [piece for piece in pieces if piece.turns == 0]
    lines = _with_columns_in_rows(_without_woven_columns(_rows(upright)))
    blocks = _in_reading_order(_blocks(lines))
    for _, turned in groupby((piece for piece in pieces if piece.turns), key=lambda piece: piece.row):
        blocks.append([_joined(list(turned))])
    return blocks


def _rows(pieces: Sequence[Line]) -> list[_Row]:
    """Pieces that are drawn one after the other, from left to right on one baseline."""
    rows: list[_Row] = []
    for piece in pieces:
        if rows and (piece.row == rows[-1][-1].row or _follows_in_row(rows[-1][-1], piece)):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [_from_left(row) if len(row) > 1 else row for row in rows]


def _from_left(row: _Row) -> _Row:
    """The pieces from left to right if no two overlap, so that their places tell their order."""
    ordered = sorted(row, key=lambda piece: piece.box.left)
    return ordered if _is_spread(ordered) else row


def _is_spread(ordered: _Row) -> bool:
    return all(left.box.right <= right.box.left + 1 for left, right in pairwise(ordered))


def _follows_in_row(left: Line, right: Line) -> bool:
    return is_same_baseline(left, right) and right.box.left >= left.box.right - 1.0


def is_same_baseline(one: Line, other: Line) -> bool:
    return abs(one.baseline - other.baseline) < _SAME_BASELINE * max(one.size, other.size)


def _joined(row: _Row, cells: int | None = None) -> Line:
    """One line of the pieces of a row. A hyphen continues a word only at the row's end."""
    if len(row) == 1:
        return row[0]
    words = [piece.text.replace(HYPHEN, "-") for piece in row[:-1]] + [row[-1].text]
    largest = max(row, key=lambda piece: len(piece.text))
    box = Box.around([piece.box for piece in row])
    is_bold = all(piece.is_bold for piece in row)
    return largest._replace(text=" ".join(words), box=box, is_bold=is_bold, cells=cells or len(row))


# --- Columns that are drawn line by line across the page, and rows of tables


def _without_woven_columns(rows: Sequence[_Row]) -> list[Line]:
    """Rows as lines; where they run through columns of text, the lines of each column together."""
    lines: list[Line] = []
    for run, gutters in _runs(rows):
        if len(run) > 1 and _is_prose(_columns(run, gutters)):
            for part in _parts(run):
                for column in _columns(part, gutters):
                    lines += [_joined(row, cells=1) for row in column]
        else:
            lines += [_joined(row) for row in run]
    return lines


def _runs(rows: Sequence[_Row]) -> Iterator[tuple[list[_Row], list[tuple[float, float]]]]:
    """Successive rows, with the vertical strips that no piece of them crosses; rows of one piece by themselves."""
    run: list[_Row] = []
    gutters: list[tuple[float, float]] = []
    for row in rows:
        shared = _shared_gutters(row, gutters) if gutters and _is_next(run[-1], row) else []
        if not shared:
            if run:
                yield run, gutters
            run, shared = [], [(left.box.right, right.box.left) for left, right in pairwise(row)]
        run.append(row)
        gutters = shared
    if run:
        yield run, gutters


def _shared_gutters(row: _Row, gutters: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The parts of the gutters that stay free between the pieces of a row."""
    narrowest = _NARROWEST_GUTTER * row[0].size
    free = [(left.box.right, right.box.left) for left, right in pairwise(row)]
    # A row of one column leaves all gutters free, if it crosses none: the other columns have ended, or have a gap.
    if len(row) == 1:
        free = [(float("-inf"), row[0].box.left), (row[0].box.right, float("inf"))]
    shared = [(max(a, c), min(b, d)) for a, b in gutters for c, d in free]
    return [(left, right) for left, right in shared if right - left >= narrowest]


def _is_next(above: _Row, below: _Row) -> bool:
    gap = min(piece.box.bottom for piece in above) - max(piece.box.top for piece in below)
    size = max(above[0].size, below[0].size)
    return -size < gap < _ROW_GAP * size


def _columns(rows: Sequence[_Row], gutters: Sequence[tuple[float, float]]) -> list[list[_Row]]:
    """The parts of rows between gutters, from left to right, each without the rows that it lacks."""
    edges = [(left + right) / 2 for left, right in gutters]
    columns: list[list[_Row]] = [[] for _ in range(len(edges) + 1)]
    for row in rows:
        parts: dict[int, _Row] = {}
        for piece in row:
            parts.setdefault(sum(piece.box.left > edge for edge in edges), []).append(piece)
        for number, part in parts.items():
            columns[number].append(part)
    return columns


def _is_prose(columns: Sequence[Sequence[_Row]]) -> bool:
    """Whether these are columns of running text and not of a table."""
    if not 2 <= len(columns) <= _MOST_TEXT_COLUMNS or min(map(len, columns)) < 2:
        return False
    counts = [[sum(_words(piece) for piece in row) for row in column] for column in columns]
    return all(statistics.median(column) >= _FEWEST_PROSE_WORDS for column in counts)


def _words(line: Line) -> int:
    """Words with a letter. In scripts without spaces, six letters count as one."""
    words = _LETTERED.findall(line.text)
    if line.text.isascii():
        return len(words)
    return sum(max(1, len(word) // 6 if word > "\u2e80" else 1) for word in words)


def _parts(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Rows divided where a clear space runs through all columns: rows of a table with several lines in a cell."""
    part: list[_Row] = []
    for row in rows:
        if part and part[-1][0].box.bottom - row[0].box.top > _PARAGRAPH_GAP * row[0].size:
            yield part
            part = []
        part.append(row)
    yield part


# --- Tables that are drawn column by column


def _with_columns_in_rows(lines: Sequence[Line]) -> list[Line]:
    """Lines in which successive short lines that form the columns of a table are joined to rows."""
    found: list[Line] = []
    for is_cell, group in groupby(lines, key=lambda line: line.cells == 1 and len(line.text.split()) <= _LONGEST_CELL):
        run = list(group)
        found += _table_rows(run) if is_cell and len(run) >= 4 else run
    return found


def _table_rows(cells: list[Line]) -> list[Line]:
    """Cells as the rows of a table, if that is what they are: several columns, one of them of numbers, whose lines
    stand beside each other."""
    if all(above.is_above(below) for above, below in pairwise(cell.box for cell in cells)):
        return cells
    columns = [list(column) for column in _drawn_columns(cells)]
    body = [column for column in columns if len(column) >= 2]
    if len(body) < 2 or not any(_is_of_numbers(column) for column in body):
        return cells
    rows: list[_Row] = []
    for cell in sorted(cells, key=lambda cell: -cell.baseline):
        if rows and is_same_baseline(rows[-1][0], cell):
            rows[-1].append(cell)
        else:
            rows.append([cell])
    ordered = [sorted(row, key=lambda cell: cell.box.left) for row in rows]
    if sum(len(row) for row in ordered if len(row) > 1) < 0.7 * len(cells) or not all(map(_is_spread, ordered)):
        return cells
    return [_joined(row) for row in ordered]


def _drawn_columns(cells: Sequence[Line]) -> Iterator[list[Line]]:
    column: list[Line] = []
    for cell in cells:
        if column and not column[-1].box.is_above(cell.box):
            yield column
            column = []
        column.append(cell)
    yield column


def _is_of_numbers(column: Sequence[Line]) -> bool:
    return sum(not _LETTERED.search(cell.text) for cell in column) >= 0.6 * len(column)


# --- Blocks


def _blocks(lines: Sequence[Line]) -> list[list[Line]]:
    """Group lines that follow each other closely, each below the one before."""
    blocks: list[list[Line]] = []
    for line in lines:
        if blocks and _continues(blocks[-1], line):
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return [part for block in blocks for part in _without_bold_head(block)]


def _continues(block: Sequence[Line], line: Line) -> bool:
    above = block[-1]
    size = max(above.size, line.size)
    gap = above.box.bottom - line.box.top
    if above.cells > 1 and line.cells > 1:
        return above.box.shares_column(line.box) and -size < gap < _ROW_GAP * size
    if size > 1.12 * min(above.size, line.size):  # a heading, or a note in small type
        return False
    return above.box.shares_column(line.box) and -size < gap < _PARAGRAPH_GAP * size


def _without_bold_head(block: list[Line]) -> Iterator[list[Line]]:
    """The bold lines at the head of a block, which are no part of the paragraph below them, and the rest."""
    bold = next((place for place, line in enumerate(block) if not line.is_bold), 0)
    if bold:
        yield block[:bold]
    yield block[bold:]


def _in_reading_order(blocks: list[list[Line]]) -> list[list[Line]]:
    """The blocks as they are drawn, unless one is drawn before another that stands above it in the same column.

    Then blocks are sorted so that each comes after those above it in its column and after the columns to its left
    (Breuel, 2003).
    """
    if not 1 < len(blocks) <= _MOST_BLOCKS:
        return blocks
    boxes = [Box.around([line.box for line in block]) for block in blocks]
    if not _is_out_of_order(boxes):
        return blocks
    numbers = range(len(boxes))
    before = {b: {a for a in numbers if a != b and _precedes(boxes, a, b)} for b in numbers}
    order: list[int] = []
    waiting = set(numbers)
    while waiting:
        ready = [number for number in waiting if not before[number] & waiting]
        # Blocks that overlap may wait for each other; then the topmost goes first.
        chosen = max(ready or waiting, key=lambda number: (boxes[number].top, -boxes[number].left))
        order.append(chosen)
        waiting.remove(chosen)
    return [blocks[number] for number in order]


def _is_out_of_order(boxes: Sequence[Box]) -> bool:
    """Whether some block is above one in the same column that is drawn before it."""
    lowest = float("inf")
    for place, box in enumerate(boxes):
        if box.bottom >= lowest - 1.0 and any(
            earlier.shares_column(box) and box.is_above(earlier) for earlier in boxes[:place]
        ):
            return True
        lowest = min(lowest, box.top)
    return False


def _precedes(boxes: Sequence[Box], a: int, b: int) -> bool:
    """Whether block `a` is above `b` in the same column, or in a column to the left of it.

    A block between their heights that spans both columns (a heading, say) ends the columns.
    """
    first, second = boxes[a], boxes[b]
    if first.shares_column(second):
        return first.is_above(second)
    low, high = min(first.bottom, second.bottom), max(first.top, second.top)
    return first.right <= second.left and not any(
        low < box.bottom and box.top < high and box.shares_column(first) and box.shares_column(second)
        for number, box in enumerate(boxes)
        if number not in (a, b)
    )


def usual_size(pages: Sequence[Sequence[Sequence[Line]]]) -> float:
    """The type size, rounded to half a point, in which most characters are set; 0 without any."""
    exact: Counter[float] = Counter()
    for page in pages:
        for block in page:
            for line in block:
                exact[line.size] += len(line.text)
    sizes: Counter[float] = Counter()
    for size, number in exact.items():
        sizes[rounded(size)] += number
    return sizes.most_common(1)[0][0] if sizes else 0.0


def rounded(size: float) -> float:
    return round(2 * size) / 2
