"""Workbooks and books, made with what they hold in sight."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import openpyxl
from openpyxl.workbook import Workbook


def workbook(sheets: Mapping[str, Sequence[Sequence[Any]]]) -> Workbook:
    """A workbook with these rows on these sheets, to be changed further."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    return book


def saved(book: Workbook) -> bytes:
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
)
BOOK = (
    '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    "<metadata>{metadata}</metadata><manifest>{items}</manifest><spine{toc}>{order}</spine></package>"
)
PAGE = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{name}</title></head><body>{body}</body></html>'


def epub(
    chapters: Mapping[str, str],
    metadata: str = "<dc:title>Bees</dc:title>",
    order: Sequence[str] | None = None,
    contents: Sequence[tuple[str, str]] = (),
    extra: Mapping[str, bytes] | None = None,
    ncx: bool = False,
) -> bytes:
    """An EPUB file.

    Args:
        chapters: the body of each page, by its name.
        order: names of the pages in reading order; None: as they are.
        contents: entries of the table of contents: name of a page, and the text.
        ncx: whether the table of contents is that of EPUB 2.
    """
    page = '<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>'
    items = "".join(page.format(name=name) for name in chapters)
    files = {f"OEBPS/{name}": PAGE.format(name=name, body=body).encode() for name, body in chapters.items()}
    spine = list(order if order is not None else chapters)
    if contents and ncx:
        items += '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
        points = "".join(
            f'<navPoint><navLabel><text>{text}</text></navLabel><content src="{name}"/></navPoint>'
            for name, text in contents
        )
        files["OEBPS/toc.ncx"] = f'<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/">{points}</ncx>'.encode()
    elif contents:
        items += '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
        links = "".join(f'<li><a href="{name}">{text}</a></li>' for name, text in contents)
        files["OEBPS/nav.xhtml"] = PAGE.format(name="Contents", body=f"<nav><ol>{links}</ol></nav>").encode()
        spine.insert(0, "nav")
    references = "".join(f'<itemref idref="{name}"/>' for name in spine)
    toc = ' toc="ncx"' if ncx else ""
    files["OEBPS/book.opf"] = BOOK.format(metadata=metadata, items=items, order=references, toc=toc).encode()
    files["META-INF/container.xml"] = CONTAINER.encode()
    files |= extra or {}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()
