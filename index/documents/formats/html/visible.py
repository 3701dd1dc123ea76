"""Which elements of a page its reader does not get: controls, deleted and hidden text, decorations of code, and what
surrounds the text of the page.

Of style rules, only the plainest count (see `styles`); a part that a script or another rule hides is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from selectolax.lexbor import LexborNode

from index.documents.formats.html.styles import hidden_names

Attributes = Mapping[str, str | None]


def words(names: str) -> frozenset[str]:
    """A set of names that are written in one string."""
    return frozenset(names.split())


_NEVER = words(
    "style noscript iframe object embed audio video canvas map select option textarea datalist head rp del s strike"
)
"""Elements that are never read: what runs, plays or is filled in; and text that is no longer valid."""
_SURROUNDINGS = words("nav aside form dialog menu")
_JUDGED = _SURROUNDINGS | words("header footer script button")
_DECIDING = _NEVER | _JUDGED
_TELLING = words("style hidden aria-hidden role data-line-number id")
"""Elements and attributes that may decide whether an element is read."""
_ROLES = words(
    "navigation banner contentinfo complementary search menu menubar toolbar doc-toc dialog alertdialog tooltip"
)
_NAMES = words(
    "navheader navfooter docnav banner footer footer-text nav-panel navbar breadcrumb breadcrumbs pagination toc"
)
"""Classes and ids of surroundings that have no element of their own: in pages of DocBook, Publican, Sphinx, AsciiDoc
and Texinfo, and by common convention."""
_STRUCK = words("line-through strikethrough strike")
"""Classes of struck text in pages of AsciiDoc and docutils, and by convention."""
BOXES = words("note tip hint warning caution danger important attention admonition")
"""Classes of boxes whose heading, often only "Note", applies to the box alone; the text after it belongs to the heading
before it."""
_NOTES = "[role=note], [role^=doc-], .topic, " + ", ".join(f".{name}" for name in sorted(BOXES))
"""Selects asides that belong to the text: footnotes and boxes."""
HEADINGS = {f"h{level}": level for level in range(1, 7)}
ALL_HEADINGS = ", ".join([*HEADINGS, "[role=heading]"])
_CONTENT = "h1, h2, h3, p, table, article, main"
_MAIN_CONTENT = "h1, main, article, [role=main]"
_MOSTLY_LINKS = 0.6
"""Share of letters in links above which a table of contents is dropped; one with explanations has half or less."""
_PARTS_OF_TEXT = words("article main blockquote figure details")
"""Elements whose headers and footers belong to the text."""

_UNSEEN = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))\b", re.I)
_LINE_THROUGH = re.compile(r"(?:^|;)\s*text-decoration(?:-line)?\s*:[^;]*\bline-through\b", re.I)
_NUMBERED = re.compile(r"(?:^|[\s_-])(?:line-?no|line-?num|lnt?\b|gutter|rowno|blob-num)", re.I)
"""Finds a class of line numbers."""
_COPYING = re.compile(r"(?:^|[\s_-])copy|clipboard", re.I)
_LONGEST_CONTROL = 20


@dataclass(frozen=True, slots=True)
class _Called:
    """What the classes of an element say of it, by convention.

    Attributes:
        struck: it is struck through.
        surroundings: those that name what surrounds the text of a page.
        numbers: it holds the numbers of lines.
        copies: it is a control that copies.
    """

    struck: bool = False
    surroundings: frozenset[str] = frozenset()
    numbers: bool = False
    copies: bool = False


_NOTHING = _Called()


class Visible:
    """Decides for the elements of one page whether they are read.

    Args:
        root: the page.
        keep_surroundings: whether to read navigation, banners and the like, too.
    """

    def __init__(self, root: LexborNode, keep_surroundings: bool) -> None:
        self.keep_surroundings = keep_surroundings
        self._root = root
        # If a page names its main part, the sections around that part are layout.
        self._names_main = root.css_first("main, [role=main]") is not None
        self._parts_of_text = _PARTS_OF_TEXT if self._names_main else _PARTS_OF_TEXT | {"section"}
        self._unseen = hidden_names(root)
        self._opened: frozenset[str] | None = None
        self._heading_count: int | None = None

    def drops(self, node: LexborNode, tag: str, attributes: Attributes) -> bool:
        """Whether an element and all in it are left out."""
        if not attributes and tag not in _DECIDING:
            return False
        if tag in _NEVER:
            return True
        if self._unseen and not self._unseen.isdisjoint(_selectors(attributes)):
            return True
        classes = attributes.get("class")
        called = _called(classes) if classes else _NOTHING
        # Nearly all elements are none of these, and there are many of them.
        if called is _NOTHING and tag not in _JUDGED and _TELLING.isdisjoint(attributes):
            return False
        if (tag == "script" and not is_formula(attributes)) or (tag == "button" and not _is_read(node, attributes)):
            return True
        if called.struck or self._is_hidden(node, attributes) or _decorates_code(node, attributes, called):
            return True
        return not self.keep_surroundings and self._surrounds(node, tag, attributes, called)

    def _is_hidden(self, node: LexborNode, attributes: Attributes) -> bool:
        style = attributes.get("style") or ""
        if _LINE_THROUGH.search(style):
            return True
        if (attributes.get("aria-hidden") or "").lower() == "true":
            # Behind an open dialogue, the page itself is hidden from screen readers; otherwise these are icons, and
            # pictures of text that is there in another form.
            return node.tag not in ("main", "body", "article") and node.css_first(_MAIN_CONTENT) is None
        if attributes.get("hidden", "until-found") == "until-found" and not _UNSEEN.search(style):
            return False
        return (attributes.get("role") or "") != "tabpanel" and (attributes.get("id") or "") not in self._openable()

    def _openable(self) -> frozenset[str]:
        """The ids of all parts that a control of the page opens: the answers of a folded list of questions."""
        if self._opened is None:
            controls = [control.attributes.get("aria-controls") or "" for control in self._root.css("[aria-controls]")]
            self._opened = frozenset(" ".join(controls).split())
        return self._opened

    def _surrounds(self, node: LexborNode, tag: str, attributes: Attributes, called: _Called) -> bool:
        if tag in ("header", "footer"):
            return self._is_banner(node, tag)
        if tag == "form":  # some sites wrap the whole page in one
            return node.css_first(_CONTENT) is None
        if tag == "aside":
            return not node.css_matches(_NOTES) and node.css_first(_NOTES) is None
        if tag in _SURROUNDINGS or (attributes.get("role") or "").lower() in _ROLES:
            return True
        named = called.surroundings | _NAMES.intersection((attributes.get("id") or "").lower().split())
        if not named or node.css_first(_MAIN_CONTENT) is not None:
            return False
        return "toc" not in named or _share_in_links(node) > _MOSTLY_LINKS

    def _is_banner(self, node: LexborNode, tag: str) -> bool:
        """Whether a header or footer is that of the page, not of an article or a card in it."""
        if is_inside(node, self._parts_of_text):
            return False
        if tag == "header" and self._holds_title(node):
            return False
        return self._names_main or not self._heads_a_part(node)

    def _holds_title(self, header: LexborNode) -> bool:
        """Whether a header holds the title of the page, the only one of the highest level, and no menu."""
        if header.css_first("nav, ul, form") is not None:
            return False
        inner = header.css_first(ALL_HEADINGS)
        if inner is None:
            return False
        tag = inner.tag or ""
        return len(self._root.css("h1" if tag not in HEADINGS else f"h1, {tag}")) == 1

    def _heads_a_part(self, node: LexborNode) -> bool:
        """Whether there are headings outside of what a header or footer stands in."""
        if self._heading_count is None:
            self._heading_count = len(self._root.css(ALL_HEADINGS))
        own = len(node.text(strip=True))
        outer = node.parent
        while outer is not None and len(outer.text(strip=True)) <= own:
            outer = outer.parent
        return outer is not None and 0 < len(outer.css(ALL_HEADINGS)) < self._heading_count


def is_formula(attributes: Attributes) -> bool:
    """Whether a script is a formula that MathJax shows."""
    return (attributes.get("type") or "").startswith("math/")


@lru_cache(maxsize=1024)  # pages use few classes for many elements
def _called(classes: str) -> _Called:
    names = frozenset(classes.lower().split())
    called = _Called(
        not _STRUCK.isdisjoint(names),
        _NAMES & names,
        _NUMBERED.search(classes) is not None,
        _COPYING.search(classes) is not None,
    )
    return _NOTHING if called == _NOTHING else called


def _selectors(attributes: Attributes) -> Iterator[str]:
    """The classes and the id of an element as style rules write them."""
    yield from (f".{name}" for name in (attributes.get("class") or "").lower().split())
    yield f"#{(attributes.get('id') or '').lower()}"


def is_box(attributes: Attributes) -> bool:
    """Whether an element is called a box by its class or id."""
    return not BOXES.isdisjoint(f"{attributes.get('class') or ''} {attributes.get('id') or ''}".lower().split())


def is_inside(node: LexborNode, outer_tags: frozenset[str]) -> bool:
    """Whether one of these elements is around a node."""
    return any(outer.tag in outer_tags for outer in ancestors(node))


def ancestors(node: LexborNode) -> Iterator[LexborNode]:
    """The elements around a node, from the innermost."""
    outer = node.parent
    while outer is not None:
        yield outer
        outer = outer.parent


def are_line_numbers(text: str) -> bool:
    """Whether a text is nothing but two or more successive numbers."""
    numbers = text.split()
    if len(numbers) < 2 or not all(number.isdecimal() and len(number) < 9 for number in numbers):
        return False
    first = int(numbers[0])
    return all(int(number) == place for place, number in enumerate(numbers, first))


def _is_read(button: LexborNode, attributes: Attributes) -> bool:
    """Whether the words of a button are text: a heading, the name of a part that it opens, or a word of a sentence."""
    if "aria-expanded" in attributes or "aria-controls" in attributes or attributes.get("role") == "tab":
        return True
    if button.css_first(ALL_HEADINGS) is not None:
        return True
    for outer in ancestors(button):
        if outer.tag in HEADINGS or outer.tag in ("summary", "dt") or outer.attributes.get("role") == "heading":
            return True
        if outer.tag == "pre":
            return False
    return _is_text(button.prev) and _is_text(button.next)


def _is_text(node: LexborNode | None) -> bool:
    return node is not None and node.is_text_node and bool((node.text_content or "").strip())


def _decorates_code(node: LexborNode, attributes: Attributes, called: _Called) -> bool:
    """Whether an element holds the numbers of lines of code, or a control that copies code."""
    if called.numbers or "data-line-number" in attributes:
        return not node.text().strip("0123456789 \t\r\n:.|\xa0")
    if called.copies:
        is_short = len(node.text(strip=True)) <= _LONGEST_CONTROL
        parent = node.parent
        return is_short and parent is not None and (parent.css_first("pre") is not None or is_inside(node, _PRE))
    return False


_PRE = frozenset(["pre"])


def _share_in_links(node: LexborNode) -> float:
    linked = sum(len(link.text(strip=True)) for link in node.css("a"))
    return linked / max(len(node.text(strip=True)), 1)
