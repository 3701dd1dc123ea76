"""HTML: headings, paragraphs, lists, tables and code of the page, as Markdown; what surrounds them is dropped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from index.documents.document import Document, Skipped
from index.documents.formats.blocks import MarkdownText
from index.documents.formats.encoding import decode
from index.documents.formats.settings import ReadSettings, Unreadable

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


_NEVER = _tags(
    "script style noscript template svg iframe object embed audio video canvas map select option button input textarea "
    "datalist head"
)
_BLOCKS = _tags(
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure "
    "footer form header hgroup hr html legend li main menu nav ol p section summary table tbody td tfoot th thead tr ul"
)
_SURROUNDINGS = frozenset(["nav", "header", "footer", "aside", "form", "dialog", "menu"])
_ROLES = frozenset(["navigation", "banner", "contentinfo", "complementary", "search", "menu", "menubar", "doc-toc"])
_NAMES = _tags(
    "navheader navfooter docnav banner footer footer-text nav-panel navbar breadcrumb breadcrumbs pagination toc"
)
"""Classes and ids of what surrounds the text where it has no element of its own: in pages of DocBook, Publican, Sphinx,
AsciiDoc and Texinfo, and by wide custom."""
_BOXES = _tags("note tip hint warning caution danger important attention admonition")
"""Classes of boxes whose heading, often only "Note", is over the box alone: what follows them stands under the heading
before."""
_NOTES = "[role=note], [role^=doc-], .topic, " + ", ".join(f".{name}" for name in sorted(_BOXES))
"""Asides that belong to the text: footnotes and boxes."""
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_ALL_HEADINGS = ", ".join(_HEADINGS)
_CONTENT = "h1, h2, h3, p, table, article, main"
_MOSTLY_LINKS = 0.6
"""Share of the letters of a table of contents that stand in links; one that also explains has half or less."""
_LAYOUT = f"{_ALL_HEADINGS}, pre, table"
_PERMALINKS = frozenset(["¶", "#", "§", "🔗", "\uf0c1"])
_DECLARED = re.compile(
    rb"<(?:meta[^>]{0,200}|\?xml[^>]{0,100})(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.I
)


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document; its title is the first level-1 heading, else the page's title.

    Raises:
        Unreadable: binary, in an unknown encoding, nested too deeply, too long, or without text.
    """
    from selectolax.lexbor import LexborHTMLParser

    declared = _DECLARED.search(data[:2048])
    tree = LexborHTMLParser(decode(data, declared.group(1).decode("ascii") if declared else None))
    root = tree.root
    if root is None:
        raise Unreadable("empty")
    text = ""
    # A page that is nothing but navigation (a list of links) is worth its links.
    for keep_surroundings in (False, True):
        text = text or _Page(settings, keep_surroundings).read(root)
    if not text:
        raise Unreadable("no text")
    title = tree.css_first("title")
    document = Document.of(name, text, is_markdown=True)
    if title is not None and not re.search(r"^# ", text, re.MULTILINE):
        document = Document.of(name, text, title=" ".join(title.text().split()), is_markdown=True)
    return [document]


