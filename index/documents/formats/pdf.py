"""PDF: the text of each page in reading order; lines that the file's outline names are headings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, combinations
from typing import Any, NamedTuple

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from index.documents.document import Document, Skipped
from index.documents.formats.blocks import escaped
from index.documents.formats.settings import Limits, ReadSettings, Unreadable

_MOST_BLOCKS = 200
"""Pages with more blocks are read as they are drawn: sorting takes time cubic in the number of blocks."""

_PARAGRAPH_GAP = 0.8
"""Space between lines, in line heights, above which a paragraph ends."""

_HYPHENS = ("\x02", "\ufffe", "\u00ad")
"""What PDFium gives for a hyphen at the end of a line that continues a word."""

_HYPHENATED = re.compile(f"[{''.join(_HYPHENS)}]\n?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff]")
_NO_TITLE = re.compile(
    r"untitled|microsoft word|powerpoint|\.(docx?|odt|indd|tex|dvi|pptx?|xlsx?|pdf|qxd|html?)$", re.I
)
"""Titles that a program filled in: its own name, or that of a file."""


class _Box(NamedTuple):
    """A rectangle on a page, in points; y grows upwards."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, boxes: Sequence[_Box]) -> _Box:
        lefts, bottoms, rights, tops = zip(*boxes, strict=True)
        return cls(min(lefts), min(bottoms), max(rights), max(tops))

    def shares_column(self, other: _Box) -> bool:
        """Whether some vertical line crosses both."""
        return self.left < other.right and other.left < self.right

    def is_above(self, other: _Box) -> bool:
        return self.bottom >= other.top - 1.0


