"""Running heads and feet: what is printed at the edge of many pages and belongs to no sentence.

A row of text near the upper or lower edge of a page, with clear space between it and the rest and no larger than that,
is a running head or foot if

- the same words stand there on several pages, or
- it counts with the pages: a number in it differs from the number of the page by the same amount on several pages, or
- it is nothing but a number, as on other pages.

What stands on a good part of the pages is kept once, for the beginning of the document, where it interrupts nothing:
`Acme Manual 2024` may be the only place that names the product.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from index.documents.formats.pdf.layout import is_same_baseline
from index.documents.formats.pdf.lines import HYPHEN, Line, PageLines

_FEWEST_PAGES = 3
"""On how many pages a row must stand that is a running head; on both, in a document of two pages."""

_MOST_ROWS = 3
_MARGIN = 0.18
"""Share of a page's height, at either edge, in which heads and feet stand. LaTeX sets page numbers at 15 %."""
_DEEPEST = 40.0
"""A head or foot is at most this high, in points."""

_CLEAR_SPACE = 0.75
"""Space between a head and the text, in type sizes: more than between two lines of a paragraph."""

_SHARE_OF_PAGES = 0.3
"""Share of the pages on which a head or foot says something about the whole document."""

_LARGEST = 1.2
"""Larger type than this, compared with the rest, is a title: `Exercise 3` on slide 3."""

_SAME_PLACE = 4.0
"""Heights within about this many points are the same place."""

_NUMBER = re.compile(r"\d+")
_BARE_NUMBER = re.compile(r"\W*(?:\d+|[ivxlc]+)\W*", re.I)
_PAGE_NUMBER = re.compile(r"\W*(?:[^\W\d_]+\W+)?\d+(?:\W+(?:[^\W\d_]+\W+)?\d+)?\W*")
"""A page number and no more: `- 3 -`, `Page 3`, `Seite 3 von 9`."""


class _Row(NamedTuple):
    """A row at the edge of a page; `places` are those of its lines in the page."""

    places: tuple[int, ...]
    text: str
    baseline: float
    size: float

    @property
    def is_page_number(self) -> bool:
        return bool(_BARE_NUMBER.fullmatch(self.text) or _PAGE_NUMBER.fullmatch(self.text))

    def steps(self) -> tuple[int, int]:
        """The height rounded in two ways, so that heights that differ by a point agree in one at least."""
        return 2 * round(self.baseline / _SAME_PLACE), 2 * round(self.baseline / _SAME_PLACE + 0.5) + 1

    def signs(self, page: int) -> Iterator[tuple[object, ...]]:
        """What it has in common with rows of other pages if it is running."""
        numbers = [int(number) for number in _NUMBER.findall(self.text) if len(number) <= 5]
        for step in self.steps():
            yield "words", self.text, step
            if _BARE_NUMBER.fullmatch(self.text):
                yield "bare number", step
            if numbers:
                yield "first", numbers[0] - page, step
                yield "last", numbers[-1] - page, step


def without_running_lines(pages: Sequence[PageLines], usual_size: float) -> tuple[list[PageLines], list[str]]:
    """The pages without running heads and feet, and without turned text that several pages share; and what the heads
    and feet say that stand on many pages."""
    kept = _without_stamps(pages)
    said: Counter[str] = Counter()
    if len(pages) > 1:
        kept = _without_rows(kept, True, usual_size, said)
        kept = _without_rows(kept, False, usual_size, said)
    fewest = max(2.0, _SHARE_OF_PAGES * len(pages))
    return kept, [text for text, number in said.items() if number >= fewest]


def _without_stamps(pages: Sequence[PageLines]) -> list[PageLines]:
    stamps = Counter(line.text for page in pages for line in page.lines if line.turns)
    return [
        page._replace(lines=[line for line in page.lines if not line.turns or stamps[line.text] < _FEWEST_PAGES])
        for page in pages
    ]


def _without_rows(pages: Sequence[PageLines], is_head: bool, usual_size: float, said: Counter[str]) -> list[PageLines]:
    """The pages without running heads or, if not `is_head`, without running feet, whose words are added to `said`."""
    edges = [[row for row in _edge(page, is_head) if row.size <= _LARGEST * usual_size] for page in pages]
    pages_with = Counter(
        sign for number, rows in enumerate(edges) for sign in {sign for row in rows for sign in row.signs(number)}
    )
    kept: list[PageLines] = []
    for number, (page, rows) in enumerate(zip(pages, edges, strict=True)):
        gone: set[int] = set()
        for row in rows:
            signs = {sign[0] for sign in row.signs(number) if pages_with[sign] >= _fewest(row, sign[0], len(pages))}
            if signs:
                gone.update(row.places)
            if "words" in signs and not _BARE_NUMBER.fullmatch(row.text):
                said[row.text] += 1
        kept.append(page._replace(lines=[line for place, line in enumerate(page.lines) if place not in gone]))
    return kept


def _fewest(row: _Row, sign: object, pages: int) -> int:
    """On how many pages rows must agree. Two pages are enough only if nothing else is written there than a number, or
    the same words."""
    return min(_FEWEST_PAGES, pages) if sign == "words" or row.is_page_number else _FEWEST_PAGES


def _edge(page: PageLines, is_head: bool) -> list[_Row]:
    """The rows at the upper or lower edge of a page, the outermost first, as far as clear space ends them."""
    sign = -1 if is_head else 1
    upright = [(place, line) for place, line in enumerate(page.lines) if line.turns == 0]
    upright.sort(key=lambda item: sign * item[1].baseline)
    rows: list[list[tuple[int, Line]]] = []
    for place, line in upright:
        if rows and is_same_baseline(rows[-1][0][1], line):
            rows[-1].append((place, line))
        elif len(rows) > _MOST_ROWS:
            break
        else:
            rows.append([(place, line)])
    margin = _MARGIN * (page.top - page.bottom)
    ends = [
        end
        for end, (outer, inner) in enumerate(pairwise(rows), start=1)
        if _is_apart(outer, inner)
        and abs(outer[0][1].baseline - rows[0][0][1].baseline) <= _DEEPEST
        and abs(outer[0][1].baseline - (page.top if is_head else page.bottom)) <= margin
    ]
    return [_row(items) for items in rows[: ends[-1]]] if ends else []


def _is_apart(outer: Sequence[tuple[int, Line]], inner: Sequence[tuple[int, Line]]) -> bool:
    upper, lower = (outer, inner) if outer[0][1].baseline > inner[0][1].baseline else (inner, outer)
    gap = min(line.box.bottom for _, line in upper) - max(line.box.top for _, line in lower)
    return gap > _CLEAR_SPACE * max(line.size for _, line in (*upper, *lower))


def _row(items: Sequence[tuple[int, Line]]) -> _Row:
    ordered = sorted(items, key=lambda item: item[1].box.left)
    text = " ".join(line.text.replace(HYPHEN, "-") for _, line in ordered)
    largest = max(line.size for _, line in ordered)
    return _Row(tuple(place for place, _ in ordered), text, ordered[0][1].baseline, largest)
