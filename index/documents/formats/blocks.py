"""Writes the Markdown that rich formats are extracted to: headings, paragraphs, lists, tables and code.

Text that merely looks like such markup is escaped, so that no sentence becomes a heading and no stray fence swallows
the headings below it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from index.documents.formats.settings import refuse_long

_LOOKS_LIKE_MARKUP = re.compile(r"^( {0,3})(?=#{1,6}(?:[ \t]|$)|={2,}[ \t]*$|-{2,}[ \t]*$|`{3}|~{3})", re.MULTILINE)
_FENCE = re.compile(r"`{3,}")
_CLOSING_HASHES = re.compile(r"(?<=[ \t])(?=#+$)")
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffc\U000e0000-\U000e007f]"
    "|(?<=[\u0000-\u05ff\u1e00-\u1fff])[\u200c\u200d]+"
)
"""Characters that a reader cannot see: soft hyphens, zero-width spaces, marks of direction, tags. The joiners are among
them after a Latin, Greek, Cyrillic or Hebrew letter; Persian, the scripts of India and emoji are spelled with them."""
_SIMPLE = re.compile(r"[+\-−±]?\w+(?:[.,]\d+)?|[+\-−±]")
"""An exponent or index that needs no brackets."""
_ORDINALS = frozenset(["st", "nd", "rd", "th", "tm", "sm"])
_LOWERED = str.maketrans("0123456789+-−", "₀₁₂₃₄₅₆₇₈₉₊₋₋")
_ENDS_A_SENTENCE = re.compile(r"[.,;:!?…”’»]$")
_HEADER_SEPARATOR = " / "


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table as its file states it.

    Attributes:
        columns: number of columns that it spans.
        rows: number of rows that it spans.
        continues: whether it is the continuation of the cell above it, as a file of Word says it; its text is ignored.
    """

    text: str
    columns: int = 1
    rows: int = 1
    continues: bool = False


class MarkdownText:
    """A Markdown text that is written block by block; text beyond `most_characters` raises `Unreadable`."""

    def __init__(self, most_characters: int) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._most = most_characters
        self._in_list = False
        self._is_kept = False

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def heading(self, level: int, text: str) -> None:
        """Add a heading, or a paragraph if its text is blank or only `#` characters."""
        text = " ".join(text.split())
        if not text.strip("# \t"):
            self.paragraph(text)
        else:
            words = _CLOSING_HASHES.sub(r"\\", text)
            self._block(f"{'#' * min(max(level, 1), 6)} {words}")

    def paragraph(self, text: str, indent: str = "") -> None:
        """Add a paragraph; its line ends are kept."""
        lines = (line.strip() for line in escaped(text).split("\n"))
        self._block("\n".join(indent + line for line in lines if line), is_paragraph=True)

    def item(self, marker: str, text: str, indent: str = "") -> None:
        """Add a list item, directly below the one above if there is one."""
        lines = [line.strip() for line in text.split("\n")]
        body = f"\n{indent}{' ' * (len(marker) + 1)}".join(escaped(line) for line in lines if line)
        if body:
            self._block(f"{indent}{marker} {body}", is_item=True)

    def end_list(self) -> None:
        """Separate the next item from those above."""
        self._in_list = False

    def keep_with_next(self) -> None:
        """Write the next block, if it is a paragraph, directly below the last one: a term and its definition."""
        self._is_kept = bool(self._parts)

    def code(self, text: str) -> None:
        """Add preformatted text, in a fence that nothing inside can close."""
        text = text.strip("\n")
        if text.strip():
            fence = "`" * max(3, 1 + max((len(run) for run in _FENCE.findall(text)), default=0))
            self._block(f"{fence}\n{text}\n{fence}")

    def table(self, rows: Sequence[Sequence[str]], has_header: bool) -> None:
        """Add a table, one line per row; blank rows are left out."""
        lines: list[str] = []
        length = self._length
        for row in rows:
            cells = [" ".join(cell.split()).replace("|", "\\|") for cell in row]
            if any(cells):
                lines.append(f"| {' | '.join(cells)} |")
                length += len(lines[-1])
                if has_header and len(lines) == 1:
                    lines.append("|" + " --- |" * len(cells))
            refuse_long(length, self._most)  # before the rows are joined: cells with spans can be repeated without end
        self._block("\n".join(lines))

    def spanned_table(self, rows: Sequence[Sequence[Cell]], header_rows: int) -> None:
        """Add a table whose cells may span columns and rows, with its header rows joined to one.

        A header row that is a single cell is the table's caption: a paragraph of its own.
        """
        grid = expanded(rows)
        captions = [row for row in grid[:header_rows] if len(row) > 1 and any(row) and not any(row[1:])]
        for row in captions:
            self.paragraph(" ".join(row[0].split()))
        head = [row for row in grid[:header_rows] if row not in captions and any(row)]
        body = grid[header_rows:]
        self.table([*([joined_header(head)] if head else []), *body], has_header=bool(head))

    def _block(self, text: str, is_item: bool = False, is_paragraph: bool = False) -> None:
        if not text.strip():
            return
        if self._parts:
            is_close = (is_item and self._in_list) or (is_paragraph and self._is_kept)
            text = ("\n" if is_close else "\n\n") + text
        self._in_list, self._is_kept = is_item, False
        self._length += len(text)
        refuse_long(self._length, self._most)
        self._parts.append(text)


