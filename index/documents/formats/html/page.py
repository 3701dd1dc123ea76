"""HTML: headings, paragraphs, lists, tables and code as Markdown, without what surrounds the text of a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode

from index.documents.document import Document, Skipped
from index.documents.formats.blocks import MarkdownText, without_invisible
from index.documents.formats.counting import counted
from index.documents.formats.encoding import decode
from index.documents.formats.html.inline import InlineText, inline_text, is_block, walk
from index.documents.formats.html.tables import cells_of, holds_data
from index.documents.formats.html.visible import (
    ALL_HEADINGS,
    HEADINGS,
    Attributes,
    Visible,
    ancestors,
    are_line_numbers,
    is_box,
    words,
)
from index.documents.formats.labels import refuse_attempts
from index.documents.formats.properties import front_matter, html_front_matter
from index.documents.formats.settings import ReadSettings, Unreadable

_SIDE_FILE = "labels, in a side file"
_LISTS = words("ul ol menu dir")
_TERMS = words("dt summary button")
"""Elements that name what follows them."""
_FORMS = {"a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}
_STYLES = {
    "lower-alpha": "lowerLetter", "lower-latin": "lowerLetter", "upper-alpha": "upperLetter",
    "upper-latin": "upperLetter", "lower-roman": "lowerRoman", "upper-roman": "upperRoman",
}  # fmt: skip
_LIST_STYLE = re.compile(r"list-style(?:-type)?\s*:[^;]*?\b((?:lower|upper)-(?:alpha|latin|roman))\b", re.I)
_DECLARED = re.compile(
    rb"<(?:meta[^>]{0,200}|\?xml[^>]{0,100})(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.I
)
_VOID = "area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr"
_EMPTY_ELEMENT = re.compile(rf"<(?!(?:{_VOID})\b)([a-zA-Z][\w:-]*)((?:\s[^<>]*?)?)/>")


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document; its title is that of its front matter, else the first level-1 heading, else the page's title.

    Raises:
        Unreadable: the file is binary, in an unknown encoding, nested too deeply, too long, or without text; or it has
            front matter that cannot be understood, or what looks like access labels elsewhere.
    """
    declared = _DECLARED.search(data[:2048])
    stated, page = html_front_matter(decode(data, declared.group(1).decode("ascii") if declared else None))
    if page.startswith("<?xml"):  # XHTML: `<script/>` is complete, and does not swallow the rest of the page
        page = _EMPTY_ELEMENT.sub(r"<\1\2></\1>", page)
    tree = LexborHTMLParser(page)
    root = tree.root
    if root is None:
        raise Unreadable("empty")
    if not stated.labels:
        front_matter(page.partition("<")[0])  # refuses what looks like labels above the page
        refuse_attempts(_meta_names(root), "the page", read=_SIDE_FILE)
    # If a page is nothing but navigation (a list of links), its links are its text.
    text = _Page(root, settings, keep_surroundings=False).read() or _Page(root, settings, keep_surroundings=True).read()
    if not text:
        raise Unreadable("no text")
    title = stated.title or (None if re.search(r"^# ", text, re.MULTILINE) else _title(root))
    return [Document.of(name, text, title=title, labels=stated.labels, metadata=stated.metadata, is_markdown=True)]


def _title(root: LexborNode) -> str | None:
    element = root.css_first("head > title")
    return " ".join(without_invisible(element.text()).split()) if element is not None else None


def _meta_names(root: LexborNode) -> Iterator[str]:
    """What the page says about itself, by name."""
    for meta in root.css("meta"):
        attributes = meta.attributes
        yield from filter(None, (attributes.get(key) for key in ("name", "property", "itemprop")))


@dataclass(slots=True)
class _List:
    """A list that is being written, and the number of its next item."""

    is_numbered: bool
    form: str = ""
    number: int = 1
    step: int = 1

    def next_marker(self, value: str | None) -> str:
        """The marker of the next item, which may state its own number."""
        if not self.is_numbered:
            return "-"
        number = _number(value, self.number)
        self.number = number + self.step
        return f"{counted(number, self.form)}."