class _Line(NamedTuple):
    """A line of text with its place on the page."""

    text: str
    box: _Box


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document; its title is the one in the file's properties if its author gave one, else the file's stem.

    Raises:
        Unreadable: the file is damaged, encrypted, without text, or beyond a limit.
    """
    try:
        pdf = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("encrypted: it opens only with a password; save a copy without one") from None
        raise Unreadable(f"damaged ({error})") from None
    try:
        if len(pdf) > settings.limits.pages:
            raise Unreadable(f"{len(pdf)} pages, more than {settings.limits.pages}")
        outline = _outline(pdf)
        pages = _page_texts(pdf, outline, settings.limits)
        title = " ".join((pdf.get_metadata_dict().get("Title") or "").split())
    finally:
        pdf.close()
    parts = [page + "\n\n" if page else "" for page in pages]
    text = "".join(parts).rstrip("\n")
    starts = [min(start, len(text)) for start in accumulate((len(part) for part in parts[:-1]), initial=0)]
    by_author = title if title.isprintable() and not _NO_TITLE.search(title) else None
    return [Document.of(name, text, title=by_author, page_starts=tuple(starts), is_markdown=bool(outline))]


def _outline(pdf: Any) -> dict[int, dict[str, int]]:
    """For each page that the outline links to, its titles (see `_normal`) with their levels."""
    found: dict[int, dict[str, int]] = {}
    try:
        for item in pdf.get_toc(max_depth=6):
            destination = item.get_dest()
            page = destination.get_index() if destination is not None else None
            if page is not None and (title := _normal(item.get_title())):
                found.setdefault(page, {}).setdefault(title, item.level + 1)
    except (pdfium.PdfiumError, ValueError):  # a damaged outline: the text can be read without it
        return {}
    return found


def _normal(text: str) -> str:
    """A title as it is compared: without case, leading numbers and white space."""
    return re.sub(r"^[\d.\s]+|\s+", "", _CONTROL.sub("", text)).casefold()


def _page_texts(pdf: Any, outline: dict[int, dict[str, int]], limits: Limits) -> list[str]:
    """The text of each page; empty for pages without text."""
    pages: list[str] = []
    room = limits.characters
    for number in range(len(pdf)):
        blocks = _page_blocks(pdf, number)
        titles = outline.get(number, {}) if outline else None
        pages.append("\n\n".join(text for block in blocks if (text := _block_text(block, titles))))
        room -= len(pages[-1]) + 2
        if room < 0:
            raise Unreadable(f"more than {limits.characters} characters of text")
    if not any(pages):
        raise Unreadable(f"no text on {len(pages)} pages (scanned?); run character recognition over it first")
    return pages


def _page_blocks(pdf: Any, number: int) -> list[list[_Line]]:
    """The blocks of a page in reading order."""
    try:
        page = pdf[number]
        blocks = _blocks(_lines(page))
        rotation = page.get_rotation()
        page.close()
    except pdfium.PdfiumError as error:
        raise Unreadable(f"page {number + 1} is damaged ({error})") from None
    return _in_reading_order(blocks) if rotation == 0 else blocks


def _block_text(block: Sequence[_Line], titles: dict[str, int] | None) -> str:
    """The text of a block: Markdown whose headings are the lines in `titles`; plain text if that is None."""
    rows: list[str] = []
    for line in block:
        if titles is None:
            rows.append(line.text)
        elif (level := titles.get(_normal(line.text))) is not None:
            rows.append(f"\n{'#' * min(level, 6)} {line.text}\n")
        else:
            rows.append(escaped(line.text))
    return _HYPHENATED.sub("", "\n".join(rows)).strip("\n")


def _lines(page: Any) -> list[_Line]:
    """The lines of a page in the order in which the file draws them."""
    text_page = page.get_textpage()
    count = raw.FPDFText_CountChars(text_page.raw)
    # UTF-16: characters beyond the first plane come in two halves.
    codes = [raw.FPDFText_GetUnicode(text_page.raw, place) for place in range(count)]
    lines: list[_Line] = []
    start = 0
    for end in [*(place for place, code in enumerate(codes) if code in (10, 13)), count]:
        visible = [place for place in range(start, end) if codes[place] > 32]
        text = _line_text(codes[start:end]) if visible else ""
        if text.strip("\x02"):
            first, last = (_Box(*text_page.get_charbox(place)) for place in (visible[0], visible[-1]))
            box = _Box(first.left, min(first.bottom, last.bottom), last.right, max(first.top, last.top))
            lines.append(_Line(text, box))
        start = end + 1
    text_page.close()
    return lines


def _line_text(codes: Sequence[int]) -> str:
    """The text of these UTF-16 codes; a hyphen at the end that continues a word is `\\x02`."""
    text = b"".join(min(code, 0xFFFF).to_bytes(2, "little") for code in codes).decode("utf-16-le", "replace")
    hyphen = "\x02" if text.rstrip().endswith(_HYPHENS) else ""
    return " ".join(_CONTROL.sub("", text.replace("\t", " ")).replace("\u00ad", "").split()) + hyphen


def _blocks(lines: Sequence[_Line]) -> list[list[_Line]]:
    """Group lines that follow each other closely, each below the one before."""
    blocks: list[list[_Line]] = []
    for line in lines:
        if blocks and _continues(blocks[-1][-1].box, line.box):
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return blocks


def _continues(above: _Box, line: _Box) -> bool:
    height = max(above.top - above.bottom, line.top - line.bottom, 1.0)
    return above.shares_column(line) and -height < above.bottom - line.top < _PARAGRAPH_GAP * height


def _in_reading_order(blocks: list[list[_Line]]) -> list[list[_Line]]:
    """The blocks as they are drawn, unless one is drawn before another that stands above it in the same column.

    Nearly every producer draws in reading order, and knows better than geometry can tell what is a table and what
    are columns. Where it evidently does not, blocks are sorted so that each comes after those above it in its column
    and after the columns to its left (Breuel, 2003).
    """
    if not 1 < len(blocks) <= _MOST_BLOCKS:
        return blocks
    boxes = [_Box.around([line.box for line in block]) for block in blocks]
    if not any(box.shares_column(later) and later.is_above(box) for box, later in combinations(boxes, 2)):
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


def _precedes(boxes: Sequence[_Box], a: int, b: int) -> bool:
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