def escaped(text: str) -> str:
    """Escape lines that look like headings, rules or fences."""
    return _LOOKS_LIKE_MARKUP.sub(r"\1\\", text)


def expanded(rows: Sequence[Sequence[Cell]]) -> list[list[str]]:
    """The text of each row and column of a table; a cell that spans several is repeated in each of them.

    A cell that spans a whole row names a group or is a remark, so it is written once, in the first column. Columns in
    which no cell begins are left out, however many a file declares. All rows have the same number of columns.
    """
    if all(cell.columns == cell.rows == 1 and not cell.continues for row in rows for cell in row):
        most = max(map(len, rows), default=0)
        return [[cell.text for cell in row] + [""] * (most - len(row)) for row in rows]
    placed = _placed(rows)
    starts = sorted({start for row in placed for start, _, _ in row})
    grid: list[list[str]] = []
    for row in placed:
        texts: list[str] = []
        for start, end, text in row:
            texts += [""] * (bisect_left(starts, start) - len(texts))
            texts += [text] * (bisect_left(starts, end) - len(texts))
        if len(row) == 1:
            texts[1:] = [""] * (len(texts) - 1)
        grid.append(texts + [""] * (len(starts) - len(texts)))
    return grid


def _placed(rows: Sequence[Sequence[Cell]]) -> list[list[tuple[int, int, str]]]:
    """First column, column after the last, and text of each cell in each row, from left to right."""
    placed: list[list[tuple[int, int, str]]] = []
    reaching_down: list[tuple[int, int, str, int]] = []  # from rows above, with the number of rows left
    for cells in rows:
        row = [(start, end, text) for start, end, text, _ in reaching_down]
        next_rows = [(start, end, text, left - 1) for start, end, text, left in reaching_down if left > 1]
        taken = iter(sorted((start, end) for start, end, _ in row))
        free, occupied = 0, next(taken, None)
        above = {start: (end, text) for start, end, text in placed[-1]} if placed else {}
        for cell in cells:
            while occupied is not None and occupied[0] <= free:
                free, occupied = max(free, occupied[1]), next(taken, None)
            end = free + max(cell.columns, 1)
            if occupied is not None:  # overlapping cells are an error in the file: the one above keeps its place
                end = min(end, occupied[0])
            text = above.get(free, (end, ""))[1] if cell.continues else cell.text
            row.append((free, end, text))
            if cell.rows > 1:
                next_rows.append((free, end, text, cell.rows - 1))
            free = end
        reaching_down = next_rows
        placed.append(sorted(row))
    return placed


def joined_header(rows: Sequence[Sequence[str]]) -> list[str]:
    """One header for each column out of several header rows of equal length: `Fee / Child`."""
    columns = ([" ".join(text.split()) for text in column] for column in zip(*rows, strict=True))
    return [_HEADER_SEPARATOR.join(dict.fromkeys(filter(None, column))) for column in columns]


def superscript(text: str, before: str = "") -> str:
    """Raised text in a line of plain text, after the text `before`: `10^6`, `x^(n+1)`, `1st`, `end.[3]`.

    The caret, and not the characters that Unicode has for some exponents, because a search that folds characters makes
    106 of 10⁶. A number after the end of a sentence is a footnote mark.
    """
    text = " ".join(text.split())
    if not any(map(str.isalnum, text)) and text not in ("+", "-", "−", "±"):
        return text  # a star, a trade mark, a comma between two footnotes
    if text.isdecimal() and _ENDS_A_SENTENCE.search(before.rstrip()):
        return footnote_mark(text)
    if text.lower() in _ORDINALS or not before.strip() or text.startswith(("[", "(")):
        return text
    return "^" + _grouped(text)


def subscript(text: str) -> str:
    """Lowered text in a line of plain text: `CO₂`, `x_max`, `a_(i+1)`.

    Digits become the characters that Unicode has for them: a search that folds characters then finds CO2, which is how
    people write it.
    """
    text = " ".join(text.split())
    if text and all(ord(character) in _LOWERED for character in text):
        return text.translate(_LOWERED)
    return "_" + _grouped(text) if any(map(str.isalnum, text)) else text


def footnote_mark(text: str) -> str:
    """The mark of a footnote in the text, apart from the word before it: `[3]`."""
    text = " ".join(text.split())
    return text if not text or text[0] in "[(" else f"[{text}]"


def _grouped(text: str) -> str:
    return text if _SIMPLE.fullmatch(text) else f"({text})"


def fraction(above: str, below: str) -> str:
    """A fraction in a line of plain text: `1/4`, `(a + b)/c`."""
    return f"{_grouped(above.strip())}/{_grouped(below.strip())}"


def without_invisible(text: str) -> str:
    """Leave out the characters of a text that a reader cannot see: they split words for a search, or hide text."""
    return text if text.isascii() else _INVISIBLE.sub("", text)
