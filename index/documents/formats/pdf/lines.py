"""The lines of text of a PDF page with their places, sizes and weights.

Knows the characters of one page, nothing of the page's layout: whether two pieces of a line are cells of a table or
belong to two columns is decided in `index.documents.formats.pdf.layout`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count, groupby, pairwise
from typing import Any, NamedTuple

from index.documents.formats.blocks import footnote_mark, subscript, superscript, without_invisible
from index.documents.formats.pdf.characters import Box, PageCharacters

HYPHEN = "\x02"
"""Stands at the end of a line for a hyphen after which a word may go on."""

_ENDS = re.compile("[\x02\ufffe]|[\r\n]+")
"""What PDFium gives at the end of a line: a hyphen (without a line end), or a line end."""

_WORD = re.compile(r"[^\s\x00-\x1f]+")
_RUNS_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufefc]")
_HALVES = re.compile("[\ud800-\udfff]")
_DIVIDED = re.compile(r"\w-$")
_DIGIT = re.compile(r"\d")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u00ad\ufffe\uffff]")

_GAP = 1.0
"""Space between words, in type sizes, above which they are pieces of their own: cells, or lines of two columns."""

_WIDEST_LETTERS, _WIDEST_CHARACTERS = 0.75, 1.1
"""Mean width of characters, in type sizes, above which there are gaps between some."""

_RAISED, _LOWERED = 0.12, 0.38
"""Height above the baseline, in type sizes, of the lower edge of raised and the upper edge of lowered characters."""
_STACKED = 0.9
"""Difference of baselines, in type sizes, of characters in two lines."""
_FLAT, _LOW = 0.25, 0.13
"""Height of marks, and of the upper edge of those at the baseline."""

_SMALL, _LEAST_RISE, _LEAST_FALL = 0.9, 0.15, -0.08
"""Size and shift, in type sizes, of raised and lowered characters; small capitals are small, too."""
_TOUCHES, _FARTHEST = 0.3, 0.6
"""Distance from the line, in type sizes, of raised and lowered characters at its end."""


class Line(NamedTuple):
    """A line of text, or a piece of one, with its place on the page.

    Attributes:
        text: ends with `HYPHEN` if a word may go on in the next line.
        box: from a fifth of the type size below the baseline to four fifths above it.
        size: type size in points.
        is_bold: whether its first and its last character are bold.
        row: pieces of the same number were drawn as one line.
        turns: quarter turns by which it differs from most text of the page; 0 for nearly every line.
        cells: how many pieces were joined to this line.
    """

    text: str
    box: Box
    size: float
    is_bold: bool = False
    row: int = 0
    turns: int = 0
    cells: int = 1

    @property
    def baseline(self) -> float:
        return self.box.bottom + 0.2 * self.size

    @classmethod
    def at(cls, text: str, left: float, right: float, baseline: float, size: float, **more: Any) -> Line:
        return cls(text, Box(left, baseline - 0.2 * size, right, baseline + 0.8 * size), size, **more)


_Box = tuple[float, float, float, float]


class _Word(NamedTuple):
    """A word: its place in the page's characters, and the boxes of its first and last character."""

    start: int
    end: int
    first: _Box
    last: _Box


class PageLines(NamedTuple):
    """The pieces of lines of a page in the order in which the file draws them, and where the upright page ends."""

    lines: list[Line]
    bottom: float
    top: float


def page_lines(page: Any) -> PageLines:
    """The lines of a page; invisible text of born-digital pages is left out."""
    characters = PageCharacters(page)
    try:
        lines, quarter = _lines(characters)
    finally:
        characters.close()
    edge = Box(*page.get_bbox()).turned(quarter)
    return PageLines(lines, edge.bottom, edge.top)


_Span = tuple[int, int]
"""Start and end of a word in the page's characters."""


def _lines(characters: PageCharacters) -> tuple[list[Line], int]:
    """The pieces of lines, and the direction in which most of them run, in quarter turns."""
    drawn = list(_drawn_lines(characters.text))
    directions = [characters.direction(start) for start, _, _ in drawn]
    usual = Counter(direction for direction in directions if direction is not None).most_common(1)
    upright = usual[0][0] if usual else 0
    rows = count()
    found: list[Line] = []
    for (start, end, is_hyphen), direction in zip(drawn, directions, strict=True):
        characters.quarter = upright if direction is None else direction
        pieces = _pieces(characters, start, end, rows)
        if pieces and (is_hyphen or (pieces[-1].text.endswith("-") and _DIVIDED.search(pieces[-1].text))):
            pieces[-1] = pieces[-1]._replace(text=pieces[-1].text.removesuffix("-") + HYPHEN)
        if direction != upright:
            turns = 1 if direction is None else (direction - upright) % 4
            pieces = [piece._replace(turns=turns) for piece in pieces]
        for piece in pieces:
            if found and _belongs_to(found[-1], piece):
                found[-1] = _with_script(found[-1], piece)
            else:
                found.append(piece)
    return found, upright


