"""HTML: headings, paragraphs, lists, tables and code as Markdown, without what surrounds the text of a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile

from selectolax.lexbor import LexborHTMLParser, LexborNode

from index.documents.document import Document, Skipped
from index.documents.formats.blocks import MarkdownText
from index.documents.formats.encoding import decode
from index.documents.formats.settings import ReadSettings, Unreadable


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
"""Classes and ids of surroundings that have no element of their own: in pages of DocBook, Publican, Sphinx, AsciiDoc
and Texinfo, and by common convention."""
_BOXES = _tags("note tip hint warning caution danger important attention admonition")
"""Classes of boxes whose heading, often only "Note", applies to the box alone; the text after it belongs to the heading
before it."""
_NOTES = "[role=note], [role^=doc-], .topic, " + ", ".join(f".{name}" for name in sorted(_BOXES))
"""Selects asides that belong to the text: footnotes and boxes."""
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_ALL_HEADINGS = ", ".join(_HEADINGS)
_CONTENT = "h1, h2, h3, p, table, article, main"
_MOSTLY_LINKS = 0.6
"""Share of letters in links above which a table of contents is dropped; one with explanations has half or less."""
_LAYOUT = f"{_ALL_HEADINGS}, pre, table"
"""Selects what a table of data does not contain."""
_PERMALINKS = frozenset(["¶", "#", "§", "🔗", "\uf0c1"])
_DECLARED = re.compile(
    rb"<(?:meta[^>]{0,200}|\?xml[^>]{0,100})(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.I
)


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document; its title is the first level-1 heading, else the page's title.

    Raises:
        Unreadable: the file is binary, in an unknown encoding, nested too deeply, too long, or without text.
    """
    declared = _DECLARED.search(data[:2048])
    tree = LexborHTMLParser(decode(data, declared.group(1).decode("ascii") if declared else None))
    root = tree.root
    if root is None:
        raise Unreadable("empty")
    # If a page is nothing but navigation (a list of links), its links are its text.
    text = _Page(settings, keep_surroundings=False).read(root) or _Page(settings, keep_surroundings=True).read(root)
    if not text:
        raise Unreadable("no text")
    element = None if re.search(r"^# ", text, re.MULTILINE) else tree.css_first("title")
    title = " ".join(element.text().split()) if element is not None else None
    return [Document.of(name, text, title=title, is_markdown=True)]


