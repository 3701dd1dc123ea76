"""The text of a run of inline elements: of a paragraph, a heading, a cell or preformatted text, by one set of rules.

A browser shows some of it only by its look: raised and lowered text, quotation marks, readings beside Chinese
characters, formulas, and where a link leads. Here it is written out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from selectolax.lexbor import LexborNode

from index.documents.formats.blocks import footnote_mark, subscript, superscript, without_invisible
from index.documents.formats.html.links import unsaid_target
from index.documents.formats.html.math import formula
from index.documents.formats.html.visible import Attributes, Visible, is_formula, words
from index.documents.formats.settings import Unreadable
from index.documents.formats.symbols import CHECKED, UNCHECKED

BLOCKS = words(
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption "
    "figure footer form header hgroup hr html legend li main menu nav ol p pre search section summary table tbody td "
    "tfoot th thead tr ul h1 h2 h3 h4 h5 h6"
)
_WRITTEN_OUT = words("a q rt ruby sub sup")
"""Elements whose text changes when they end."""
_ENDING = BLOCKS | _WRITTEN_OUT | {"button"}
_HOLD_BOXES = words("dd label li p td")
_PERMALINKS = frozenset(["¶", "#", "§", "🔗", "\uf0c1"])
_SPACES = re.compile(r"\s+")
_KANA = re.compile(r"[\u3040-\u30ff]")


@dataclass(slots=True)
class _Open:
    """An element that has begun: where its text begins, and what its end must know."""

    tag: str
    start: int
    href: str = ""
    is_note: bool = False


class InlineText:
    """Collects text from the nodes of a tree, which are entered and left in its order.

    Args:
        visible: which elements are read.
        base: address that relative links refer to.
        is_preformatted: whether white space is kept as it is.
    """

    def __init__(self, visible: Visible, base: str = "", is_preformatted: bool = False) -> None:
        self._visible = visible
        self._base = base
        self._is_preformatted = is_preformatted
        self._parts: list[str] = []
        self._open: list[_Open] = []
        self._readings: list[str] = []

    def take(self) -> str:
        """The text since the last call. Without white space at the ends of lines, unless it is preformatted."""
        if not self._parts:
            return ""
        text = without_invisible("".join(self._parts))
        self._parts.clear()
        for element in self._open:
            element.start = 0
        if self._is_preformatted:
            return text
        if "\n" not in text:
            return " ".join(text.split())
        lines = (" ".join(line.split()) for line in text.split("\n"))
        return "\n".join(line for line in lines if line)

    def separate(self) -> None:
        """Keep what follows apart from what came before."""
        if not self._is_preformatted:
            self._parts.append(" ")
        elif self._parts and not self._parts[-1].endswith("\n"):
            self._parts.append("\n")

    def add_text(self, node: LexborNode) -> None:
        """Add a text node. Its line ends are spaces, as in browsers; spaces are collapsed where the text is taken."""
        text = node.text_content or ""
        if not self._is_preformatted and "\n" in text:
            text = text.replace("\n", " ")
        self._parts.append(text)

    def enter(self, node: LexborNode, tag: str, attributes: Attributes) -> bool:
        """Begin an element; return whether its children are to be visited."""
        if tag in _WRITTEN_OUT:
            self._begin(node, tag, attributes)
        elif tag == "br":
            self._parts.append("\n")
        elif tag == "img":
            # An image inside a link is a logo or a button: its text says where the link leads.
            if self._visible.keep_surroundings or not any(element.tag == "a" for element in self._open):
                self._parts.append(_apart(_SPACES.sub(" ", attributes.get("alt") or "")))
        elif tag == "input":
            self._parts.append(_check_box(node, attributes))
        elif tag == "math":
            self._parts.append(formula(node))
        elif tag == "svg":
            self._parts.append(_labels(node))
        elif tag == "script" and is_formula(attributes):
            self._parts.append(_SPACES.sub(" ", node.text()))
        else:
            return True
        return tag in _WRITTEN_OUT

    def _begin(self, node: LexborNode, tag: str, attributes: Attributes) -> None:
        element = _Open(tag, len(self._parts))
        if tag == "a":
            element.href = attributes.get("href") or ""
            is_mark = "#" in element.href or (attributes.get("role") or "") == "doc-noteref"
            for outer in self._open:
                outer.is_note = outer.is_note or (outer.tag == "sup" and is_mark)
            element.is_note = (attributes.get("role") or "") == "doc-noteref"
        elif tag == "sup":
            element.is_note = any("#" in outer.href for outer in self._open)
        elif tag == "q":
            self._parts.append("“")
        self._open.append(element)

    def leave(self, node: LexborNode, tag: str) -> None:
        """End an element that was entered."""
        if tag not in _WRITTEN_OUT or not self._open or self._open[-1].tag != tag:
            return
        element = self._open.pop()
        end = _ENDS[tag]
        end(self, node, element)

    def _end_link(self, node: LexborNode, link: _Open) -> None:
        text = "".join(self._parts[link.start :])
        if self._is_preformatted:
            return
        if text.strip() in _PERMALINKS:
            del self._parts[link.start :]
        elif link.is_note and not any(outer.tag == "sup" for outer in self._open):
            self._parts[link.start :] = [footnote_mark(text)]
        elif link.href and not self._visible.keep_surroundings:
            target = unsaid_target(link.href, text, self._base)
            if target is not None:
                self._parts.append(f" ({target})")

    def _end_raised(self, node: LexborNode, element: _Open) -> None:
        text = "".join(self._parts[element.start :])
        before = "".join(self._parts[max(element.start - 3, 0) : element.start])
        self._parts[element.start :] = [footnote_mark(text) if element.is_note else superscript(text, before)]

    def _end_lowered(self, node: LexborNode, element: _Open) -> None:
        self._parts[element.start :] = [subscript("".join(self._parts[element.start :]))]

    def _end_quotation(self, node: LexborNode, element: _Open) -> None:
        self._parts.append("”")

    def _end_reading(self, node: LexborNode, element: _Open) -> None:
        self._readings.append("".join(self._parts[element.start :]).strip())
        del self._parts[element.start :]

    def _end_annotated(self, node: LexborNode, element: _Open) -> None:
        """Write the readings of a word behind the whole word, which stays in one piece: `東京(とうきょう)`."""
        after = node.next
        if after is not None and after.tag == "ruby":
            return
        readings = [reading for reading in self._readings if reading]
        self._readings.clear()
        if readings:
            self._parts.append(f"({('' if _KANA.search(readings[0]) else ' ').join(readings)})")


_ENDS: dict[str, Callable[[InlineText, LexborNode, _Open], None]] = {
    "a": InlineText._end_link,
    "q": InlineText._end_quotation,
    "rt": InlineText._end_reading,
    "ruby": InlineText._end_annotated,
    "sub": InlineText._end_lowered,
    "sup": InlineText._end_raised,
}


def inline_text(root: LexborNode, visible: Visible, base: str, most_depth: int, is_preformatted: bool = False) -> str:
    """The text inside one element; blocks inside are kept apart by a space, or are lines if it is preformatted.

    Raises:
        Unreadable: elements are nested deeper than `most_depth`.
    """
    only = root.first_child
    if only is not None and only.next is None and only.is_text_node and not is_preformatted:  # most cells
        return " ".join(without_invisible(only.text_content or "").split())
    inline = InlineText(visible, base, is_preformatted)

    def enter(node: LexborNode, tag: str, attributes: Attributes) -> bool:
        if visible.drops(node, tag, attributes):
            return False
        if is_block(node, tag):
            inline.separate()
        return inline.enter(node, tag, attributes)

    def leave(node: LexborNode, tag: str) -> None:
        if is_block(node, tag):
            inline.separate()
        inline.leave(node, tag)

    walk(root, inline.add_text, enter, leave, most_depth)
    text = inline.take()
    return text if is_preformatted else " ".join(text.split())


def walk(
    root: LexborNode,
    add_text: Callable[[LexborNode], None],
    enter: Callable[[LexborNode, str, Attributes], bool],
    leave: Callable[[LexborNode, str], None],
    most_depth: int,
) -> None:
    """Visit what is inside an element in order, without recursion, for which a tree may be too deep.

    Args:
        add_text: called with each text node.
        enter: called with each element, its tag and its attributes; returns whether to visit its children.
        leave: called with each block, link and the like whose children were visited, after them.

    Raises:
        Unreadable: elements are nested deeper than `most_depth`.
    """
    outer: list[LexborNode | None] = []
    """The elements around the place; None for one that need not be told its end."""
    places: list[LexborNode | None] = [root.first_child]
    """The next node to visit, inside the root and inside each of them."""
    while True:
        node = places[-1]
        if node is None:
            places.pop()
            if not places:
                return
            ended = outer.pop()
            if ended is not None:
                leave(ended, ended.tag or "")
            continue
        places[-1] = node.next
        if node.is_text_node:
            add_text(node)
            continue
        if not node.is_element_node:
            continue
        tag, attributes, inside = node.tag or "", node.attributes, node
        if tag == "template":
            if "shadowrootmode" not in attributes:
                continue
            inside = node.template_fragments()[0]  # what a browser shows in place of the element around it
        elif not enter(node, tag, attributes):
            continue
        if len(places) > most_depth:
            raise Unreadable(f"elements are nested more than {most_depth} deep")
        outer.append(node if tag in _ENDING or "-" in tag else None)
        places.append(inside.first_child)


def is_block(node: LexborNode, tag: str) -> bool:
    """Whether an element stands apart from the text around it; a custom element does if there is no text beside it."""
    if "-" not in tag and tag != "button":
        return tag in BLOCKS
    return not _is_in_line(node.prev, "prev") and not _is_in_line(node.next, "next")


def _is_in_line(sibling: LexborNode | None, direction: str) -> bool:
    while sibling is not None and not sibling.is_element_node:
        if sibling.is_text_node and (sibling.text_content or "").strip():
            return True
        sibling = getattr(sibling, direction)
    tag = (sibling.tag if sibling is not None else None) or "-"
    return "-" not in tag and tag != "button" and tag not in BLOCKS


def _check_box(node: LexborNode, attributes: Attributes) -> str:
    """How a box in a list, a table or a sentence is shown; elsewhere, one only folds a part of the page."""
    parent = node.parent
    is_box = (attributes.get("type") or "").lower() in ("checkbox", "radio")
    if not is_box or parent is None or parent.tag not in _HOLD_BOXES:
        return ""
    return f" {CHECKED if 'checked' in attributes else UNCHECKED} "


def _apart(text: str) -> str:
    """The text of a picture, apart from the words beside it; one character, such as an emoji, may belong to them."""
    return f" {text} " if len(text) > 1 else text


def _labels(svg: LexborNode) -> str:
    """The labels in a drawing, apart from each other; an icon has none."""
    found = [" ".join(label.text().split()) for label in svg.css("text, foreignObject")]
    return _apart(", ".join(filter(None, found)))
