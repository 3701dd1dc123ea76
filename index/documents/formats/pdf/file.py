"""PDF: the text of each page in reading order, with headings, without running heads and feet.

This module puts the document together; `lines` reads a page's lines, `layout` orders them, and the other
modules named `pdf_` each answer for one question about them. Pages that cannot be read are named beside the document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from index.documents.document import Document, Skipped
from index.documents.formats.blocks import escaped
from index.documents.formats.pdf.annotations import opened_form, with_annotations
from index.documents.formats.pdf.headings import headings_of, named_by, outline_of
from index.documents.formats.pdf.hyphens import DividedWords
from index.documents.formats.pdf.layout import blocks_of_page, usual_size
from index.documents.formats.pdf.legibility import is_notice_of_dynamic_form
from index.documents.formats.pdf.lines import HYPHEN, Line, PageLines, page_lines
from index.documents.formats.pdf.recognition import RecognisedPage
from index.documents.formats.pdf.running import without_running_lines
from index.documents.formats.pdf.scanned import ScannedPages
from index.documents.formats.settings import Limits, ReadSettings, Unreadable, refuse_long

_FILE_NAME = r"\S+\.[a-z]\w{1,4}|.*\.(?:docx?|odt|indd|tex|dvi|pptx?|odp|xlsx?|ods|pdf|qxd|html?|rtf|eps|pub|cdr)"
_FILLED_IN = (
    r"(?:untitled|unbenannt|no title|kein titel|ohne titel|sans titre|sin título|title|titel|slide|folie|diapositive"
    r"|document|dokument|presentation|präsentation|présentation|powerpoint[ -]pr[aäé]sentation|powerpoint presentation"
    r"|book|mappe|sheet|layout|full page photo|print|default)"
)
_NO_TITLE = re.compile(
    rf"\W*(?:{_FILE_NAME}|{_FILLED_IN}[\s_-]*\d*|microsoft (?:word|powerpoint|excel|publisher)(?:\s*-\s.*)?)\W*", re.I
)
"""Titles that a program filled in: its own name, that of a file, or `Slide 1`."""

_INFORMATION = re.compile(rb"/Info\s*<<(.*?)>>\s*(?:/|>>)", re.DOTALL)
_TITLE = re.compile(rb"/Title\s*\(((?:\\.|[^\\()])*)\)", re.DOTALL)
_TRAILER_BYTES = 4096

_ENDS_A_SENTENCE = re.compile(r"[.!?:;…。！？][\"')\]”’»]*$")
_LIST_ITEM = re.compile(r"(?:[-*•‣–#]|\(?\w{1,3}[.)])\s")
_FULL_LINE = 0.85
"""A last line this long, compared with the longest of its paragraph, does not end it."""


def read(
    name: str, data: bytes, settings: ReadSettings, recognised: Sequence[RecognisedPage] | None = None
) -> list[Document | Skipped]:
    """One document if it has any text, and one `Skipped` if some of its pages cannot be read.

    The title is the one in the file's properties if its author gave one, else the first heading of the highest level,
    else the file's stem.

    Args:
        recognised: what character recognition read on the pages that `Skipped.scanned` names; None: it has not been
            tried.

    Raises:
        Unreadable: the file is damaged, encrypted, blank, or beyond a limit.
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
        outline = outline_of(pdf)
        pages = list(_pages(pdf, settings.limits))
        scanned = ScannedPages.among(pdf, pages)
        title = _title(pdf, data)
        is_dynamic = pdf.get_formtype() == raw.FORMTYPE_XFA_FULL
    finally:
        pdf.close()
    if is_notice_of_dynamic_form("\n".join(line.text for page in pages for line in page.lines), is_dynamic):
        raise Unreadable("a dynamic form (XFA), which other programs than Adobe's cannot show; print it to a new PDF")
    pages, metadata, faults = scanned.with_recognised(pages, recognised, settings.ocr)
    skipped = [Skipped(name, faults, scanned=scanned.numbers)] if faults else []
    if not any(page.lines for page in pages):
        if not faults:
            raise Unreadable(f"no text on {len(pages)} pages: they are blank")
        return [*skipped]
    texts, is_markdown = _texts(pages, outline)
    text, starts = _put_together(texts, DividedWords(texts))
    refuse_long(len(text), settings.limits.characters)
    document = Document.of(name, text, title=title, metadata=metadata, page_starts=starts, is_markdown=is_markdown)
    return [document, *skipped]


