"""The text inside paragraphs of a DOCX file: one walker, with one set of rules, for all places where runs stand.

What a reader sees as valid is read: insertions, links, controls, results of fields, formulas, symbols. What is deleted,
moved away, hidden or struck through is not, nor are the codes of fields and generated lists of contents. The walker
looks at nothing above a paragraph; text boxes and notes are handed over for the caller to write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

from index.documents.formats.blocks import footnote_mark
from index.documents.formats.counting import counted
from index.documents.formats.docx.fields import shown_without_result
from index.documents.formats.docx.styles import Look, Styles, W, value
from index.documents.formats.drawings import FIGURES, description
from index.documents.formats.formulas import M, formula
from index.documents.formats.html.links import unsaid_target
from index.documents.formats.office import MC, OFF, R, Relation
from index.documents.formats.runs import Run, joined
from index.documents.formats.symbols import CHECKED, UNCHECKED, shown, symbol

_WP = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_W14 = "{http://schemas.microsoft.com/office/word/2010/wordml}"

GONE = frozenset(W + tag for tag in ("del", "moveFrom"))
"""Elements around text that was deleted, or that now stands elsewhere."""

_LINK = re.compile(r'HYPERLINK\s+"([^"]+)"', re.IGNORECASE)
_KANA = re.compile(r"[\u3040-\u30ff]")
_NOT_READ = GONE | {MC + "Fallback"}
_PASSED_OVER = GONE | {W + tag for tag in ("pPr", "rPr", "sdtPr", "delText", "delInstrText", "rubyPr")}
_FORMS = {"footnote": "decimal", "endnote": "lowerRoman"}
"""How notes are counted, unless a document says otherwise; it makes their marks differ, which is all that matters."""
_GENERATED = frozenset(["TOC", "INDEX", "TOA"])
"""Fields whose results repeat headings or terms with the numbers of their pages."""


@dataclass(frozen=True, slots=True)
class Note:
    """A footnote or endnote that the text refers to.

    Attributes:
        kind: kind of the part that holds it: `footnotes` or `endnotes`.
        mark: the mark in the text; empty if its author set one by hand, which is part of both texts.
        content: the element that holds its blocks.
    """

    kind: str
    mark: str
    content: Any


@dataclass(frozen=True, slots=True)
class Inline:
    """What stands in a paragraph.

    Attributes:
        text: its text; line ends are those that the author set.
        is_bold: whether all visible text is bold.
        boxes: contents of the text boxes that are anchored in it.
        notes: the notes it refers to.
        figures: the charts and diagrams in it, which are elements of those in `FIGURES`.
    """

    text: str = ""
    is_bold: bool = True
    boxes: tuple[Any, ...] = ()
    notes: tuple[Note, ...] = ()
    figures: tuple[Any, ...] = ()

    def __add__(self, other: Inline) -> Inline:
        return Inline(
            self.text + other.text,
            self.is_bold and other.is_bold,
            self.boxes + other.boxes,
            self.notes + other.notes,
            self.figures + other.figures,
        )


class Notes:
    """The notes of a document, which are numbered in the order in which the text refers to them."""

    def __init__(self, footnotes: Any | None, endnotes: Any | None) -> None:
        """Take the roots of the parts that hold them; None for a document without."""
        self._contents = {
            (kind, element.get(W + "id")): element
            for kind, root in (("footnote", footnotes), ("endnote", endnotes))
            if root is not None
            for element in root.iterfind(W + kind)
        }
        self._marks: dict[tuple[str, str | None], str] = {}
        self._counts = dict.fromkeys(_FORMS, 0)

    def refer(self, reference: Any) -> tuple[str, Note | None]:
        """The mark of a note at a reference to it, and at the first reference the note."""
        kind = reference.tag.removeprefix(W).removesuffix("Reference")
        key = (kind, reference.get(W + "id"))
        content = self._contents.get(key)
        if content is None:
            return "", None
        if key in self._marks:
            return self._marks[key], None
        mark = ""
        if reference.get(W + "customMarkFollows", "0") in OFF:
            self._counts[kind] += 1
            mark = footnote_mark(counted(self._counts[kind], _FORMS[kind]))
        self._marks[key] = mark
        return mark, Note(f"{kind}s", mark, content)


@dataclass(slots=True)
class _Field:
    """A field that has begun and not ended; `start` is the number of runs before it in the paragraph."""

    begin: Any
    start: int = 0
    instruction: str = ""
    is_in_result: bool = False

    @property
    def kind(self) -> str:
        return (self.instruction.split() or [""])[0].upper()

    @property
    def shows_result(self) -> bool:
        return self.is_in_result and self.kind not in _GENERATED


class InlineReader:
    """Reads the paragraphs of one part of a document in order; a field may go across several of them."""

    def __init__(self, root: Any, styles: Styles, notes: Notes, relations: Mapping[str, Relation]) -> None:
        """Prepare to read paragraphs below this root, whose check boxes are written out.

        Args:
            relations: those of the part, which hold the addresses of its links.
        """
        _write_out_check_boxes(root)
        self._styles = styles
        self._notes = notes
        self._relations = relations
        self._ends = _ends_of_fields(root)
        self._fields: list[_Field] = []
        self._begin("")

    def _begin(self, style: str) -> None:
        self._style = style
        self._look = Look()
        for field in self._fields:  # from paragraphs above
            field.start = 0
        self._runs: list[Run] = []
        self._readings: list[str] = []
        self._is_bold = True
        self._boxes: list[Any] = []
        self._referred: list[Note] = []
        self._figures: list[Any] = []

    def read(self, paragraph: Any, style: str) -> Inline:
        """The text of a paragraph in the style of this id, with the boxes and notes anchored in it."""
        self._begin(style)
        self._walk_children(paragraph)
        self._add_readings()
        return Inline(
            joined(self._runs), self._is_bold, tuple(self._boxes), tuple(self._referred), tuple(self._figures)
        )

    def _walk(self, element: Any) -> None:
        if element.tag in _PASSED_OVER:
            return
        handle = _HANDLERS.get(element.tag)
        if handle is not None:
            handle(self, element)
        else:  # links, insertions, controls and whatever else is around runs
            self._walk_children(element)

    def _walk_children(self, element: Any) -> None:
        for child in element:
            self._walk(child)

    @property
    def _is_shown(self) -> bool:
        return self._look.is_shown and all(field.shows_result for field in self._fields)

    def _add(self, text: str) -> None:
        if text and self._is_shown:
            self._add_readings()
            self._runs.append((text, self._look.vertical))
            if text.strip():
                self._is_bold = self._is_bold and self._look.is_bold

    def _run(self, run: Any) -> None:
        outer = self._look
        self._look = self._styles.look(run.find(W + "rPr"), self._style)
        self._walk_children(run)
        self._look = outer

    def _text(self, element: Any) -> None:
        # A line end in the file is white space; those that a reader sees are elements of their own.
        self._add(shown((element.text or "").replace("\n", " "), self._look.font))

    def _symbol(self, element: Any) -> None:
        try:
            code = int(element.get(W + "char", ""), 16)
        except ValueError:
            return
        self._add(symbol(code, element.get(W + "font", "")))

    def _formula(self, element: Any) -> None:
        self._add(formula(element).strip())

    def _ruby(self, element: Any) -> None:
        """A word, whose readings, in small letters above it on the page, are written behind it: 東京(とうきょう)."""
        readings, self._readings = self._readings, []
        base, reading = element.find(W + "rubyBase"), element.find(W + "rt")
        if base is not None:
            self._walk_children(base)
        start = len(self._runs)
        if reading is not None:
            self._walk_children(reading)
        self._readings = [*readings, "".join(text for text, _ in self._runs[start:]).strip()]
        del self._runs[start:]

    def _add_readings(self) -> None:
        readings, self._readings = [reading for reading in self._readings if reading], []
        if readings:
            self._runs.append((f"({('' if _KANA.search(readings[0]) else ' ').join(readings)})", ""))

    def _alternatives(self, element: Any) -> None:
        """The first of several forms of the same content that has any."""
        before = self._found()
        for alternative in element.iterchildren(MC + "Choice", MC + "Fallback"):
            self._walk_children(alternative)
            if self._found() != before:
                break

    def _found(self) -> tuple[int, ...]:
        """How much has been found in the paragraph so far."""
        return tuple(len(found) for found in (self._runs, self._boxes, self._referred, self._figures))

    def _picture(self, element: Any) -> None:
        """A drawing: its figures, the text in it, or else its description; one in the line keeps words apart."""
        before = self._found()
        self._walk_children(element)
        if self._is_shown:
            self._figures += element.iter(*FIGURES)
        if self._found() == before:
            words = description(next(element.iter(_WP + "docPr"), None))
            self._add(f" {words} " if words else " " if element.find(_WP + "inline") is not None else "")

    def _link(self, element: Any) -> None:
        start = len(self._runs)
        self._walk_children(element)
        relation = self._relations.get(element.get(R + "id", ""))
        if relation is not None and relation.is_external:
            self._add_target(relation.target, start)

    def _add_target(self, address: str, start: int) -> None:
        """Write the address of a link behind its words, if they do not say where it leads."""
        target = unsaid_target(address, "".join(text for text, _ in self._runs[start:]), "")
        self._add(f" ({target})" if target is not None else "")

    def _box(self, element: Any) -> None:
        if self._is_shown:
            self._boxes.append(element)

    def _reference(self, element: Any) -> None:
        if self._is_shown:
            mark, note = self._notes.refer(element)
            self._runs.append((mark, ""))
            if note is not None:
                self._referred.append(note)

    def _simple_field(self, element: Any) -> None:
        if _Field(element, instruction=element.get(W + "instr", "")).kind not in _GENERATED:
            self._walk_children(element)

    def _field_mark(self, element: Any) -> None:
        kind = element.get(W + "fldCharType")
        if kind == "begin" and element in self._ends:  # one that never ends would swallow all that follows
            self._fields.append(_Field(element, len(self._runs)))
        elif kind == "separate" and self._fields:
            self._fields[-1].is_in_result = True
        elif kind == "end" and self._fields and self._ends[self._fields[-1].begin] is element:
            field = self._fields.pop()
            if len(self._runs) == field.start:
                self._add(shown_without_result(field.instruction, field.begin))
            if (link := _LINK.search(field.instruction)) is not None:
                self._add_target(link.group(1), field.start)

    def _instruction(self, element: Any) -> None:
        if self._fields and not self._fields[-1].is_in_result:
            self._fields[-1].instruction += element.text or ""


_HANDLERS: dict[str, Callable[[InlineReader, Any], None]] = {
    W + "r": InlineReader._run,
    W + "t": InlineReader._text,
    W + "sym": InlineReader._symbol,
    W + "tab": lambda reader, _: reader._add("\t"),
    W + "ptab": lambda reader, _: reader._add("\t"),
    W + "br": lambda reader, _: reader._add("\n"),
    W + "cr": lambda reader, _: reader._add("\n"),
    W + "noBreakHyphen": lambda reader, _: reader._add("-"),
    W + "ruby": InlineReader._ruby,
    W + "drawing": InlineReader._picture,
    W + "hyperlink": InlineReader._link,
    W + "txbxContent": InlineReader._box,
    W + "footnoteReference": InlineReader._reference,
    W + "endnoteReference": InlineReader._reference,
    W + "fldSimple": InlineReader._simple_field,
    W + "fldChar": InlineReader._field_mark,
    W + "instrText": InlineReader._instruction,
    M + "oMath": InlineReader._formula,
    M + "oMathPara": InlineReader._formula,
    MC + "AlternateContent": InlineReader._alternatives,
}


def _ends_of_fields(root: Any) -> dict[Any, Any]:
    """The marks that begin fields, with those that end them, as far as both are read."""
    open_marks: list[Any] = []
    ends: dict[Any, Any] = {}
    for mark in root.iter(W + "fldChar"):
        if any(outer.tag in _NOT_READ or is_table_of_contents(outer) for outer in mark.iterancestors()):
            continue
        if mark.get(W + "fldCharType") == "begin":
            open_marks.append(mark)
        elif mark.get(W + "fldCharType") == "end" and open_marks:
            ends[open_marks.pop()] = mark
    return ends


def is_table_of_contents(element: Any) -> bool:
    """Whether an element is a control around a table of contents."""
    gallery = element.find(f"{W}sdtPr/{W}docPartObj/{W}docPartGallery") if element.tag == W + "sdt" else None
    return (value(gallery) or "").casefold() == "table of contents"


def _write_out_check_boxes(root: Any) -> None:
    """Write the state of each check box into its content, whatever sign its author chose to show it."""
    for box in list(root.iter(_W14 + "checkbox")):
        state = box.find(_W14 + "checked")
        is_checked = state is not None and state.get(_W14 + "val", "1") not in OFF
        control = box.getparent().getparent()
        content = control.find(W + "sdtContent") if control is not None else None
        signs = list(content.iter(W + "t", W + "sym")) if content is not None else []
        for place, sign in enumerate(signs):
            written = etree.Element(W + "t")
            written.text = "" if place else CHECKED if is_checked else UNCHECKED
            sign.getparent().replace(sign, written)
