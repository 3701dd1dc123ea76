"""The characters of a PDF page as PDFium finds them: their codes, places, sizes, weights, and whether they are seen.

All places are upright: where text runs upwards, downwards or upside down, its page is turned.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import pypdfium2.raw as raw

from index.documents.formats.pdf.accents import with_accents

_BOLD = re.compile(rb"bold|black|heavy|semib|demi|cmbx|sfbx", re.I)

_INVISIBLE = 3
"""Render mode of text that is neither filled nor stroked."""

_COVERS = 0.5
"""A picture that covers this share of a page is a scan, and invisible text on it was recognised by a program."""


class Box(NamedTuple):
    """A rectangle on an upright page, in points; y grows upwards."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, boxes: Sequence[Box]) -> Box:
        lefts, bottoms, rights, tops = zip(*boxes, strict=True)
        return cls(min(lefts), min(bottoms), max(rights), max(tops))

    def shares_column(self, other: Box) -> bool:
        """Whether some vertical line crosses both."""
        return self.left < other.right and other.left < self.right

    def is_above(self, other: Box) -> bool:
        return self.bottom >= other.top - 1.0

    def turned(self, quarter: int) -> Box:
        """The box on the upright page, if text runs in this direction: quarter turns, counterclockwise."""
        if quarter == 0:
            return self
        (left, bottom), (right, top) = _turned(self.left, self.bottom, quarter), _turned(self.right, self.top, quarter)
        return Box(min(left, right), min(bottom, top), max(left, right), max(bottom, top))


class PageCharacters:
    """The characters of one page; a character is named by its place in `text`.

    Attributes:
        text: each character at its own place; one beyond the first plane may be two halves.
        quarter: direction in which the text that is asked for runs, in quarter turns, counterclockwise.
    """

    def __init__(self, page: Any) -> None:
        self._page = page
        self._text_page = page.get_textpage()
        self._handle = self._text_page.raw
        self._is_scan: bool | None = None
        # Arrays instead of structures and single numbers: a slice reads all of their values at once.
        self._floats, self._values = (ctypes.c_float * 4)(), (ctypes.c_double * 4)()
        self._rectangle = ctypes.cast(self._floats, ctypes.POINTER(raw.FS_RECTF))
        self._references = [ctypes.byref(ctypes.c_double.from_buffer(self._values, 8 * place)) for place in range(4)]
        self._matrix = raw.FS_MATRIX()
        self._matrix_reference = ctypes.byref(self._matrix)
        self._name, self._flags = ctypes.create_string_buffer(64), ctypes.c_int()
        self.quarter = 0
        self.text = with_accents(_text(self._handle), self.box)

    @cached_property
    def may_hide_text(self) -> bool:
        """Whether some text may be invisible: False only if every text of the page was looked at and is none."""
        return _may_hide_text(self._page.raw, len(self.text))

    def close(self) -> None:
        self._text_page.close()

    def direction(self, place: int) -> int | None:
        """Quarter turns, counterclockwise, of the direction in which a character's line runs; None if it is slanted."""
        if not raw.FPDFText_GetMatrix(self._handle, place, self._matrix_reference):
            return 0
        a, b = self._matrix.a, self._matrix.b
        if b == 0 and a > 0:  # nearly all text
            return 0
        quarters = math.atan2(b, a) / (math.pi / 2)
        return round(quarters) % 4 if abs(quarters - round(quarters)) < 0.1 else None

    def box(self, place: int) -> tuple[float, float, float, float]:
        """Left, bottom, right and top. All characters of a font and size on a baseline have one bottom and one top."""
        raw.FPDFText_GetLooseCharBox(self._handle, place, self._rectangle)
        left, top, right, bottom = self._floats[:]
        if self.quarter == 0:
            return left, bottom, right, top
        return Box(left, bottom, right, top).turned(self.quarter)

    def runs(self, start: int, end: int) -> list[Box]:
        """The boxes of what was drawn at one go each, in one font and size: a word, a part of a line, or a line."""
        runs = []
        for number in range(raw.FPDFText_CountRects(self._handle, start, end - start)):
            raw.FPDFText_GetRect(self._handle, number, *self._references)
            left, top, right, bottom = self._values[:]
            runs.append(Box(left, bottom, right, top))
        return runs if self.quarter == 0 else [run.turned(self.quarter) for run in runs]

    def baseline(self, place: int) -> float:
        """The height on which a character stands."""
        raw.FPDFText_GetCharOrigin(self._handle, place, self._references[0], self._references[1])
        x, y, *_ = self._values
        return y if self.quarter == 0 else _turned(x, y, self.quarter)[1]

    def size(self, place: int) -> float:
        """The type size in points; by the height of the character where a font's own measure makes no sense."""
        raw.FPDFText_GetMatrix(self._handle, place, self._matrix_reference)
        size = raw.FPDFText_GetFontSize(self._handle, place) * math.hypot(self._matrix.c, self._matrix.d)
        if 2 <= size <= 200:
            return float(size)
        raw.FPDFText_GetCharBox(self._handle, place, *self._references)
        left, right, bottom, top = self._values
        return max(1.3 * min(abs(top - bottom), 3 * abs(right - left)), 1.0)

    def is_bold(self, place: int) -> bool:
        """Whether the name of the font says so."""
        room = len(self._name)
        length = raw.FPDFText_GetFontInfo(self._handle, place, self._name, room, ctypes.byref(self._flags))
        return 0 < length <= room and _is_bold(self._name.value)

    def is_shown(self, place: int) -> bool:
        """Whether a reader sees the character, or it is the recognised text of a scan."""
        drawn_by = raw.FPDFText_GetTextObject(self._handle, place)
        if not drawn_by or raw.FPDFTextObj_GetTextRenderMode(drawn_by) != _INVISIBLE:
            return True
        if self._is_scan is None:
            self._is_scan = _is_scan(self._page)
        return self._is_scan


