"""DOCX: paragraphs, headings, lists and tables in the order of the file, as Markdown.

Headers, footers, comments and deleted text are left out; inserted text, content controls and text boxes are read.
"""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

import docx
from docx.opc.exceptions import PackageNotFoundError
from lxml.etree import XMLSyntaxError

from index.documents.document import Document, Skipped
from index.documents.formats.blocks import MarkdownText
from index.documents.formats.settings import Limits, ReadSettings, Unreadable

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_TRANSPARENT = frozenset(_W + tag for tag in ("sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag"))
_HEADING = re.compile(r"heading (\d)$", re.IGNORECASE)
_RATIO_FROM = 2**20
_MOST_PARTS = 10_000


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document; its title is the paragraph of style Title, else the first level-1 heading, else the file's stem.

    Raises:
        Unreadable: the file is damaged, encrypted, without text, or beyond a limit.
    """
    _check_archive(data, settings.limits)
    try:
        file = docx.Document(io.BytesIO(data))
        body = file.element.body
    except (PackageNotFoundError, XMLSyntaxError, KeyError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise Unreadable(f"not a readable DOCX file ({_first_line(error)})") from None
    writer = _Writer(file, settings)
    writer.write(body)
    if not writer.out.text.strip():
        raise Unreadable("no text")
    return [Document.of(name, writer.out.text, title=writer.title, is_markdown=True)]


def _check_archive(data: bytes, limits: Limits) -> None:
    """Refuse a zip bomb before any of it is unpacked; `zipfile` never unpacks more than a part declares."""
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise Unreadable("encrypted, or an old .doc file; save it as DOCX without a password")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError) as error:
        raise Unreadable(f"not a readable DOCX file ({_first_line(error)})") from None
    if len(parts) > _MOST_PARTS:
        raise Unreadable(f"{len(parts)} parts, more than {_MOST_PARTS}")
    total = sum(part.file_size for part in parts)
    if total > limits.expanded_bytes:
        raise Unreadable(f"{total} bytes unpacked, more than {limits.expanded_bytes}")
    if total > _RATIO_FROM and total > limits.expansion_ratio * len(data):
        raise Unreadable(f"unpacks to {total / len(data):.0f} times its size, more than {limits.expansion_ratio:g}")


class _Writer:
    """Writes the body of a document as Markdown, block by block."""

    def __init__(self, file: Any, settings: ReadSettings) -> None:
        self.out = MarkdownText(settings.limits.characters)
        self.title: str | None = None
        self._file = file
        self._styles: dict[str | None, str] = {}
        """Name of each paragraph style by its id; python-docx searches the whole list for every paragraph."""

    def write(self, parent: Any) -> None:
        for element in parent:
            if element.tag == _W + "p":
                self._paragraph(element)
            elif element.tag == _W + "tbl":
                self._table(element)
            elif element.tag in _TRANSPARENT:
                self.write(element)

    def _paragraph(self, element: Any) -> None:
        text = _text(element)
        style = self._style(element)
        heading = _HEADING.match(style)
        if not text.strip():
            return
        if style.lower() == "title" and self.title is None:
            self.title = " ".join(text.split())
            self.out.heading(1, text)
        elif heading is not None:
            self.out.heading(int(heading.group(1)), text)
        elif element.find(f"{_W}pPr/{_W}numPr") is not None or style.lower().startswith("list "):
            level = element.find(f"{_W}pPr/{_W}numPr/{_W}ilvl")
            depth = int(level.get(_W + "val", "0")) if level is not None else 0
            self.out.item("-", text, "  " * min(max(depth, 0), 8))
        else:
            self.out.paragraph(text)

    def _table(self, element: Any) -> None:
        # Rows and cells of tables inside this one belong to the cell that holds them.
        rows = [row for row in element.iter(_W + "tr") if _nearest(row, "tbl") is element]
        texts = [[_cell_text(cell) for cell in row.iter(_W + "tc") if _nearest(cell, "tr") is row] for row in rows]
        if all(len(cells) == 1 for cells in texts):  # a frame around text
            for cells in texts:
                self.out.paragraph(cells[0])
        else:
            self.out.table(texts, has_header=rows[0].find(f"{_W}trPr/{_W}tblHeader") is not None)

    def _style(self, element: Any) -> str:
        """The English name of a paragraph's style, as Word stores it; empty if it has none."""
        found = element.find(f"{_W}pPr/{_W}pStyle")
        identity = found.get(_W + "val") if found is not None else None
        if not self._styles:
            self._styles[None] = ""
            for style in self._file.styles.element.iter(_W + "style"):
                name = style.find(_W + "name")
                if name is not None:
                    self._styles[style.get(_W + "styleId")] = name.get(_W + "val") or ""
        return self._styles.get(identity, "")


def _nearest(element: Any, tag: str) -> Any:
    """The innermost element with this tag around another; None if there is none."""
    return next(element.iterancestors(_W + tag), None)


def _cell_text(cell: Any) -> str:
    """The text of a cell on one line, including tables inside it."""
    return " ".join(" ".join(_text(paragraph).split()) for paragraph in cell.iter(_W + "p"))


def _text(paragraph: Any) -> str:
    """All visible text, including links, fields, insertions and controls, which `Paragraph.text` lacks."""
    parts: list[str] = []
    for node in paragraph.iter(_W + "t", _W + "tab", _W + "br", _W + "cr", _W + "noBreakHyphen"):
        if _nearest(node, "p") is not paragraph and node.tag == _W + "t":
            parts.append(" ")  # before the text of a text box anchored here
        if any(True for _ in node.iterancestors(_FALLBACK)):  # repeats the alternative beside it
            continue
        kind = node.tag.removeprefix(_W)
        if kind == "tab" and node.getparent().tag == _W + "tabs":  # a tab stop, not a tab
            continue
        parts.append(node.text or "" if kind == "t" else {"tab": "\t", "noBreakHyphen": "-"}.get(kind, "\n"))
    return "".join(parts)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
