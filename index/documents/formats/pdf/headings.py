"""Which blocks of a PDF are headings: those that its outline names, else those that type or space makes sure of.

Without an outline, a block of one to three short lines is a heading if its type is larger than that of the text, or
bold beside text that is not; the larger the type, the higher the level. If no type tells, a short line without an end
mark is one that stands clearly closer to the sentences below it than to what is above it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pypdfium2 as pdfium

from index.documents.formats.pdf.layout import rounded, usual_size
from index.documents.formats.pdf.lines import HYPHEN, Line

_LARGER = 1.15
"""Type of headings, compared with that of the text."""

_MOST_LINES = 3
_LONGEST = 150
_MOST_SHARE = 0.4
"""Where more of the characters look like headings, their look means something else."""

_CLOSER = 1.5
"""How much more space is above a heading than below it, if nothing else distinguishes it."""
_LONGEST_PLAIN = 60

_LETTERS = re.compile(r"[^\W\d_]{2,}")
_ENDS_A_SENTENCE = re.compile(r"[.!?…。！？][\"')\]”’»]*$")
_ENDS_NO_HEADING = re.compile(r"[.,;:…。，；：]$")
_NUMBERED = re.compile(r"^[\d.\s]+|[\s\x00-\x1f\x7f]+")

Block = Sequence[Line]
Page = Sequence[Block]


def outline_of(pdf: Any) -> dict[int, dict[str, int]]:
    """For each page that the outline links to, its titles (see `compared`) with their levels."""
    found: dict[int, dict[str, int]] = {}
    try:
        for item in pdf.get_toc(max_depth=6):
            destination = item.get_dest()
            page = destination.get_index() if destination is not None else None
            if page is not None and (title := compared(item.get_title())):
                found.setdefault(page, {}).setdefault(title, item.level + 1)
    except (pdfium.PdfiumError, ValueError):  # a damaged outline: the text can be read without it
        return {}
    return found


def compared(text: str) -> str:
    """A title as it is compared: without case, leading numbers and white space."""
    return _NUMBERED.sub("", text).casefold()


def headings_of(pages: Sequence[Page], outline: Mapping[int, Mapping[str, int]]) -> dict[int, dict[int, int]]:
    """For each page, the blocks that are headings as a whole, by type or by space, with their levels."""
    by_type = _by_type(pages)
    return by_type or ({} if outline else _by_space(pages))


def named_by(outline: Mapping[str, int], line: Line) -> int | None:
    """The level at which the outline of its page names this line; None if it does not."""
    last = line.text[-1:]
    if not any(last == HYPHEN or last.casefold().endswith(title[-1]) for title in outline):  # nearly all lines
        return None
    return outline.get(compared(line.text))


def _by_type(pages: Sequence[Page]) -> dict[int, dict[int, int]]:
    usual = usual_size(pages)
    text = [line for page in pages for block in page for line in block]
    is_bold = 2 * sum(len(line.text) for line in text if line.is_bold) > sum(len(line.text) for line in text)
    candidates: list[tuple[int, int, float]] = []
    for number, page in enumerate(pages):
        for place, block in enumerate(page):
            size = rounded(block[0].size)
            stands_out = size >= _LARGER * usual or (
                block[0].is_bold and not is_bold and size >= usual and _heads_text(page, place)
            )
            if stands_out and _may_be_heading(block):
                candidates.append((number, place, size))
    headed = sum(len(line.text) for number, place, _ in candidates for line in pages[number][place])
    if headed > _MOST_SHARE * sum(len(line.text) for line in text):
        return {}
    # Sizes that differ by half a point are one: producers round.
    sizes = sorted({size for _, _, size in candidates}, reverse=True)
    level_of: dict[float, int] = {}
    for size in sizes:
        larger = [known for known in level_of if known - size <= 0.5]
        level_of[size] = level_of[larger[-1]] if larger else min(len(set(level_of.values())) + 1, 6)
    found: dict[int, dict[int, int]] = {}
    for number, place, size in candidates:
        found.setdefault(number, {})[place] = level_of[size]
    return found


def _may_be_heading(block: Block) -> bool:
    first = block[0]
    text = " ".join(line.text for line in block)
    return (
        len(block) <= _MOST_LINES
        and len(text) <= _LONGEST
        and first.turns == 0
        and all(line.cells == 1 and line.is_bold == first.is_bold for line in block)
        and _LETTERS.search(text) is not None
        and not _ENDS_NO_HEADING.search(text)
        and not text.endswith(HYPHEN)
    )


def _heads_text(page: Page, place: int) -> bool:
    """Whether the next block is text below this one, and not beside it or another of its kind."""
    if place + 1 >= len(page):
        return False
    block, following = page[place], page[place + 1]
    return (
        block[-1].box.is_above(following[0].box)
        and block[-1].box.shares_column(following[0].box)
        and not following[0].is_bold
        and following[0].cells == 1
    )


def _by_space(pages: Sequence[Page]) -> dict[int, dict[int, int]]:
    found: dict[int, dict[int, int]] = {}
    for number, page in enumerate(pages):
        for place, block in enumerate(page[:-1]):
            if _is_alone(block) and _stands_closer_to_next(page, place):
                found.setdefault(number, {})[place] = 1
    return found


def _is_alone(block: Block) -> bool:
    line = block[0]
    return (
        len(block) == 1
        and _may_be_heading(block)
        and len(line.text) <= _LONGEST_PLAIN
        and (line.text[0].isupper() or line.text[0].isdigit())
        and _ENDS_A_SENTENCE.search(line.text) is None
    )


def _stands_closer_to_next(page: Page, place: int) -> bool:
    """Whether sentences follow, at the same left edge and closer than what is above."""
    block, following = page[place], page[place + 1]
    text = following[-1].text
    if not (
        _ENDS_A_SENTENCE.search(text)
        and len(_LETTERS.findall(" ".join(line.text for line in following))) >= 4
        and abs(block[0].box.left - following[0].box.left) < 2.0
    ):
        return False
    below = block[0].box.bottom - following[0].box.top
    if place == 0:
        return below > 0
    above = page[place - 1][-1].box.bottom - block[0].box.top
    return 0 < _CLOSER * below <= above
