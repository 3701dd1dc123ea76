"""Text of shapes on the slides of a PPTX file: paragraphs, their runs, and whether they are items of a list.

A paragraph says itself whether it has a bullet or a number, or else the place that it fills does: on the slide, on the
slide's layout, or on the master of that layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from index.documents.formats.counting import counted
from index.documents.formats.formulas import M, formula
from index.documents.formats.office import MC, number
from index.documents.formats.runs import SUBSCRIPT, SUPERSCRIPT, Run, joined
from index.documents.formats.symbols import shown

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"

BULLET = "-"
_LEVELS = 9
_BULLETS = frozenset(A + tag for tag in ("buNone", "buChar", "buBlip", "buAutoNum"))
_NUMBERING = re.compile(r"([a-z][a-zA-Z0-9]*?)(Period|ParenR|ParenBoth|Plain|Minus)$")
_ENDS = {"Period": "{}.", "ParenR": "{})", "ParenBoth": "({})", "Plain": "{}", "Minus": "- {} -"}
_FORMS = {
    "alphaLc": "lowerLetter", "alphaUc": "upperLetter", "romanLc": "lowerRoman", "romanUc": "upperRoman",
    "circleNumDb": "decimalEnclosedCircle", "circleNumWdWhite": "decimalEnclosedCircle", "ea1Chs": "chineseCounting",
    "ea1Cht": "taiwaneseCounting", "ea1JpnKor": "japaneseCounting", "thaiNum": "thaiNumbers",
    "hindiNum": "hindiNumbers",
}  # fmt: skip
_TITLES = frozenset(["title", "ctrTitle"])
_BODIES = frozenset(["body", "obj", "subTitle", "tbl", "chart", "dgm", "clipArt", "media", "pic"])


@dataclass(frozen=True, slots=True)
class Line:
    """A paragraph of a shape; `marker` is the bullet or number before it, or empty."""

    text: str
    marker: str
    depth: int


@dataclass(frozen=True, slots=True)
class Place:
    """The place on a slide that a shape fills: `kind` is `title`, `body` and so on; empty for a shape of its own."""

    kind: str = ""
    index: str = ""


def place_of(shape: Any) -> Place:
    """The place that a shape fills."""
    found = shape.find(f"{P}nvSpPr/{P}nvPr/{P}ph")
    if found is None:
        found = next(shape.iter(P + "ph"), None) if shape.tag != P + "grpSp" else None
    # A place without a type is for any object, and those are in the style of the body.
    return Place(found.get("type", "obj"), found.get("idx", "")) if found is not None else Place()


class ShapeText:
    """Reads the text of shapes that stand on slides of one layout."""

    def __init__(self, layout: Any | None, master: Any | None) -> None:
        """Take the roots of the layout and of its master, where the file has them."""
        self._layout = [] if layout is None else list(layout.iter(P + "sp"))
        self._master = [] if master is None else list(master.iter(P + "sp"))
        self._styles = master.find(P + "txStyles") if master is not None else None

    def lines(self, shape: Any) -> list[Line]:
        """The paragraphs of a shape that have text."""
        body = shape.find(P + "txBody")
        if body is None:
            return []
        lists = list(self._lists(shape, body))
        counts: dict[int, tuple[str, int]] = {}
        found: list[Line] = []
        for paragraph in body.iterfind(A + "p"):
            text = paragraph_text(paragraph)
            if text.strip():
                depth = _depth(paragraph)
                found.append(Line(text, _marker(_bullet(paragraph, depth, lists), depth, counts), depth))
        return found

    def _lists(self, shape: Any, body: Any) -> Iterator[Any]:
        """Where the look of a shape's paragraphs is set, from the nearest."""
        yield from body.iterfind(A + "lstStyle")
        place = place_of(shape)
        if not place.kind:
            return
        kind = _style(place.kind)
        for others in (self._layout, self._master):
            alike = [other for other in others if (there := place_of(other)).kind and _style(there.kind) == kind]
            same = [other for other in alike if place_of(other).index == place.index]
            for other in (same or alike)[:1]:
                yield from other.iterfind(f"{P}txBody/{A}lstStyle")
        if self._styles is not None:
            yield from self._styles.iterfind(P + kind)


def paragraph_text(paragraph: Any) -> str:
    """The text of a paragraph; line ends are those that the author set, struck text is left out."""
    return joined(list(_runs(paragraph)))


def _runs(parent: Any) -> Iterator[Run]:
    for element in parent:
        if element.tag in (A + "r", A + "fld"):
            properties = element.find(A + "rPr")
            if element.get("type") != "slidenum" and not _is_struck(properties):
                text = (element.findtext(A + "t") or "").replace("\n", " ").replace("\v", "\n")
                yield shown(text, _font(properties, "latin"), _font(properties, "sym")), _vertical(properties)
        elif element.tag == A + "br":
            yield "\n", ""
        elif element.tag in (M + "oMath", M + "oMathPara"):
            yield formula(element).strip(), ""
        elif element.tag == MC + "AlternateContent":
            forms = (list(_runs(form)) for form in element.iterchildren(MC + "Choice", MC + "Fallback"))
            yield from next(filter(None, forms), ())
        elif element.tag not in (A + "pPr", A + "endParaRPr"):
            yield from _runs(element)


def _is_struck(properties: Any | None) -> bool:
    return properties is not None and properties.get("strike", "noStrike") != "noStrike"


def _vertical(properties: Any | None) -> str:
    baseline = properties.get("baseline", "0") if properties is not None else "0"
    if baseline.strip("0%") in ("", "-"):
        return ""
    return SUBSCRIPT if baseline.startswith("-") else SUPERSCRIPT


def _font(properties: Any | None, script: str) -> str:
    """The font of a run's letters (`latin`) or symbols (`sym`)."""
    font = properties.find(A + script) if properties is not None else None
    return font.get("typeface", "") if font is not None else ""


def _style(kind: str) -> str:
    """Name of the master's style for a kind of place."""
    return "titleStyle" if kind in _TITLES else "bodyStyle" if kind in _BODIES else "otherStyle"


def _depth(paragraph: Any) -> int:
    properties = paragraph.find(A + "pPr")
    level = number(properties.get("lvl")) if properties is not None else 0
    return min(max(level, 0), _LEVELS - 1)


def _bullet(paragraph: Any, depth: int, lists: Sequence[Any]) -> Any | None:
    """The element that says what stands before a paragraph; None if nothing says it."""
    properties = [paragraph.find(A + "pPr"), *(found.find(f"{A}lvl{depth + 1}pPr") for found in lists)]
    said = (element for found in properties if found is not None for element in found if element.tag in _BULLETS)
    return next(said, None)


def _marker(bullet: Any | None, depth: int, counts: dict[int, tuple[str, int]]) -> str:
    """What stands before a paragraph; `counts` holds form and number of the paragraphs above it at each level."""
    for deeper in [level for level in counts if level > depth]:
        del counts[deeper]
    if bullet is None or bullet.tag != A + "buAutoNum":
        counts.pop(depth, None)
        return "" if bullet is None or bullet.tag == A + "buNone" else BULLET
    form, above = bullet.get("type", ""), counts.get(depth)
    current = above[1] + 1 if above is not None and above[0] == form else number(bullet.get("startAt"), 1)
    counts[depth] = (form, current)
    written = _NUMBERING.match(form)
    if written is None:
        return f"{current}."
    return _ENDS[written.group(2)].format(counted(current, _FORMS.get(written.group(1), "decimal")))
