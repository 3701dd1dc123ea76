"""PPTX: the slides in their order, as Markdown; each is a section under its title, and a page of the document.

Left out are hidden slides and shapes, numbers, dates and footers of slides, struck text, and comments.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from index.documents.document import Document, Skipped
from index.documents.formats.blocks import Cell, MarkdownText
from index.documents.formats.drawings import FIGURES, description, write_figure
from index.documents.formats.office import MC, OFF, OfficeFile, R, number
from index.documents.formats.pptx_text import A, P, ShapeText, paragraph_text, place_of
from index.documents.formats.settings import ReadSettings, Unreadable, refuse_long

_TITLES = frozenset(["title", "ctrTitle"])
_REPEATED = frozenset(["dt", "ftr", "sldNum", "hdr"])
"""Places whose text repeats on every slide."""
_TITLE_SLIDE, _SECTION_SLIDE = "title", "secHead"
"""Layouts of slides that begin the presentation, and a section of it."""
_BETWEEN = "\n\n"


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document; its title is that of a title slide at its beginning, else the file's stem.

    Raises:
        Unreadable: the file is damaged, encrypted, without text, or beyond a limit.
    """
    file = OfficeFile(data, settings.limits, "PPTX")
    root = file.part(file.main)
    if root is None or root.tag != P + "presentation":
        raise file.damaged("it holds no presentation")
    presentation = _Presentation(file, root, settings.limits.characters)
    presentation.write()
    if not presentation.text:
        raise Unreadable("no text")
    starts = tuple(min(start, len(presentation.text)) for start in presentation.starts)
    return [Document.of(name, presentation.text, title=presentation.title, page_starts=starts, is_markdown=True)]


class _Presentation:
    """Writes the slides of a presentation one after the other."""

    def __init__(self, file: OfficeFile, root: Any, most_characters: int) -> None:
        self.text = ""
        self.title: str | None = None
        self.starts: list[int] = []
        """Offset of each slide in the text; that of the next one for a slide without text."""
        self._file = file
        self._root = root
        self._most = most_characters
        self._is_in_section = False
        self._layouts: dict[str, tuple[ShapeText, str]] = {}

    def write(self) -> None:
        texts: list[str] = []
        offset = 0
        relations = self._file.relations(self._file.main)
        for place, slide in enumerate(self._root.iterfind(f"{P}sldIdLst/{P}sldId"), start=1):
            self.starts.append(offset)
            relation = relations.get(slide.get(R + "id", ""))
            text = self._slide(relation.target, place) if relation is not None and not relation.is_external else ""
            if text:
                texts.append(text)
                offset += len(text) + len(_BETWEEN)
            refuse_long(offset, self._most)
        self.text = _BETWEEN.join(texts)

    def _slide(self, part: str, place: int) -> str:
        """The text of the slide at this place, from 1; empty if it is hidden, or has none."""
        root = self._file.part(part)
        if root is None or root.get("show", "1") in OFF:
            return ""
        shape_text, layout = self._layout(self._file.related(part, "slideLayout") or "")
        tree = root.find(f"{P}cSld/{P}spTree")
        shapes = list(_shapes(tree)) if tree is not None else []
        heads = (shape for shape in shapes if place_of(shape).kind in _TITLES and shape_text.lines(shape))
        head = next(heads, None)
        title = " ".join(line.text for line in shape_text.lines(head)) if head is not None else ""
        content = _Content(self._file, part, shape_text, self._most)
        for shape in shapes:
            if shape is not head:
                content.write(shape)
        content.write_notes()
        body = content.out.text
        if not title and not body:
            return ""
        level = self._level(layout, title, is_first=not any(self.starts))
        heading = MarkdownText(self._most)
        heading.heading(level, title or f"Slide {place}")
        return _BETWEEN.join(filter(None, (heading.text, body)))

    def _level(self, layout: str, title: str, is_first: bool) -> int:
        """The level of a slide's title: slides belong to the section whose slide comes before them, if there is one."""
        if layout == _TITLE_SLIDE and title and is_first:
            self.title = " ".join(title.split())
            return 1
        if layout == _SECTION_SLIDE and title:
            self._is_in_section = True
            return 2
        return 3 if self._is_in_section else 2

    def _layout(self, part: str) -> tuple[ShapeText, str]:
        """What reads the shapes on slides of a layout, and the kind of the layout."""
        if part not in self._layouts:
            layout = self._file.part(part) if part else None
            master = self._file.related(part, "slideMaster") if part else None
            shape_text = ShapeText(layout, self._file.part(master) if master else None)
            self._layouts[part] = shape_text, layout.get("type", "") if layout is not None else ""
        return self._layouts[part]


