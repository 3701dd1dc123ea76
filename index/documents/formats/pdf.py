"""PDF: the text of each page in reading order, with headings where the outline of the file names lines of the text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from index.documents.document import Document, Skipped
from index.documents.formats.blocks import escaped
from index.documents.formats.settings import ReadSettings, Unreadable

_MOST_BLOCKS = 200
"""On a page, for which an order is looked for: the search takes the cube of their number."""

_PARAGRAPH_GAP = 0.8
"""Space between lines, in line heights, above which a paragraph ends."""

_HYPHENATED = re.compile(r"[\x02\ufffe\u00ad]\n?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff]")
_NO_TITLE = re.compile(
    r"untitled|microsoft word|powerpoint|\.(docx?|odt|indd|tex|dvi|pptx?|xlsx?|pdf|qxd|html?)$", re.I
)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of text with its place on the page, in points; `y` grows upwards."""

    text: str
    left: float
    bottom: float
    right: float
    top: float


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document; its title is the one in the file's properties where that is a title, else the file's stem.

    Raises:
        Unreadable: damaged, encrypted, without text, or beyond a limit.
    """
    import pypdfium2 as pdfium

    try:
        pdf = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("encrypted: it opens only with a password; save a copy without one") from None
        raise Unreadable(f"damaged ({error})") from None
    try:
        if len(pdf) > settings.limits.pages:
            raise Unreadable(f"{len(pdf)} pages, more than {settings.limits.pages}")
        titles = _outline(pdf)
        pages: list[str] = []
        room = settings.limits.characters
        for number in range(len(pdf)):
            pages.append(_page_text(pdf, number, titles.get(number, {}), bool(titles)))
            room -= len(pages[-1]) + 2
            if room < 0:
                raise Unreadable(f"more than {settings.limits.characters} characters of text")
        if not any(pages):
            raise Unreadable(f"no text on {len(pages)} pages (scanned?); run character recognition over it first")
        title = " ".join((pdf.get_metadata_dict().get("Title") or "").split())
    finally:
        pdf.close()
    starts, text = [], ""
    parts: list[str] = []
    place = 0
    for page in pages:
        starts.append(place)
        parts.append(page + "\n\n" if page else "")
        place += len(parts[-1])
    text = "".join(parts).rstrip("\n")
    starts = [min(start, len(text)) for start in starts]
    good = title if title.isprintable() and not _NO_TITLE.search(title) else None
    return [Document.of(name, text, title=good, page_starts=tuple(starts), is_markdown=bool(titles))]


def _outline(pdf: Any) -> dict[int, dict[str, int]]:
    """For each page that the outline leads to, the level of each title that should stand there."""
    import pypdfium2 as pdfium

    found: dict[int, dict[str, int]] = {}
    try:
        for item in pdf.get_toc(max_depth=6):
            destination = item.get_dest()
            page = destination.get_index() if destination is not None else None
            if page is not None and (title := _normal(item.get_title())):
                found.setdefault(page, {}).setdefault(title, item.level + 1)
    except (pdfium.PdfiumError, ValueError):  # a damaged outline: the text is as good without it
        return {}
    return found


def _normal(text: str) -> str:
    """A title as it is compared: without case, numbers at its front, and white space."""
    return re.sub(r"^[\d.\s]+|\s+", "", _CONTROL.sub("", text)).casefold()


def _page_text(pdf: Any, number: int, titles: dict[str, int], is_markdown: bool) -> str:
    """The text of a page; empty where it has none.

    Raises:
        Unreadable: the page is damaged.
    """
    import pypdfium2 as pdfium

    try:
        page = pdf[number]
        lines = _lines(page)
        rotation = page.get_rotation()
        page.close()
    except pdfium.PdfiumError as error:
        raise Unreadable(f"page {number + 1} is damaged ({error})") from None
    blocks = _blocks(lines)
    if rotation == 0:
        blocks = _in_reading_order(blocks)
    parts = []
    for block in blocks:
        rows: list[str] = []
        for line in block:
            level = titles.get(_normal(line.text)) if is_markdown else None
            text = escaped(line.text) if is_markdown else line.text
            rows.append(f"\n{'#' * min(level, 6)} {line.text}\n" if level is not None else text)
        parts.append(_HYPHENATED.sub("", "\n".join(rows)).strip("\n"))
    return "\n\n".join(part for part in parts if part)


def _lines(page: Any) -> list[_Line]:
    """The lines of a page in the order in which the file draws them."""
    import ctypes

    import pypdfium2.raw as raw

    text_page = page.get_textpage()
    handle = text_page.raw
    count = raw.FPDFText_CountChars(handle)
    # UTF-16: characters beyond the first plane come in two halves.
    codes = [raw.FPDFText_GetUnicode(handle, place) for place in range(count)]
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))

    def box(place: int) -> tuple[float, float, float, float]:
        raw.FPDFText_GetCharBox(handle, place, left, right, bottom, top)
        return left.value, bottom.value, right.value, top.value

    lines: list[_Line] = []
    start = 0
    for end in [*(place for place, code in enumerate(codes) if code in (10, 13)), count]:
        visible = [place for place in range(start, end) if codes[place] > 32]
        if visible:
            units = b"".join(min(code, 0xFFFF).to_bytes(2, "little") for code in codes[start:end])
            text = units.decode("utf-16-le", "replace")
            soft = "\x02" if text.rstrip().endswith(("\x02", "\ufffe", "\u00ad")) else ""
            text = " ".join(_CONTROL.sub("", text.replace("\t", " ")).replace("\u00ad", "").split()) + soft
            first, last = box(visible[0]), box(visible[-1])
            if text.strip("\x02"):
                lines.append(_Line(text, first[0], min(first[1], last[1]), last[2], max(first[3], last[3])))
        start = end + 1
    text_page.close()
    return lines


def _blocks(lines: Sequence[_Line]) -> list[list[_Line]]:
    """Runs of lines that follow each other closely, each below the one before."""
    blocks: list[list[_Line]] = []
    for line in lines:
        if blocks and _continues(blocks[-1][-1], line):
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return blocks


def _continues(above: _Line, line: _Line) -> bool:
    height = max(above.top - above.bottom, line.top - line.bottom, 1.0)
    gap = above.bottom - line.top
    overlaps = line.left < above.right and above.left < line.right
    return overlaps and -height < gap < _PARAGRAPH_GAP * height


def _in_reading_order(blocks: list[list[_Line]]) -> list[list[_Line]]:
    """The blocks as they are drawn, unless one is drawn before another that stands above it in the same column.

    Nearly every producer draws in reading order, and knows better than geometry can tell what is a table and what
    are columns. Where it evidently does not, blocks are sorted so that each comes after what is above it in its
    column and after the columns to its left (Breuel, 2003).
    """
    if not 1 < len(blocks) <= _MOST_BLOCKS:
        return blocks
    boxes = [
        (
            min(line.left for line in block),
            min(line.bottom for line in block),
            max(line.right for line in block),
            max(line.top for line in block),
        )
        for block in blocks
    ]

    def overlap(a: int, b: int) -> bool:
        return boxes[a][0] < boxes[b][2] and boxes[b][0] < boxes[a][2]

    def is_above(a: int, b: int) -> bool:
        return boxes[a][1] >= boxes[b][3] - 1.0

    def is_left_of(a: int, b: int) -> bool:
        if boxes[a][2] > boxes[b][0]:
            return False
        low, high = min(boxes[a][1], boxes[b][1]), max(boxes[a][3], boxes[b][3])
        between = (c for c in range(len(boxes)) if c not in (a, b) and low < boxes[c][1] and boxes[c][3] < high)
        return not any(overlap(c, a) and overlap(c, b) for c in between)

    numbers = range(len(boxes))
    if not any(overlap(a, b) and is_above(b, a) for a in numbers for b in range(a + 1, len(boxes))):
        return blocks
    before = {
        b: {a for a in numbers if a != b and ((overlap(a, b) and is_above(a, b)) or is_left_of(a, b))} for b in numbers
    }
    order: list[int] = []
    waiting = set(numbers)
    while waiting:
        ready = [number for number in waiting if not before[number] & waiting]
        # Blocks that overlap may wait for each other: then the topmost goes first.
        chosen = max(ready or waiting, key=lambda number: (boxes[number][3], -boxes[number][0]))
        order.append(chosen)
        waiting.remove(chosen)
    return [blocks[number] for number in order]