class _Page:
    """One pass over the tree of a page; it may be deep, so the places to visit are on a list, not on the stack."""

    def __init__(self, settings: ReadSettings, keep_surroundings: bool) -> None:
        self.out = MarkdownText(settings.limits.characters)
        self.depth_limit = settings.limits.depth
        self.keep_surroundings = keep_surroundings
        self.parts_of_text: tuple[str, ...] = ()
        """Elements whose headers and footers are content."""
        self.inline: list[str] = []
        self.lists: list[int] = []
        """Number of the item at hand in each list around it; -1 where items have no numbers."""
        self.marker = ""
        """Of an item whose text has not begun yet."""

    def read(self, root: LexborNode) -> str:
        """The text of the page; empty where there is none.

        Raises:
            Unreadable: nested too deeply, or too long.
        """
        # Where a page names its main part, the sections around that part are its layout.
        names_main = root.css_first("main, [role=main]") is not None
        self.parts_of_text = ("article", "main") if names_main else ("article", "main", "section")
        places: list[tuple[LexborNode, int, bool]] = [(root, 0, False)]
        while places:
            node, depth, leaving = places.pop()
            if leaving:
                self._leave(node)
            elif self._enter(node):
                if depth >= self.depth_limit:
                    raise Unreadable(f"elements are nested more than {self.depth_limit} deep")
                places.append((node, depth, True))
                child = node.last_child
                while child is not None:
                    places.append((child, depth + 1, False))
                    child = child.prev
        self._flush()
        return self.out.text

    def _enter(self, node: LexborNode) -> bool:
        """Take in what can be taken in whole; whether the children are to be visited."""
        tag = node.tag or ""
        if node.is_text_node:
            self.inline.append(_spaced(node.text_content or ""))
        elif tag == "br":
            self.inline.append("\n")
        elif tag == "img":
            # An image that is a link is a logo or a button: its text says where it leads.
            if self.keep_surroundings or not _is_inside(node, ("a",)):
                self.inline.append(_spaced(node.attributes.get("alt") or ""))
        elif not node.is_element_node or self._is_dropped(node, tag):
            return False
        elif tag in _HEADINGS:
            self._flush()
            if _is_in_box(node):
                self.out.paragraph(_inline_text(node))
            else:
                self.out.heading(_HEADINGS[tag], _inline_text(node))
        elif tag == "pre":
            self._flush()
            self.out.code(_preformatted(node))
        elif tag == "table" and _is_data(node):
            self._flush()
            self._table(node)
        elif tag == "a" and node.text(strip=True) in _PERMALINKS:
            return False
        else:
            self._open(tag)
            return True
        return False

    def _open(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._flush()
        if tag in ("ul", "ol", "menu", "dir"):
            if not self.lists:
                self.out.end_list()
            self.lists.append(0 if tag == "ol" else -1)
        elif tag == "li":
            if self.lists and self.lists[-1] >= 0:
                self.lists[-1] += 1
            self.marker = f"{self.lists[-1]}." if self.lists and self.lists[-1] >= 0 else "-"

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag in _BLOCKS and self._flush() and tag == "dt":
            self.out.keep_with_next()
        if tag in ("ul", "ol", "menu", "dir") and self.lists:
            self.lists.pop()
        elif tag == "li":
            self.marker = ""

    def _is_dropped(self, node: LexborNode, tag: str) -> bool:
        attributes = node.attributes
        if tag in _NEVER or "hidden" in attributes:
            return True
        if self.keep_surroundings:
            return False
        if tag == "form":  # some sites put the whole page into one
            return node.css_first(_CONTENT) is None
        if tag in ("header", "footer"):
            return not _is_inside(node, self.parts_of_text) and not _holds_only_title(node, tag)
        if tag == "aside":
            return not node.css_matches(_NOTES) and node.css_first(_NOTES) is None
        if tag in _SURROUNDINGS or (attributes.get("role") or "").lower() in _ROLES:
            return True
        return not _NAMES.isdisjoint(_names(node)) and _surrounds(node)

    def _table(self, table: LexborNode) -> None:
        rows: list[list[str]] = []
        has_header = False
        for row in table.css("tr"):
            cells = [cell for cell in _children(row) if cell.tag in ("td", "th")]
            if not rows:
                has_header = bool(cells) and all(cell.tag == "th" for cell in cells)
            rows.append([_inline_text(cell) for cell in cells])
        caption = table.css_first("caption")
        if caption is not None:
            self.out.paragraph(_inline_text(caption))
        self.out.table(rows, has_header)

    def _flush(self) -> bool:
        """Write the text gathered since the last block; whether there was any."""
        lines = [" ".join(line.split()) for line in "".join(self.inline).split("\n")]
        self.inline.clear()
        text = "\n".join(line for line in lines if line)
        if not text:
            return False
        indent = "  " * max(len(self.lists) - 1, 0)
        if self.marker:
            self.out.item(self.marker, text, indent)
            self.marker = ""
        else:
            self.out.paragraph(text, indent + "  " if self.lists else "")
        return True


def _is_data(table: LexborNode) -> bool:
    """Whether a table holds data: one around headings, code or other tables is the layout of a page."""
    if (table.attributes.get("role") or "") in ("presentation", "none"):
        return False
    return all(inner.mem_id == table.mem_id for inner in table.css(_LAYOUT))


def _names(node: LexborNode) -> list[str]:
    """The classes and the id of an element."""
    return f"{node.attributes.get('class') or ''} {node.attributes.get('id') or ''}".lower().split()


def _surrounds(node: LexborNode) -> bool:
    """Whether an element with the name of a surrounding is one: a table of contents may also say what is where."""
    if node.css_first("h1, main, article, [role=main]") is not None:
        return False
    return "toc" not in _names(node) or _share_of_links(node) > _MOSTLY_LINKS


def _share_of_links(node: LexborNode) -> float:
    """Of the letters of an element."""
    linked = sum(len(link.text(strip=True)) for link in node.css("a"))
    return linked / max(len(node.text(strip=True)), 1)


def _is_in_box(heading: LexborNode) -> bool:
    """Whether a heading is the only one of a box."""
    parent = heading.parent
    while parent is not None:
        if parent.tag in ("aside", "blockquote") or not _BOXES.isdisjoint(_names(parent)):
            return len(parent.css(_ALL_HEADINGS)) == 1
        parent = parent.parent
    return False


def _holds_only_title(header: LexborNode, tag: str) -> bool:
    """Whether a page's header is where its author put the only level-1 heading, and no menu."""
    if tag == "footer" or header.css_first("h1") is None or header.css_first("nav, ul, form") is not None:
        return False
    root = header.parser.root
    return root is not None and len(root.css("h1")) == 1


def _is_inside(node: LexborNode, tags: tuple[str, ...]) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.tag in tags:
            return True
        parent = parent.parent
    return False


def _children(node: LexborNode) -> list[LexborNode]:
    found = []
    child = node.first_child
    while child is not None:
        found.append(child)
        child = child.next
    return found


def _spaced(text: str) -> str:
    """White space of the source, line ends too, is one space on the page."""
    return re.sub(r"\s+", " ", text)


def _inline_text(node: LexborNode) -> str:
    """The text of a heading or cell in one line; blocks inside are set apart."""
    parts: list[str] = []
    for inner in node.traverse(include_text=True):
        if inner.is_text_node:
            words = inner.text_content or ""
            is_permalink = inner.parent is not None and inner.parent.tag == "a" and words.strip() in _PERMALINKS
            if not is_permalink and not _is_never(inner, node):
                parts.append(words)
        elif inner.tag == "img":
            parts.append(inner.attributes.get("alt") or "")
        elif inner.tag == "br" or (inner.tag in _BLOCKS and inner.mem_id != node.mem_id):
            parts.append(" ")
    return " ".join("".join(parts).split())


def _is_never(text: LexborNode, end: LexborNode) -> bool:
    """Whether a text stands in a script or the like below `end`."""
    parent = text.parent
    while parent is not None and parent.mem_id != end.mem_id:
        if parent.tag in _NEVER:
            return True
        parent = parent.parent
    return False


def _preformatted(node: LexborNode) -> str:
    parts = []
    for inner in node.traverse(include_text=True):
        if inner.is_text_node:
            parts.append(inner.text_content or "")
        elif inner.tag == "br":
            parts.append("\n")
    return "".join(parts)
