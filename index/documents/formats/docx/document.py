"""DOCX: headings, paragraphs, lists, tables and notes in the order of the file, as Markdown.

Left out is what a reader of the current text does not see as part of it: deleted, moved, struck and hidden text, tables
of contents, comments, and headers and footers, which repeat on every page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from index.documents.document import Document, Skipped
from index.documents.formats.blocks import MarkdownText
from index.documents.formats.docx.inline import GONE, Inline, InlineReader, Notes, is_table_of_contents
from index.documents.formats.docx.numbering import BULLET, Numbering
from index.documents.formats.docx.styles import Styles, W, is_on
from index.documents.formats.docx.tables import CellText, count_header_rows, read_rows, rows_of
from index.documents.formats.drawings import write_figure
from index.documents.formats.formulas import M, formula
from index.documents.formats.office import MC, OfficeFile
from index.documents.formats.settings import ReadSettings, Unreadable

_LONGEST_HEADING = 300
"""Characters above which a paragraph in a style for headings is a clause, not a heading: contracts are set that way."""
_DEEPEST_INDENT = 8
_NOTHING = Inline()
_BLOCKS = frozenset([W + "p", W + "tbl", M + "oMathPara", M + "oMath"])


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document; its title is the paragraph of style Title, else the first level-1 heading, else the file's stem.

    Raises:
        Unreadable: the file is damaged, encrypted, without text, or beyond a limit.
    """
    file = OfficeFile(data, settings.limits, "DOCX")
    root = file.part(file.main)
    body = root.find(W + "body") if root is not None else None
    if body is None:
        raise file.damaged("it holds no text document")
    writer = _Writer(file, settings)
    writer.write_document(body)
    if not writer.out.text.strip():
        is_elsewhere = body.find(f".//{W}altChunk") is not None
        raise Unreadable(
            "its text is in files inside it; save it anew in a word processor" if is_elsewhere else "no text"
        )
    return [Document.of(name, writer.out.text, title=writer.title, is_markdown=True)]


@dataclass(frozen=True, slots=True)
class _Paragraph:
    """A paragraph that is part of the text.

    Attributes:
        marker: what numbers it, `BULLET` for an item without a number; empty if it is not in a list.
        level: its level as a heading; None if it is none.
        depth: its level in its list, from 0.
    """

    inline: Inline
    marker: str = ""
    level: int | None = None
    depth: int = 0
    is_title: bool = False

    @property
    def numbered(self) -> str:
        """Its text after its number, if it has one."""
        return f"{self.marker} {self.inline.text}" if self.marker not in ("", BULLET) else self.inline.text