def _title(pdf: Any, data: bytes) -> str | None:
    """The title in the file's properties, if its author gave one."""
    title = pdf.get_metadata_dict().get("Title") or _title_of_trailer(data)
    title = " ".join(title.split())
    return title if title.isprintable() and not _NO_TITLE.fullmatch(title) else None


def _title_of_trailer(data: bytes) -> str:
    """The title where the properties stand in the trailer itself, which PDFium passes over."""
    information = _INFORMATION.search(data, max(len(data) - _TRAILER_BYTES, 0))
    title = _TITLE.search(information.group(1)) if information else None
    if title is None:
        return ""
    value = re.sub(rb"\\([()\\])", rb"\1", title.group(1))
    return (
        value.decode("utf-16", "replace")
        if value.startswith((b"\xfe\xff", b"\xff\xfe"))
        else value.decode("cp1252", "replace")
    )


def _pages(pdf: Any, limits: Limits) -> Iterator[PageLines]:
    """The pieces of lines of each page, fields and notes included."""
    length = 0
    with opened_form(pdf) as form:
        for number in range(len(pdf)):
            try:
                page = pdf[number]
                found = page_lines(page)
                if raw.FPDFPage_GetAnnotCount(page.raw):
                    found = found._replace(lines=with_annotations(page, form, found.lines))
                page.close()
            except pdfium.PdfiumError as error:
                raise Unreadable(f"page {number + 1} is damaged ({error})") from None
            length += sum(len(line.text) + 1 for line in found.lines)
            refuse_long(length, limits.characters)
            yield found


def _texts(pages: Sequence[PageLines], outline: Mapping[int, Mapping[str, int]]) -> tuple[list[str], bool]:
    """The text of each page, and whether it is Markdown: whether there are headings."""
    size = usual_size([[page.lines] for page in pages])
    kept, said = without_running_lines(pages, size)
    blocks = [blocks_of_page(page.lines) for page in kept]
    is_named = any(
        named_by(outline.get(number, {}), line)
        for number, page in enumerate(blocks)
        for block in page
        for line in block
    )
    by_look = {} if is_named else headings_of(blocks, outline)
    is_markdown = bool(outline or by_look)
    texts = [
        _page_text(page, outline.get(number, {}), by_look.get(number, {}), is_markdown)
        for number, page in enumerate(blocks)
    ]
    preamble = [escaped(text) if is_markdown else text for text in said]
    return ["\n\n".join(filter(None, [*preamble, texts[0]])), *texts[1:]], is_markdown


def _page_text(
    blocks: Sequence[Sequence[Line]], outline: Mapping[str, int], by_look: Mapping[int, int], is_markdown: bool
) -> str:
    texts = []
    for place, block in enumerate(blocks):
        if level := by_look.get(place):
            texts.append(f"{'#' * level} {' '.join(line.text for line in block)}")
            continue
        for level, lines in groupby(block, key=lambda line: named_by(outline, line)):
            if level:
                texts += [f"{'#' * min(level, 6)} {line.text.replace(HYPHEN, '-')}" for line in lines]
            else:
                text = "\n".join(line.text for line in lines)
                texts.append(escaped(text) if is_markdown else text)
    return "\n\n".join(text for text in texts if text)


def _put_together(pages: Sequence[str], words: DividedWords) -> tuple[str, tuple[int, ...]]:
    """The text of all pages, and where each begins in it. Words and sentences go on across the end of a page."""
    parts = []
    for page, following in zip(pages, [*pages[1:], ""], strict=True):
        divided = words.across(page, following) if page.endswith(HYPHEN) else None
        whole = words.joined(page if divided is None else divided)
        end = "" if not page or divided is not None else "\n" if _goes_on(whole, following) else "\n\n"
        parts.append(whole + end)
    text = "".join(parts).rstrip("\n")
    return text, tuple(min(start, len(text)) for start in accumulate(map(len, parts[:-1]), initial=0))


def _goes_on(page: str, following: str) -> bool:
    """Whether the last paragraph of a page goes on with the first of the next: it ends without a mark, and either its
    last line is full or the next begins in lower case."""
    last = page.rpartition("\n\n")[2]
    first = following.partition("\n")[0]
    if not first or last.startswith("#") or _ENDS_A_SENTENCE.search(last) or _LIST_ITEM.match(first):
        return False
    lines = last.split("\n")
    is_full = len(lines) > 1 and len(lines[-1]) >= _FULL_LINE * max(map(len, lines))
    return is_full or first.lstrip("(\"“«'")[:1].islower()
