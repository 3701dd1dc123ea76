"""Reads pictures of pages by character recognition: tesseract's program, through pytesseract.

Knows pictures of pages and the lines on them; which pages are recognised, and what becomes of their lines, is decided
elsewhere. Recognised lines have the same form as those of a page's own text, so that everything after is the same.
"""

from __future__ import annotations

import json
import math
import os
import re
import statistics
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw

from index.documents.formats.blocks import without_invisible
from index.documents.formats.pdf.characters import Box
from index.documents.formats.pdf.lines import HYPHEN, Line, PageLines
from index.documents.formats.settings import OcrSettings, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

_DPI = 300
"""Dots per inch; tesseract's manual asks for at least as many."""
_MOST_PIXELS = 20_000_000
"""Larger pages, A2 and posters, are drawn with a lower resolution: an A3 page has 17 million at 300 dpi."""

_ONE_COLOUR = 8
"""Difference of the darkest and the lightest of 256 shades in a picture of nothing."""

_LARGE_DRAWING = 100
"""Lines and areas on a page, from which on it is taken for one that shows something."""

_MOST_AT_ONCE = 8
"""Pages that are recognised at the same time, if there are as many processors."""

_GAP = 1.5
"""Space between words, in type sizes, above which they are pieces of their own. It is more than in `lines`: tesseract
has divided columns already, and what is left are cells, and wide spaces of justified lines and after numbers."""

_DOUBTFUL = 0.6
"""Mean confidence of its words below which a page may lie on its side: pages that do have 0.4 (benchmarks/ocr.py)."""

_TYPE_SIZE = 1.09
"""Type sizes, compared with the height that tesseract measures: 9.1 for 10 points on a page of Debian Edu's manual."""
_SAME_SIZE = 0.12
"""By how much measured heights of one type differ: 8.2 to 9.8 on that page."""


_VALUES = re.compile(r"(bbox|baseline|x_size|x_wconf) ([-\d. ]+)")
_DIVIDED_END = re.compile(r"(?<=\w)-$")
_SAYS_SOMETHING = re.compile(r"\w")


class RecognisedPage(NamedTuple):
    """What was recognised on a page.

    Attributes:
        number: of the page, from 1.
        content: its lines; none if it shows no text.
        confidence: mean confidence of its words, from 0 to 1; None without any.
        failure: why it could not be recognised; empty if it was.
        is_blank: whether it is all of one colour.
    """

    number: int
    content: PageLines
    confidence: float | None
    failure: str = ""
    is_blank: bool = False

    @classmethod
    def failed(cls, number: int, reason: str) -> RecognisedPage:
        return cls(number, PageLines([], 0.0, 0.0), None, reason)

    @property
    def is_empty(self) -> bool:
        """Whether it shows something, but no word."""
        return not (self.content.lines or self.failure or self.is_blank)

    @property
    def is_final(self) -> bool:
        """Whether another try with the same settings would end in the same way; a busy machine may be too slow once."""
        return not self.failure

    def to_json(self) -> bytes:
        return json.dumps(self).encode()

    @classmethod
    def from_json(cls, content: bytes | str) -> RecognisedPage:
        """Restore what `to_json` wrote."""
        number, (lines, bottom, top), *more = json.loads(content)
        restored = [Line(text, Box(*box), *look) for text, box, *look in lines]
        return cls(number, PageLines(restored, bottom, top), *more)


def recognised_pages(
    data: bytes, numbers: Sequence[int], settings: OcrSettings, folder: str | None = None
) -> Iterator[RecognisedPage]:
    """Recognise pages of a PDF, as many at the same time as there are processors, and yield them in order.

    Args:
        folder: for the files in which pages are handed to tesseract; None: where temporary files are.
    """
    # Several threads cost five times as much for a page as one (benchmarks/RESULTS.md); pages share the processors.
    os.environ["OMP_THREAD_LIMIT"] = "1"
    tempfile.tempdir = folder
    at_once = min(_MOST_AT_ONCE, len(os.sched_getaffinity(0)))
    pdf = pdfium.PdfDocument(data)
    try:
        with ThreadPoolExecutor(at_once) as pool:
            begun: deque[Future[RecognisedPage]] = deque()
            for number in numbers:
                if len(begun) == at_once:
                    yield begun.popleft().result()
                begun.append(pool.submit(_recognised, number, _drawn(pdf, number), settings))
            while begun:
                yield begun.popleft().result()
    finally:
        tempfile.tempdir = None
        pdf.close()


def shows_nothing(page: Any) -> bool:
    """Whether a page without text is blank. Only what is quickly drawn is looked at: no pictures, no large drawings."""
    shown = list(islice(page.get_objects(), _LARGE_DRAWING))
    if len(shown) == _LARGE_DRAWING or any(item.type == raw.FPDF_PAGEOBJ_IMAGE for item in shown):
        return False
    small = page.render(scale=0.25, grayscale=True).to_numpy()
    return bool(small.max() == small.min())


@dataclass(frozen=True)
class _Drawn:
    """A page as a picture in shades of grey.

    Attributes:
        dpi: its resolution in dots per inch.
        is_whole: whether the pictures on it can be drawn; only asked of a page that shows nothing.
    """

    image: Image
    dpi: float
    is_blank: bool
    is_whole: bool


def _drawn(pdf: Any, number: int) -> _Drawn:
    page = pdf[number - 1]
    width, height = page.get_size()
    scale = min(_DPI / 72, math.sqrt(_MOST_PIXELS / (width * height)))
    image: Image = page.render(scale=scale, grayscale=True).to_pil()
    shades = np.asarray(image)
    is_blank = int(shades.max()) - int(shades.min()) <= _ONE_COLOUR
    is_whole = not is_blank or all(_can_be_drawn(item) for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE]))
    page.close()
    return _Drawn(image, 72 * scale, is_blank, is_whole)