class _Page:
    """Writes a page as Markdown in one pass over its tree, which may be too deep for recursion."""

    def __init__(self, settings: ReadSettings, keep_surroundings: bool) -> None:
        self.out = MarkdownText(settings.limits.characters)
        self.depth_limit = settings.limits.depth
        self.keep_surroundings = keep_surroundings
        self.parts_of_text: tuple[str, ...] = ()
        """Elements whose headers and footers belong to the text."""
        self.inline: list[str] = []
        """Text since the last block."""
        self.lists: list[int] = []
        """Number of the current item in each enclosing list; -1 if its items are not numbered."""
        self.marker = ""
        """Marker of an item whose text has not begun yet."""

    def read(self, root: LexborNode) -> str:
        """The text of the page; empty if it has none."""
        # If a page names its main part, the sections around that part are layout.
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
        """Write a node, if it is written as a whole; otherwise return True: its children are to be visited."""
        tag = node.tag or ""
        if node.is_text_node or tag in ("br", "img"):
            self.inline.append(self._inline_piece(node, tag))
            return False
        if not node.is_element_node or self._is_dropped(node, tag):
            return False
        if tag not in _HEADINGS and tag != "pre" and not (tag == "table" and _is_data(node)):
            self._open(tag)
            return True
        self._flush()
        if tag == "pre":
            self.out.code(_preformatted(node))
        elif tag == "table":
            self._write_table(node)
        elif _is_in_box(node):
            self.out.paragraph(_inline_text(node))
        else:
            self.out.heading(_HEADINGS[tag], _inline_text(node))
        return False

    def _inline_piece(self, node: LexborNode, tag: str) -> str:
        if tag == "br":
            return "\n"
        if tag != "img":
            return _spaced(node.text_content or "")
        # An image inside a link is a logo or a button: its text says where the link leads.
        is_kept = self.keep_surroundings or not _is_inside(node, ("a",))
        return _spaced(node.attributes.get("alt") or "") if is_kept else ""

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
        if tag in _NEVER or "hidden" in attributes or (tag == "a" and node.text(strip=True) in _PERMALINKS):
            return True
        if self.keep_surroundings:
            return False
        if tag == "form":  # some sites wrap the whole page in one
            return node.css_first(_CONTENT) is None
        if tag in ("header", "footer"):
            return not _is_inside(node, self.parts_of_text) and not (tag == "header" and _holds_only_title(node))
        if tag == "aside":
            return not node.css_matches(_NOTES) and node.css_first(_NOTES) is None
        if tag in _SURROUNDINGS or (attributes.get("role") or "").lower() in _ROLES:
            return True
        return not _NAMES.isdisjoint(_names(node)) and _surrounds(node)

    def _write_table(self, table: LexborNode) -> None:
        rows: list[list[str]] = []
        has_header = False
        for row in table.css("tr"):
            cells = [cell for cell in row.iter() if cell.tag in ("td", "th")]
            if not rows:
                has_header = bool(cells) and all(cell.tag == "th" for cell in cells)
            rows.append([_inline_text(cell) for cell in cells])
        caption = table.css_first("caption")
        if caption is not None:
            self.out.paragraph(_inline_text(caption))
        self.out.table(rows, has_header)

    def _flush(self) -> bool:
        """Write the text since the last block; return whether there was any."""
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
    """Whether a table holds data; one around headings, code or other tables is the layout of a page."""
    if (table.attributes.get("role") or "") in ("presentation", "none"):
        return False
    return all(inner.mem_id == table.mem_id for inner in table.css(_LAYOUT))


def _names(node: LexborNode) -> list[str]:
    """The classes and the id of an element."""
    return f"{node.attributes.get('class') or ''} {node.attributes.get('id') or ''}".lower().split()


def _surrounds(node: LexborNode) -> bool:
    """Whether an element named like a surrounding is one; a table of contents with explanations is not."""
    if node.css_first("h1, main, article, [role=main]") is not None:
        return False
    linked = sum(len(link.text(strip=True)) for link in node.css("a"))
    return "toc" not in _names(node) or linked / max(len(node.text(strip=True)), 1) > _MOSTLY_LINKS


def _is_in_box(heading: LexborNode) -> bool:
    """Whether a heading is the only one in a box."""
    for outer in _ancestors(heading):
        if outer.tag in ("aside", "blockquote") or not _BOXES.isdisjoint(_names(outer)):
            return len(outer.css(_ALL_HEADINGS)) == 1
    return False


def _holds_only_title(header: LexborNode) -> bool:
    """Whether a header holds the only level-1 heading of the page, and no menu."""
    root = header.parser.root
    has_title = header.css_first("h1") is not None and header.css_first("nav, ul, form") is None
    return has_title and root is not None and len(root.css("h1")) == 1


def _is_inside(node: LexborNode, tags: tuple[str, ...]) -> bool:
    return any(outer.tag in tags for outer in _ancestors(node))


def _ancestors(node: LexborNode) -> Iterator[LexborNode]:
    """The elements around a node, from the innermost."""
    outer = node.parent
    while outer is not None:
        yield outer
        outer = outer.parent


def _spaced(text: str) -> str:
    """Collapse white space, including line ends, as browsers do."""
    return re.sub(r"\s+", " ", text)


def _inline_text(node: LexborNode) -> str:
    """The text of a heading or cell on one line; blocks inside are separated by a space."""
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
    """Whether a text is in a script or the like below `end`."""
    inner = takewhile(lambda outer: outer.mem_id != end.mem_id, _ancestors(text))
    return any(outer.tag in _NEVER for outer in inner)


def _preformatted(node: LexborNode) -> str:
    nodes = (inner for inner in node.traverse(include_text=True) if inner.is_text_node or inner.tag == "br")
    return "".join("\n" if inner.tag == "br" else inner.text_content or "" for inner in nodes)