class _Content:
    """Writes what stands on one slide below its title."""

    def __init__(self, file: OfficeFile, part: str, shape_text: ShapeText, most_characters: int) -> None:
        self.out = MarkdownText(most_characters)
        self._file = file
        self._part = part
        self._shape_text = shape_text

    def write(self, shape: Any) -> None:
        """Write a shape, a table, a chart, a diagram, or the description of a picture."""
        self.out.end_list()
        if shape.tag == P + "pic":
            self.out.paragraph(description(shape.find(f"{P}nvPicPr/{P}cNvPr")))
        elif shape.tag == P + "graphicFrame":
            self._write_frame(shape)
        elif place_of(shape).kind not in _REPEATED:
            for is_list, lines in groupby(self._shape_text.lines(shape), key=lambda line: bool(line.marker)):
                if not is_list:  # lines of one shape belong together, however short
                    self.out.paragraph("\n".join(line.text for line in lines))
                    continue
                for line in lines:
                    self.out.item(line.marker, line.text, "  " * line.depth)

    def write_notes(self) -> None:
        """Write the speaker's notes, as one paragraph, so that they stay with their slide."""
        part = self._file.related(self._part, "notesSlide")
        root = self._file.part(part) if part is not None else None
        bodies = (shape for shape in root.iter(P + "sp") if place_of(shape).kind == "body") if root is not None else ()
        texts = [line.text for shape in bodies for line in self._shape_text.lines(shape)]
        if texts:
            self.out.paragraph("\n".join(("Notes: " + texts[0], *texts[1:])))

    def _write_frame(self, frame: Any) -> None:
        for found in frame.iter(A + "tbl", *FIGURES):
            if found.tag == A + "tbl":
                self._write_table(found)
            else:
                write_figure(self.out, self._file, self._part, found)

    def _write_table(self, table: Any) -> None:
        rows = [[_cell(cell) for cell in row.iterfind(A + "tc") if _begins(cell)] for row in table.iterfind(A + "tr")]
        properties = table.find(A + "tblPr")
        has_header = properties is not None and properties.get("firstRow", "0") not in OFF
        self.out.spanned_table(rows, max((cell.rows for cell in rows[0]), default=1) if has_header and rows else 0)


def _begins(cell: Any) -> bool:
    """Whether a cell is one of its own, and not a part of one that spans several."""
    return all(cell.get(name, "0") in OFF for name in ("hMerge", "vMerge"))


def _cell(cell: Any) -> Cell:
    paragraphs = (paragraph_text(paragraph) for paragraph in cell.iterfind(f"{A}txBody/{A}p"))
    columns, rows = (max(number(cell.get(name), 1), 1) for name in ("gridSpan", "rowSpan"))
    return Cell("\n".join(paragraphs), columns, rows)


def _shapes(tree: Any) -> Iterator[Any]:
    """The shapes on a slide that are shown, also those in groups."""
    for shape in tree:
        properties = shape[0].find(P + "cNvPr") if len(shape) else None
        if properties is not None and properties.get("hidden", "0") not in OFF:
            continue
        if shape.tag == P + "grpSp":
            yield from _shapes(shape)
        elif shape.tag == MC + "AlternateContent":
            forms = (list(_shapes(form)) for form in shape.iterchildren(MC + "Choice", MC + "Fallback"))
            yield from next(filter(None, forms), ())
        elif shape.tag in (P + "sp", P + "graphicFrame", P + "pic"):
            yield shape