def _can_be_drawn(picture: Any) -> bool:
    try:
        picture.get_bitmap().close()
    except pdfium.PdfiumError:
        return False
    return True


def _recognised(number: int, drawn: _Drawn, settings: OcrSettings) -> RecognisedPage:
    image, dpi = drawn.image, drawn.dpi
    if not drawn.is_whole:
        return RecognisedPage.failed(number, "its picture is damaged")
    if drawn.is_blank:
        return RecognisedPage(number, PageLines([], 0.0, 72 * image.height / dpi), None, is_blank=True)
    try:
        page = _read(number, image, dpi, settings)
        if page.confidence is not None and page.confidence < _DOUBTFUL:
            turned = _upright(image, dpi, settings)
            other = _read(number, turned, dpi, settings) if turned else page
            page = max(page, other, key=lambda item: item.confidence or 0.0)
    except RuntimeError as error:  # of tesseract's, and what the wrapper raises when its time is over
        return RecognisedPage.failed(number, _reason(error, settings))
    return page


def _reason(error: RuntimeError, settings: OcrSettings) -> str:
    if "timeout" in str(error):
        return f"it takes more than index.documents.ocr.seconds_per_page, {settings.seconds_per_page:g} seconds"
    return f"tesseract failed ({first_line(error)[:200]})"


def _read(number: int, image: Image, dpi: float, settings: OcrSettings) -> RecognisedPage:
    import pytesseract

    image.format = "PPM"  # the form in which it is handed over; PNG, the default, takes time to pack
    hocr = pytesseract.image_to_pdf_or_hocr(
        image, "+".join(settings.languages), f"--dpi {dpi:.0f}", extension="hocr", timeout=settings.seconds_per_page
    )
    return page_of_hocr(number, hocr, image.height, dpi)


def _upright(image: Image, dpi: float, settings: OcrSettings) -> Image | None:
    """The picture turned by quarters so that its text is upright; None if it is, or nobody can tell."""
    import pytesseract

    try:
        found = pytesseract.image_to_osd(
            image, config=f"--dpi {dpi:.0f}", output_type=pytesseract.Output.DICT, timeout=settings.seconds_per_page
        )
    except pytesseract.TesseractError:  # too few characters, or its data are not installed
        return None
    return image.rotate(-found["rotate"], expand=True) if found["rotate"] else None


def page_of_hocr(number: int, hocr: bytes, height: int, dpi: float) -> RecognisedPage:
    """What hOCR, the HTML of character recognition, says of a page.

    Args:
        height: of the picture in dots.
        dpi: its resolution, by which places become points.
    """
    from lxml import html

    lines: list[Line] = []
    confidences: list[float] = []
    found = list(_lines_of(html.fromstring(hocr, parser=html.HTMLParser(encoding="utf-8"))))
    usual = statistics.median([size for _, size, words in found for _ in words] or [0.0])
    for row, (values, measured, words) in enumerate(found):
        size = usual if abs(measured - usual) < _SAME_SIZE * usual else measured
        confidences += [word.confidence for word in words]
        left, _, _, bottom = values["bbox"]
        slope, offset = values.get("baseline", [0.0, 0.0])
        for piece in _pieces(words, _GAP * size):
            text = _DIVIDED_END.sub(HYPHEN, " ".join(word.text for word in piece))
            start, end = piece[0].left, piece[-1].right
            baseline = height - (bottom + offset + slope * ((start + end) / 2 - left))
            lines.append(Line.at(text, *(72 / dpi * value for value in (start, end, baseline, size)), row=row))
    confidence = round(statistics.fmean(confidences), 4) if confidences else None
    return RecognisedPage(number, PageLines(lines, 0.0, 72 / dpi * height), confidence)


class _Word(NamedTuple):
    """A word, its place in dots, and its confidence from 0 to 1."""

    text: str
    left: float
    right: float
    confidence: float


def _lines_of(page: Any) -> Iterator[tuple[dict[str, list[float]], float, list[_Word]]]:
    """What is said of each line, its type size in dots, and its words."""
    for paragraph in page.iterfind(".//p[@class='ocr_par']"):
        lines = [(_values(line), [*_words_of(line)]) for line in paragraph.iterchildren("span")]
        # Sizes are measured on few letters, and differ from line to line where the type does not.
        size = _TYPE_SIZE * statistics.median([values["x_size"][0] for values, _ in lines])
        for values, words in lines:
            if _SAYS_SOMETHING.search("".join(word.text for word in words)):
                yield values, size, words


def _words_of(line: Any) -> Iterator[_Word]:
    for word in line.iterchildren("span"):
        if text := without_invisible(word.text_content()).strip():
            values = _values(word)
            yield _Word(text, values["bbox"][0], values["bbox"][2], values["x_wconf"][0] / 100)


def _values(element: Any) -> dict[str, list[float]]:
    """The named numbers in the title of an element."""
    return {name: [float(value) for value in values.split()] for name, values in _VALUES.findall(element.get("title"))}


def _pieces(words: Sequence[_Word], gap: float) -> Iterator[list[_Word]]:
    """The words of a line divided where more than this space is between two."""
    piece: list[_Word] = []
    for word in words:
        if piece and word.left - piece[-1].right > gap:
            yield piece
            piece = []
        piece.append(word)
    if piece:
        yield piece