class _Writer:
    """Writes the blocks of a document as Markdown."""

    def __init__(self, file: OfficeFile, settings: ReadSettings) -> None:
        def part(kind: str) -> Any | None:
            name = file.related(file.main, kind)
            return file.part(name) if name is not None else None

        self._file = file
        self.out = MarkdownText(settings.limits.characters)
        self.title: str | None = None
        self._styles = Styles(part("styles"))
        self._numbering = Numbering(part("numbering"), self._styles)
        self._notes = Notes(part("footnotes"), part("endnotes"))
        self._reader: InlineReader
        self._held = _NOTHING
        """Text that belongs to the paragraph that follows: its large first letter, or text whose end was deleted."""
        self._reads_headings = True

    def write_document(self, body: Any) -> None:
        self._reader = self._reader_of(body, self._file.main)
        self._write(body)
        self._release()

    def _reader_of(self, root: Any, part: str) -> InlineReader:
        return InlineReader(root, self._styles, self._notes, self._file.relations(part))

    def _write(self, parent: Any) -> None:
        """Write the blocks below an element."""
        for block in _blocks(parent):
            if block.tag == W + "tbl":
                self._release()
                self._write_table(block)
            elif block.tag == W + "p":
                if (paragraph := self._paragraph(block)) is not None:
                    self._write_paragraph(paragraph)
            else:
                self.out.paragraph(formula(block))

    def _paragraph(self, element: Any) -> _Paragraph | None:
        """Read a paragraph; None if it is part of a table of contents, or continued by the next one."""
        properties = element.find(W + "pPr")
        style = self._styles.of_paragraph(properties)
        inline = self._reader.read(element, style.identity)
        if self._held is not _NOTHING:
            inline, self._held = self._held + inline, _NOTHING
        if properties is not None and _belongs_to_next(properties):
            self._held = inline
            return None
        if style.is_contents:
            return None
        place = self._numbering.place(properties, style.identity)
        if place is not None and not inline.text.strip() and _has_hidden_end(properties):
            place = None  # a paragraph that is hidden as a whole is not counted
        marker = BULLET if place is None and style.is_list else ""
        is_heading = self._reads_headings and len(inline.text) <= _LONGEST_HEADING
        return _Paragraph(
            inline,
            marker if place is None else self._numbering.marker(*place),
            self._styles.heading_level(properties) if is_heading else None,
            0 if place is None else place[1],
            style.is_title,
        )

    def _write_paragraph(self, paragraph: _Paragraph) -> None:
        text = paragraph.inline.text
        if text.strip():
            if paragraph.is_title:
                self.title = self.title or " ".join(text.split())
                self.out.heading(1, paragraph.numbered)
            elif paragraph.level is not None:
                # A title is above all headings, so "heading 1" is one level below it.
                self.out.heading(paragraph.level + (self.title is not None), paragraph.numbered)
            elif paragraph.marker:
                self.out.item(paragraph.marker, text, "  " * min(paragraph.depth, _DEEPEST_INDENT))
            else:
                self.out.paragraph(text)
        for box in paragraph.inline.boxes:
            self._write_box(box)
        self._write_anchored(paragraph.inline)

    def _release(self) -> None:
        """Write text whose paragraph nothing continues."""
        held, self._held = self._held, _NOTHING
        self._write_paragraph(_Paragraph(held))

    def _write_box(self, box: Any) -> None:
        """Write the text of a box; its only heading applies to the box alone, so it is no heading of the document."""
        outer = self._reads_headings
        headings = [block for block in box.iter(W + "p") if self._is_heading(block)]
        self._reads_headings = outer and len(headings) > 1
        self._write(box)
        self._release()
        self._reads_headings = outer

    def _write_anchored(self, inline: Inline) -> None:
        """Write figures and notes below the block that holds and mentions them, so that they are read together."""
        for figure in inline.figures:
            write_figure(self.out, self._file, self._file.main, figure)
        for note in inline.notes:
            part = self._file.related(self._file.main, note.kind) or ""
            outer, self._reader = self._reader, self._reader_of(note.content, part)
            content = self._flat(note.content)
            self._reader = outer
            self.out.paragraph(f"{note.mark} {content.text.strip()}".strip())
            self._write_anchored(Inline(notes=content.notes))

    def _write_table(self, table: Any) -> None:
        rows = rows_of(table)
        if all(len(row) <= 1 for row in rows) or self._is_layout(rows):
            for cell in (cell for row in rows for cell in row):
                self._write(cell)
                self._release()
            return
        contents: list[Inline] = []

        def read_cell(cell: Any) -> CellText:
            content = self._flat(cell)
            contents.append(content)
            return CellText(content.text, content.is_bold)

        cells, is_bold = read_rows(rows, read_cell)
        self.out.spanned_table(cells, count_header_rows(table, cells, is_bold, self._styles))
        for content in contents:
            self._write_anchored(content)

    def _is_heading(self, paragraph: Any) -> bool:
        return self._styles.heading_level(paragraph.find(W + "pPr")) is not None

    def _is_layout(self, rows: list[list[Any]]) -> bool:
        """Whether a table arranges text on the page: one of its cells has text under a heading."""
        for cell in (cell for row in rows for cell in row):
            paragraphs = list(cell.iterchildren(W + "p"))
            if len(paragraphs) > 1 and any(self._is_heading(found) for found in paragraphs):
                return True
        return False

    def _flat(self, parent: Any) -> Inline:
        """The blocks below an element as lines, which have no structure but their numbers."""
        lines: list[Inline] = []
        for block in _blocks(parent):
            if block.tag == W + "tbl":
                rows = [[self._flat(cell) for cell in row] for row in rows_of(block)]
                text = "; ".join(", ".join(" ".join(cell.text.split()) for cell in row) for row in rows)
                lines.append(Inline(text))
                lines += (replace(cell, text="") for row in rows for cell in row)
            elif block.tag == W + "p":
                if (paragraph := self._paragraph(block)) is not None:
                    lines += self._flat_paragraph(paragraph)
            else:
                lines.append(Inline(formula(block)))
        lines.append(self._held)
        self._held = _NOTHING
        with_text = [line for line in lines if line.text.strip()]
        return Inline(
            "\n".join(line.text for line in with_text),
            all(line.is_bold for line in with_text),
            notes=tuple(note for line in lines for note in line.notes),
            figures=tuple(figure for line in lines for figure in line.figures),
        )

    def _flat_paragraph(self, paragraph: _Paragraph) -> Iterator[Inline]:
        inline = paragraph.inline
        marker = f"{paragraph.marker} " if paragraph.marker and inline.text.strip() else ""
        yield replace(inline, text=marker + inline.text)
        yield from (self._flat(box) for box in inline.boxes)


def _belongs_to_next(properties: Any) -> bool:
    """Whether a paragraph goes on in the next one: it is a large first letter, or its end was deleted."""
    frame, end = properties.find(W + "framePr"), properties.find(W + "rPr")
    if frame is not None and frame.get(W + "dropCap", "none") != "none":
        return True
    return end is not None and any(end.find(tag) is not None for tag in GONE)


def _has_hidden_end(properties: Any | None) -> bool:
    return properties is not None and is_on(properties.find(f"{W}rPr/{W}vanish"))


def _blocks(parent: Any) -> Iterator[Any]:
    """The paragraphs, tables and formulas of an element, also those inside controls and insertions."""
    for child in parent:
        if child.tag in _BLOCKS:
            yield child
        elif child.tag == MC + "AlternateContent":
            forms = (list(_blocks(form)) for form in child.iterchildren(MC + "Choice", MC + "Fallback"))
            yield from next(filter(None, forms), ())
        elif child.tag not in GONE and not is_table_of_contents(child):
            yield from _blocks(child)
