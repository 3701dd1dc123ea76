"""Styles of a DOCX file: which paragraphs are headings, and which runs are hidden, struck or raised.

A property is looked up where Word looks it up: at the run or paragraph itself, then along the chain of styles that its
style is based on, then among the defaults of the document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from index.documents.formats.office import OFF, number

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"

_HEADING_NAME = re.compile(r"heading ?([1-9])(?:,|$)", re.IGNORECASE)
_CONTENTS_NAME = re.compile(r"toc ?(?:\d|heading)$|table of (?:figures|authorities)$|toa heading$", re.IGNORECASE)
_LIST_NAME = re.compile(r"list ?(?:bullet|number)", re.IGNORECASE)
_PARAGRAPH_STYLE = W + "pStyle"
_BODY_LEVEL = 9
"""The outline level of paragraphs that are no headings."""
_TOGGLED = frozenset(["vanish", "strike", "b"])
_SWITCHES = _TOGGLED | {"webHidden", "dstrike"}
_LOOKS = {W + tag for tag in (*_SWITCHES, "vertAlign", "rFonts")}


@dataclass(frozen=True, slots=True)
class Look:
    """How a run is shown, as far as its meaning depends on it.

    Attributes:
        on: names of the properties that are switched on, of those in `_SWITCHES`.
        vertical: see `Run`.
        font: name of the font; tells what the characters of symbol fonts mean.
    """

    on: frozenset[str] = frozenset()
    vertical: str = ""
    font: str = ""

    @property
    def is_bold(self) -> bool:
        return "b" in self.on

    @property
    def is_shown(self) -> bool:
        """Whether a reader sees the text as valid: it is neither hidden nor struck through."""
        return self.on.isdisjoint(("vanish", "webHidden", "strike", "dstrike"))


@dataclass(frozen=True, slots=True)
class ParagraphStyle:
    """What a style makes of paragraphs; one that a file does not define means what every word processor has.

    Attributes:
        level: outline level, from 1; above 9, its paragraphs are no headings.
        is_title: whether they are the document's title.
        is_contents: whether they are lines of a table of contents, or its heading.
        is_list: whether the style is, or is based on, one of Word's own for list items.
    """

    identity: str
    level: int | None
    is_title: bool
    is_contents: bool
    is_list: bool


class Styles:
    """The styles of a document, by id."""

    def __init__(self, root: Any | None) -> None:
        """Take the root of the part of styles; None for a document without styles."""
        self._styles: dict[tuple[str, str], Any] = {}
        self._default_paragraph = ""
        self._paragraph_styles: dict[str, ParagraphStyle] = {}
        self._chains: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._looks: dict[tuple[str, str], Look] = {}
        self._defaults: Any | None = None
        if root is None:
            return
        self._defaults = root.find(f"{W}docDefaults/{W}rPrDefault/{W}rPr")
        for style in root.iterfind(f"{W}style"):
            kind, identity = style.get(W + "type", ""), style.get(W + "styleId", "")
            self._styles.setdefault((kind, identity), style)
            if kind == "paragraph" and style.get(W + "default", "0") not in OFF:
                self._default_paragraph = identity

    def of_paragraph(self, properties: Any | None) -> ParagraphStyle:
        """The style of a paragraph with these properties of its own (`w:pPr`)."""
        named = value(properties.find(_PARAGRAPH_STYLE)) if properties is not None else None
        identity = self._default_paragraph if named is None else named
        if identity not in self._paragraph_styles:
            self._paragraph_styles[identity] = self._paragraph_style(identity)
        return self._paragraph_styles[identity]

    def _paragraph_style(self, identity: str) -> ParagraphStyle:
        names = [_name(style) for style in self.chain("paragraph", identity)] or [identity]
        titles = (name.casefold() for name in names if name.casefold() in ("title", "subtitle"))
        return ParagraphStyle(
            identity,
            level=self._styled_level(identity),
            is_title=next(titles, "") == "title",
            is_contents=_CONTENTS_NAME.match(names[0]) is not None,
            is_list=any(_LIST_NAME.match(name) for name in names),
        )

    def _styled_level(self, identity: str) -> int | None:
        styles = self.chain("paragraph", identity)
        for style in styles:
            level = outline_level(style.find(W + "pPr"))
            if level is not None:
                return level
            if named := _HEADING_NAME.match(_name(style)):
                return int(named.group(1))
        named = None if styles else _HEADING_NAME.match(identity)
        return int(named.group(1)) if named else None

    def heading_level(self, properties: Any | None) -> int | None:
        """The level of a heading, from 1; None if a paragraph with these properties is none."""
        level = outline_level(properties)
        if level is None:
            level = self.of_paragraph(properties).level
        return level if level is not None and level <= _BODY_LEVEL else None

    def chain(self, kind: str, identity: str) -> tuple[Any, ...]:
        """The style of this kind and id, and those that it is based on, from the nearest."""
        key = (kind, identity)
        if key not in self._chains:
            found: list[Any] = []
            style = self._styles.get(key)
            while style is not None and style not in found:
                found.append(style)
                style = self._styles.get((kind, value(style.find(W + "basedOn")) or ""))
            self._chains[key] = tuple(found)
        return self._chains[key]

    def marks_first_row(self, table_style: str) -> bool:
        """Whether a table style gives the first row a look of its own."""
        return any(
            part.get(W + "type") == "firstRow" and len(part)
            for style in self.chain("table", table_style)
            for part in style.iterfind(W + "tblStylePr")
        )

    def look(self, properties: Any | None, paragraph_style: str) -> Look:
        """The look of a run with these properties of its own (`w:rPr`) in a paragraph of this style."""
        character_style = value(properties.find(W + "rStyle")) or "" if properties is not None else ""
        key = (paragraph_style, character_style)
        if key not in self._looks:
            self._looks[key] = self._styled_look(*key)
        look = self._looks[key]
        direct = [element for element in properties if element.tag in _LOOKS] if properties is not None else ()
        return _with_direct(look, direct) if direct else look

    def _styled_look(self, paragraph_style: str, character_style: str) -> Look:
        by_character = self.chain("character", character_style)
        by_paragraph = self.chain("paragraph", paragraph_style)

        def nearest(styles: tuple[Any, ...], tag: str) -> Any | None:
            found = (style.find(f"{W}rPr/{W}{tag}") for style in styles)
            return next((element for element in found if element is not None), None)

        def first(tag: str) -> Any | None:
            default = self._defaults.find(W + tag) if self._defaults is not None else None
            for element in (nearest(by_character, tag), nearest(by_paragraph, tag)):
                if element is not None:
                    return element
            return default

        def is_switched_on(tag: str) -> bool:
            if tag not in _TOGGLED:
                return is_on(first(tag))
            # A style that sets such a property turns it off where the other kind of style has set it already.
            default = self._defaults is not None and is_on(self._defaults.find(W + tag))
            return default or is_on(nearest(by_paragraph, tag)) != is_on(nearest(by_character, tag))

        on = frozenset(tag for tag in _SWITCHES if is_switched_on(tag))
        return Look(on, value(first("vertAlign")) or "", _font(first("rFonts")))


def value(element: Any | None) -> str | None:
    """The attribute `w:val` of an element; None without element or attribute."""
    found: str | None = element.get(W + "val") if element is not None else None
    return found


def is_on(element: Any | None) -> bool:
    """Whether a property that is on or off is given and on."""
    return element is not None and element.get(W + "val", "1") not in OFF


def _with_direct(look: Look, properties: list[Any]) -> Look:
    """The look of a run whose own properties these are, above those of its styles."""
    on, vertical, font = look.on, look.vertical, look.font
    for element in properties:
        tag = element.tag.removeprefix(W)
        if tag in _SWITCHES:
            on = on | {tag} if is_on(element) else on - {tag}
        elif tag == "vertAlign":
            vertical = value(element) or ""
        else:
            font = _font(element) or font
    return Look(on, vertical, font)


def outline_level(properties: Any | None) -> int | None:
    """The outline level that a paragraph or style gives itself, from 1; 10 if no heading, None if it does not say."""
    level = properties.find(W + "outlineLvl") if properties is not None else None
    return min(max(number(value(level), _BODY_LEVEL), 0), _BODY_LEVEL) + 1 if level is not None else None


def _name(style: Any) -> str:
    """The English name of a built-in style, whatever the language of the program that wrote it."""
    return value(style.find(W + "name")) or ""


def _font(element: Any | None) -> str:
    if element is None:
        return ""
    return element.get(W + "ascii") or element.get(W + "hAnsi") or ""
