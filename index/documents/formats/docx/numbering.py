"""Numbers of the paragraphs of a DOCX file: `2.`, `(b)`, `Article 3`, as Word counts and writes them.

A paragraph names a list (`w:num`) and a level; the list refers to an abstract one, which says how each level counts
and what its numbers look like. Lists with one abstract list count on from each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from index.documents.formats.counting import counted
from index.documents.formats.docx.styles import Styles, W, is_on, value
from index.documents.formats.office import number

BULLET = "-"
_LEVELS = 9
_PLACE = re.compile(r"%([1-9])")


@dataclass(frozen=True, slots=True)
class Level:
    """How one level of a list counts.

    Attributes:
        text: what is written, with `%1` in place of the number of the first level, and so on.
        restarts_after: deepest level, from 1, whose numbers let this level begin again; 0: it never does.
        is_legal: whether numbers of other forms are written in digits.
    """

    start: int
    form: str
    text: str
    restarts_after: int
    is_legal: bool


@dataclass(slots=True)
class _Counts:
    """How far the lists of one abstract list have counted."""

    numbers: dict[int, int] = field(default_factory=dict)
    """Current number of each level that has one."""
    started: set[str] = field(default_factory=set)
    """Lists whose own start numbers have been applied."""


class Numbering:
    """The lists of a document; asked for each paragraph in turn, because it counts."""

    def __init__(self, root: Any | None, styles: Styles) -> None:
        """Take the root of the part of lists; None for a document without lists."""
        self._styles = styles
        self._lists: dict[str, Any] = {}
        self._abstract: dict[str, Any] = {}
        self._levels: dict[tuple[str, int], Level | None] = {}
        self._counts: dict[str, _Counts] = {}
        self._styled: dict[str, tuple[str | None, str | None]] = {}
        if root is not None:
            self._lists = {found.get(W + "numId", ""): found for found in root.iterfind(W + "num")}
            self._abstract = {found.get(W + "abstractNumId", ""): found for found in root.iterfind(W + "abstractNum")}

    def place(self, properties: Any | None, style: str) -> tuple[str, int] | None:
        """The list of a paragraph and its level in it, from 0; None if it belongs to no list.

        Args:
            properties: the paragraph's own (`w:pPr`).
            style: id of its style.
        """
        direct = properties.find(W + "numPr") if properties is not None else None
        identity = value(direct.find(W + "numId")) if direct is not None else None
        depth = value(direct.find(W + "ilvl")) if direct is not None else None
        if identity is None:
            if style not in self._styled:
                self._styled[style] = self._of_style(style)
            identity, styled_depth = self._styled[style]
            depth = styled_depth if depth is None else depth
        if identity is None or identity == "0":
            return None
        return identity, min(max(number(depth), 0), _LEVELS - 1)

    def marker(self, identity: str, depth: int) -> str:
        """Count a paragraph and return what stands before its text: a number, `BULLET`, or nothing."""
        level = self._level(identity, depth)
        if level is None:
            return BULLET
        counts = self._counts.setdefault(self._abstract_id(identity), _Counts())
        self._start(identity, counts)
        counts.numbers[depth] = counts.numbers.get(depth, level.start - 1) + 1
        for deeper in [other for other in counts.numbers if other > depth]:
            below = self._level(identity, deeper)
            if below is None or depth < below.restarts_after:
                del counts.numbers[deeper]
        if level.form == "bullet":
            return BULLET
        text = _PLACE.sub(lambda place: self._written(identity, int(place.group(1)) - 1, counts, level), level.text)
        return text if any(map(str.isalnum, text)) else BULLET if text.strip() else ""

    def _written(self, identity: str, depth: int, counts: _Counts, level: Level) -> str:
        """The current number of a level, as part of the number of a paragraph of `level`."""
        shown = self._level(identity, depth)
        if shown is None or shown.form in ("none", "bullet"):
            return ""
        current = counts.numbers.get(depth, shown.start)
        return str(current) if level.is_legal and shown.form != "decimalZero" else counted(current, shown.form)

    def _start(self, identity: str, counts: _Counts) -> None:
        """Let a list begin at its own start numbers, where it has any, when its first paragraph comes."""
        if identity not in counts.started:
            counts.started.add(identity)
            for depth in range(_LEVELS):
                if _own_start(self._lists.get(identity), depth) is not None:
                    counts.numbers.pop(depth, None)

    def _of_style(self, identity: str) -> tuple[str | None, str | None]:
        """List and level that a paragraph style names; the list's own level for the style comes first."""
        depth: str | None = None
        names: list[str | None] = []
        for style in self._styles.chain("paragraph", identity):
            names.append(style.get(W + "styleId"))
            found = style.find(f"{W}pPr/{W}numPr")
            if found is None:
                continue
            depth = value(found.find(W + "ilvl")) if depth is None else depth
            if (list_id := value(found.find(W + "numId"))) is not None:
                linked = (self._linked_depth(list_id, name) for name in names)
                return list_id, next((link for link in linked if link is not None), depth)
        return None, None

    def _linked_depth(self, identity: str, style: str | None) -> str | None:
        abstract = self._abstract.get(self._abstract_id(identity))
        levels = abstract.iterfind(W + "lvl") if abstract is not None else ()
        return next((level.get(W + "ilvl") for level in levels if value(level.find(W + "pStyle")) == style), None)

    def _abstract_id(self, identity: str) -> str:
        """Id of the abstract list of a list, where that only refers to a style of numbering, the one of the style."""
        for _ in range(_LEVELS):  # a file may refer in a circle
            found = self._lists.get(identity)
            abstract = value(found.find(W + "abstractNumId")) if found is not None else None
            element = self._abstract.get(abstract or "")
            link = value(element.find(W + "numStyleLink")) if element is not None else None
            styles = self._styles.chain("numbering", link) if link is not None else ()
            linked = value(styles[0].find(f"{W}pPr/{W}numPr/{W}numId")) if styles else None
            if linked is None:
                return abstract or ""
            identity = linked
        return ""

    def _level(self, identity: str, depth: int) -> Level | None:
        """How a level of a list counts; None if the file does not say."""
        key = (identity, depth)
        if key not in self._levels:
            own = self._lists.get(identity)
            override = _find_level(own, f"{W}lvlOverride", depth)
            found = override.find(W + "lvl") if override is not None else None
            if found is None:
                found = _find_level(self._abstract.get(self._abstract_id(identity)), f"{W}lvl", depth)
            self._levels[key] = _level(found, depth, _own_start(own, depth)) if found is not None else None
        return self._levels[key]


def _find_level(parent: Any | None, tag: str, depth: int) -> Any | None:
    found = parent.iterfind(tag) if parent is not None else ()
    return next((element for element in found if number(element.get(W + "ilvl"), -1) == depth), None)


def _own_start(own: Any | None, depth: int) -> str | None:
    """The number at which a list itself lets a level begin; None if it leaves that to its abstract list."""
    override = _find_level(own, f"{W}lvlOverride", depth)
    return value(override.find(W + "startOverride")) if override is not None else None


def _level(element: Any, depth: int, own_start: str | None) -> Level:
    return Level(
        start=number(own_start if own_start is not None else value(element.find(W + "start"))),
        form=value(element.find(W + "numFmt")) or "decimal",
        text=value(element.find(W + "lvlText")) or "",
        restarts_after=number(value(element.find(W + "lvlRestart")), depth),
        is_legal=is_on(element.find(W + "isLgl")),
    )