def _belongs_to(line: Line, small: Line) -> bool:
    """Whether a small piece stands raised or lowered at the end of a line. PDFium takes it for another line there."""
    return (
        small.size < _SMALL * line.size
        and line.turns == small.turns
        and abs(small.box.left - line.box.right) < _TOUCHES * line.size
        and not _LEAST_FALL < (small.baseline - line.baseline) / line.size < _LEAST_RISE
        and -_FARTHEST < (small.baseline - line.baseline) / line.size < _FARTHEST
    )


def _with_script(line: Line, small: Line) -> Line:
    is_raised = small.baseline > line.baseline
    text = line.text + (superscript(small.text, line.text) if is_raised else subscript(small.text))
    return line._replace(text=text, box=line.box._replace(right=small.box.right))


def _drawn_lines(text: str) -> Iterator[tuple[int, int, bool]]:
    """Start and end of each line that is not blank, and whether it ends with a hyphen."""
    start = 0
    for match in _ENDS.finditer(text):
        if first := _WORD.search(text, start, match.start()):
            yield first.start(), match.start(), match.group() in "\x02\ufffe"
        start = match.end()
    if first := _WORD.search(text, start):
        yield first.start(), len(text), False


def _pieces(characters: PageCharacters, start: int, end: int, rows: Iterator[int]) -> list[Line]:
    """The line divided at wide gaps, without words that nobody sees."""
    runs = characters.runs(start, end)
    row = next(rows)
    if characters.may_hide_text:
        spans = _spans(characters.text, start, end)
        if not all(characters.is_shown(first) for first, _ in (spans[:1] if len(runs) == 1 else spans)):
            spans = [span for span in spans if characters.is_shown(span[0])]
            return _measured(characters, spans, row, is_moved=True) if spans else []
    text = characters.text[start:end]
    longest = start if len(runs) == 1 else start + text.index(max(text.split(), key=len))
    size, baseline = characters.size(longest), characters.baseline(longest)
    # PDFium has put lines that run to the left in order; their words would only be torn apart here.
    runs_left = not text.isascii() and _RUNS_LEFT.search(text)
    is_moved = not runs or (len(runs) > 1 and _is_any_moved(runs, baseline, size))
    if not runs_left and (is_moved or not _is_close(runs, size, text)):
        spans = _spans(characters.text, start, end)
        if _is_stacked(runs, size):
            parts = _unstacked(characters, spans, size)
            return [piece for part in parts for piece in _measured(characters, part, next(rows), is_moved=True)]
        return _measured(characters, spans, row, is_moved)
    is_bold = characters.is_bold(start) and (len(runs) == 1 or characters.is_bold(start + len(text.rstrip()) - 1))
    text = _clean(text)
    left, right = min(run.left for run in runs), max(run.right for run in runs)
    return [Line.at(text, left, right, baseline, size, is_bold=is_bold, row=row)] if text else []


def _spans(text: str, start: int, end: int) -> list[_Span]:
    """The words of a line."""
    return [match.span() for match in _WORD.finditer(text, start, end)]


def _unstacked(characters: PageCharacters, spans: Sequence[_Span], size: float) -> list[list[_Span]]:
    """The words of each line of what PDFium takes for one: single digits below each other, a column of a table."""
    lines: list[list[_Span]] = []
    previous = math.inf
    for start, end in spans:
        first = start
        for place in range(start, end):
            height = characters.baseline(place)
            if abs(height - previous) > _STACKED * size:
                if place > first:
                    lines[-1].append((first, place))
                lines.append([])
                first = place
            previous = height
        lines[-1].append((first, end))
    return [line for line in lines if line]


def _measured(characters: PageCharacters, spans: Sequence[_Span], row: int, is_moved: bool) -> list[Line]:
    """The pieces of a line, measured word by word; only if `is_moved`, some of it may be raised or lowered."""
    words = [_word(characters, start, end) for start, end in spans]
    heights: Counter[tuple[float, float]] = Counter()
    bases: dict[tuple[float, float], int] = {}
    for word in words:
        height = _height(word.first)
        heights[height] += word.end - word.start
        bases.setdefault(height, word.start)
    usual = max(heights, key=heights.__getitem__)
    size, baseline = characters.size(bases[usual]), characters.baseline(bases[usual])
    levels = _Levels(characters, size, baseline, usual)
    pieces: list[Line] = []
    for group in _groups(words, size):
        first, last = group[0], group[-1]
        text = _text_of(characters.text, group, levels) if is_moved else characters.text[first.start : last.end]
        if text := _clean(text):
            is_bold = characters.is_bold(first.start) and characters.is_bold(last.end - 1)
            place = first.first[0], last.last[2], baseline, size
            pieces.append(Line.at(text, *place, is_bold=is_bold, row=row))
    return pieces