def _text(handle: Any) -> str:
    length = raw.FPDFText_CountChars(handle)
    if length <= 0:
        return ""
    codes = (ctypes.c_ushort * (length + 1))()
    if raw.FPDFText_GetText(handle, 0, length, codes) == length + 1:  # in one call, unless PDFium leaves some out
        text = bytes(codes)[: 2 * length].decode("utf-16-le", "surrogatepass")
        return text if len(text) == length else "".join(map(chr, codes[:length]))
    # Letters of formulas lie beyond the first plane, and the call above leaves them out.
    return "".join(chr(min(raw.FPDFText_GetUnicode(handle, place), 0x10FFFF)) for place in range(length))


@lru_cache(maxsize=1024)
def _is_bold(font: bytes) -> bool:
    return _BOLD.search(font) is not None


def _turned(x: float, y: float, quarter: int) -> tuple[float, float]:
    """A point of a page on which text runs in this direction, once the page is turned upright."""
    if quarter == 0:
        return x, y
    if quarter == 1:
        return y, -x
    return (-x, -y) if quarter == 2 else (-y, x)


def _may_hide_text(page: Any, characters: int) -> bool:
    """Whether a text of the page may be invisible; True if asking each of its objects would take longer than asking
    for each word."""
    number = raw.FPDFPage_CountObjects(page)
    if number > characters:
        return True
    for place in range(number):
        drawn = raw.FPDFPage_GetObject(page, place)
        mode = raw.FPDFTextObj_GetTextRenderMode(drawn)
        if mode == _INVISIBLE or (mode < 0 and raw.FPDFPageObj_GetType(drawn) == raw.FPDF_PAGEOBJ_FORM):
            return True
    return False


def _is_scan(page: Any) -> bool:
    """Whether a picture covers most of the page."""
    width, height = page.get_size()
    for picture in page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE,), max_depth=3):
        left, bottom, right, top = picture.get_bounds()
        if (right - left) * (top - bottom) >= _COVERS * width * height:
            return True
    return False