class _Page:
    """Writes a page as Markdown in one pass over its tree."""

    def __init__(self, root: LexborNode, settings: ReadSettings, keep_surroundings: bool) -> None:
        self.root = root
        self.out = MarkdownText(settings.limits.characters)
        self.depth_limit = settings.limits.depth
        self.visible = Visible(root, keep_surroundings)
        base = root.css_first("base[href]")
        self.base = (base.attributes.get("href") or "") if base is not None else ""
        self.inline = InlineText(self.visible, self.base)
        """Text since the last block."""
        self.lists: list[_List] = []
        self.marker = ""
        """Marker of an item whose text has not begun yet."""

    def read(self) -> str:
        """The text of the page; empty if it has none."""
        walk(self.root, self.inline.add_text, self._enter, self._leave, self.depth_limit)
        self._flush()
        return self.out.text

    def _enter(self, node: LexborNode, tag: str, attributes: Attributes) -> bool:
        """Write a node, if it is written as a whole; otherwise return True: its children are to be visited."""
        if self.visible.drops(node, tag, attributes):
            return False
        level = _heading_level(tag, attributes)
        if level:
            self._write_heading(node, level)
        elif tag == "pre":
            self._write_code(node)
        elif tag == "table" and holds_data(node):
            self._write_table(node)
        elif is_block(node, tag):
            self._open(node, tag, attributes)
            return True
        else:
            return self.inline.enter(node, tag, attributes)
        return False

    def _open(self, node: LexborNode, tag: str, attributes: Attributes) -> None:
        self._flush()
        if tag in _LISTS:
            if not self.lists:
                self.out.end_list()
            self.lists.append(_list(node, tag, attributes))
        elif tag == "li":
            self.marker = self.lists[-1].next_marker(attributes.get("value")) if self.lists else "-"

    def _leave(self, node: LexborNode, tag: str) -> None:
        if not is_block(node, tag):
            self.inline.leave(node, tag)
            return
        if self._flush() and tag in _TERMS:
            self.out.keep_with_next()
        if tag in _LISTS and self.lists:
            self.lists.pop()
        elif tag == "li":
            self.marker = ""

    def _text_of(self, node: LexborNode) -> str:
        return inline_text(node, self.visible, self.base, self.depth_limit)

    def _write_heading(self, node: LexborNode, level: int) -> None:
        self._flush()
        text = self._text_of(node)
        if _is_in_box(node):
            self.out.paragraph(text)
        else:
            self.out.heading(level, text)

    def _write_code(self, node: LexborNode) -> None:
        self._flush()
        text = inline_text(node, self.visible, self.base, self.depth_limit, is_preformatted=True)
        if not are_line_numbers(text):
            self.out.code(text)

    def _write_table(self, node: LexborNode) -> None:
        self._flush()
        caption = node.css_first("caption")
        if caption is not None and not self.visible.drops(caption, "caption", caption.attributes):
            self.out.paragraph(self._text_of(caption))
        self.out.spanned_table(*cells_of(node, self.visible, self._text_of))

    def _flush(self) -> bool:
        """Write the text since the last block; return whether there was any."""
        text = self.inline.take()
        if not text:
            return False
        indent = "  " * max(len(self.lists) - 1, 0)
        if self.marker:
            self.out.item(self.marker, text, indent)
            self.marker = ""
        else:
            self.out.paragraph(text, indent + "  " if self.lists else "")
        return True


def _heading_level(tag: str, attributes: Attributes) -> int:
    """The level of a heading; 0 for another element."""
    if tag not in HEADINGS and "role" not in attributes:
        return 0
    level = HEADINGS.get(tag, 2 if (attributes.get("role") or "").lower() == "heading" else 0)
    return max(_number(attributes.get("aria-level"), level), 1) if level else 0


def _is_in_box(heading: LexborNode) -> bool:
    """Whether a heading is the only one in a box."""
    for outer in ancestors(heading):
        if outer.tag in ("aside", "blockquote") or is_box(outer.attributes):
            return len(outer.css(ALL_HEADINGS)) == 1
    return False


def _list(node: LexborNode, tag: str, attributes: Attributes) -> _List:
    if tag != "ol":
        return _List(is_numbered=False)
    style = _LIST_STYLE.search(attributes.get("style") or "")
    form = _STYLES[style.group(1).lower()] if style else _FORMS.get(attributes.get("type") or "", "")
    is_reversed = "reversed" in attributes
    first = sum(item.tag == "li" for item in node.iter()) if is_reversed else 1
    return _List(True, form, _number(attributes.get("start"), first), -1 if is_reversed else 1)


def _number(text: str | None, default: int) -> int:
    """A number of an attribute; the default if it is not one."""
    match = re.fullmatch(r"\s*([+-]?[0-9]{1,9})\s*", text or "")
    return int(match.group(1)) if match else default
