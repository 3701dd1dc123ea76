"""DOCX: paragraphs, headings, lists and tables in the order of the file, as Markdown.

Headers, footers, comments and deleted text are left out; inserted text, content controls and text boxes are read.
"""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

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
    """One document; its title is the paragraph in the style Title, else the first level-1 heading, else the stem.

    Raises:
        Unreadable: damaged, encrypted, without text, or beyond a limit.
    """
    _check_archive(data, settings.limits)
    import docx
    from docx.opc.exceptions import PackageNotFoundError
    from lxml.etree import XMLSyntaxError

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
    """Refuse a bomb before anything of it is unpacked; `zipfile` never unpacks more than a part declares.

    Raises:
        Unreadable: no zip archive, encrypted, or larger unpacked than the limits allow.
    """
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
    """Writes the body of a document block by block."""

    def __init__(self, file: Any, settings: ReadSettings) -> None:
        self.file = file
        self.out = MarkdownText(settings.limits.characters)
        self.title: str | None = None
        self._styles: dict[str | None, str] = {}
        """Name of each paragraph style by its id: python-docx looks it up in the whole list every time."""

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
        rows = [[_cell_text(cell) for cell in row.iter(_W + "tc") if _row_of(cell) is row] for row in _rows(element)]
        if rows and all(len(row) == 1 for row in rows):  # a frame around text
            for row in rows:
                self.out.paragraph(row[0])
        else:
            first = next(iter(_rows(element)), None)
            has_header = first is not None and first.find(f"{_W}trPr/{_W}tblHeader") is not None
            self.out.table(rows, has_header)

    def _style(self, element: Any) -> str:
        """The name of a paragraph's style in English, as Word stores it, or an empty one."""
        found = element.find(f"{_W}pPr/{_W}pStyle")
        identity = found.get(_W + "val") if found is not None else None
        if not self._styles:
            self._styles[None] = ""
            for style in self.file.styles.element.iter(_W + "style"):
                name = style.find(_W + "name")
                if name is not None:
                    self._styles[style.get(_W + "styleId")] = name.get(_W + "val") or ""
        return self._styles.get(identity, "")


def _rows(table: Any) -> list[Any]:
    """The rows of a table, those of tables inside it left out."""
    return [row for row in table.iter(_W + "tr") if _nearest(row, "tbl") is table]


def _row_of(cell: Any) -> Any:
    return _nearest(cell, "tr")


def _nearest(element: Any, tag: str) -> Any:
    return next(element.iterancestors(_W + tag), None)


def _cell_text(cell: Any) -> str:
    """The text of a cell in one line; what is in tables inside it too."""
    return " ".join(" ".join(_text(paragraph).split()) for paragraph in cell.iter(_W + "p"))


def _text(paragraph: Any) -> str:
    """All visible text of a paragraph: of links, fields, insertions and controls too, which `Paragraph.text` lacks."""
    parts: list[str] = []
    for node in paragraph.iter(_W + "t", _W + "tab", _W + "br", _W + "cr", _W + "noBreakHyphen"):
        if _nearest(node, "p") is not paragraph and node.tag == _W + "t":
            parts.append(" ")  # of a text box anchored here
        if any(True for _ in node.iterancestors(_FALLBACK)):  # says again what stands beside it
            continue
        kind = node.tag.removeprefix(_W)
        if kind == "tab" and node.getparent().tag == _W + "tabs":  # where tabs stop, not a tab
            continue
        parts.append(node.text or "" if kind == "t" else {"tab": "\t", "noBreakHyphen": "-"}.get(kind, "\n"))
    return "".join(parts)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