def _word(characters: PageCharacters, start: int, end: int) -> _Word:
    first = characters.box(start)
    return _Word(start, end, first, characters.box(end - 1) if end - start > 1 else first)


def _groups(words: Sequence[_Word], size: float) -> list[list[_Word]]:
    """The words of a line divided at wide gaps."""
    groups: list[list[_Word]] = []
    right = math.inf
    for word in words:
        if -size < word.first[0] - right < _GAP * size:
            groups[-1].append(word)
        else:
            groups.append([word])
        right = word.last[2]
    return groups


class _Levels:
    """Whether characters of a line are raised (1), lowered (-1) or neither (0), which those of one height share."""

    def __init__(self, characters: PageCharacters, size: float, baseline: float, usual: tuple[float, float]) -> None:
        self._characters, self._size, self._baseline = characters, size, baseline
        self._known = {usual: 0}

    def are_plain(self, word: _Word) -> bool:
        """Whether the word's ends and digits stand on the line; letters within a word do if its ends do."""
        if self._level(word.start, word.first) or self._level(word.end - 1, word.last):
            return False
        digits = _DIGIT.finditer(self._characters.text, word.start, word.end) if word.end - word.start > 1 else ()
        return not any(self(digit.start()) for digit in digits)

    def __call__(self, place: int) -> int:
        return self._level(place, self._characters.box(place))

    def _level(self, place: int, box: _Box) -> int:
        level = self._known.get(box[1::2])
        if level is None:
            rounded = _height(box)
            level = self._known.get(rounded)
            if level is None:
                level = self._known[rounded] = self._measured(place)
            self._known[box[1::2]] = level
        return level

    def _measured(self, place: int) -> int:
        shift = (self._characters.baseline(place) - self._baseline) / self._size
        is_small = self._characters.size(place) < _SMALL * self._size
        return 0 if not is_small or _LEAST_FALL < shift < _LEAST_RISE else 1 if shift > 0 else -1


def _text_of(text: str, words: Sequence[_Word], levels: _Levels) -> str:
    """The words with raised and lowered small characters marked."""
    texts: list[str] = []
    for word in words:
        if levels.are_plain(word):
            texts.append(text[word.start : word.end])
            continue
        written = ""
        for level, group in groupby(range(word.start, word.end), key=levels):
            part = "".join(text[place] for place in group)
            before = written or (texts[-1] if texts else "")
            if level > 0 and part.isalnum() and len(part) < 3 and not before:  # the mark before the text of a footnote
                written = footnote_mark(part) + " "
            else:
                written += superscript(part, before) if level > 0 else subscript(part) if level < 0 else part
        texts.append(written)
    return " ".join(texts)


def _is_close(runs: Sequence[Box], size: float, text: str) -> bool:
    """Whether nothing in a line is far from the rest, so that it is one piece."""
    widest = (_WIDEST_LETTERS if text.isascii() else _WIDEST_CHARACTERS) * size * len(text)
    return runs[-1].right - runs[0].left <= widest and all(
        -size <= right.left - left.right < _GAP * size for left, right in pairwise(runs)
    )


def _is_stacked(runs: Sequence[Box], size: float) -> bool:
    """Whether some characters stand below others of the same line."""
    return any(
        abs(above.bottom - below.bottom) > _STACKED * size and (above.bottom > below.top or below.bottom > above.top)
        for above, below in pairwise(runs)
    )


def _is_any_moved(runs: Sequence[Box], baseline: float, size: float) -> bool:
    """Whether some of these may be raised or lowered letters or digits, and not marks, which are flat, or low, or
    high."""
    flat, stacked, below = _FLAT * size, baseline - _STACKED * size, baseline - 0.04 * size
    raised, low, lowered = baseline + _RAISED * size, baseline + _LOW * size, baseline + _LOWERED * size
    for _, bottom, _, top in runs:
        if bottom < stacked:
            return True
        if top - bottom >= flat and (bottom > raised or (low < top < lowered and bottom < below)):
            return True
    return False


def _height(box: _Box) -> tuple[float, float]:
    return round(box[1], 1), round(box[3], 1)


def _clean(text: str) -> str:
    """The text without what nobody sees, and with halves of characters put together."""
    if not text.isascii():
        if _HALVES.search(text):
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        text = without_invisible(text)
    if not text.isprintable():
        text = _CONTROL.sub("", text)
    return " ".join(text.split())
