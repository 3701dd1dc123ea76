"""Writes the Markdown that rich formats are extracted to, so that one chunker with heading paths serves all.

Only what a reader of headings, lists, tables and code understands is written. Text that merely looks like such a
mark is escaped, so that no sentence becomes a heading and no stray fence swallows the headings below it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from index.documents.formats.settings import Unreadable

_LOOKS_LIKE_A_MARK = re.compile(r"^( {0,3})(?=#{1,6}(?:[ \t]|$)|={2,}[ \t]*$|-{2,}[ \t]*$|`{3}|~{3})", re.MULTILINE)
_FENCE = re.compile(r"`{3,}")
_CLOSING_HASHES = re.compile(r"(?<=[ \t])(?=#+$)")


class MarkdownText:
    """A text that grows block by block."""

    def __init__(self, most_characters: int) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._most = most_characters
        self._in_list = False
        self._is_kept = False

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def heading(self, level: int, text: str) -> None:
        """A heading; one without any letter or digit that could name a section is a paragraph."""
        text = " ".join(text.split())
        if not text.strip("# \t"):
            self.paragraph(text)
        else:
            words = _CLOSING_HASHES.sub(r"\\", text)
            self._block(f"{'#' * min(max(level, 1), 6)} {words}")

    def paragraph(self, text: str, indent: str = "") -> None:
        """A paragraph; its line ends are kept."""
        lines = (line.strip() for line in escaped(text).split("\n"))
        self._block("\n".join(indent + line for line in lines if line), is_paragraph=True)

    def item(self, marker: str, text: str, indent: str = "") -> None:
        """An item of a list: the next line where an item stands above."""
        lines = [line.strip() for line in text.split("\n")]
        body = f"\n{indent}{' ' * (len(marker) + 1)}".join(escaped(line) for line in lines if line)
        if body:
            self._block(f"{indent}{marker} {body}", is_item=True)

    def end_list(self) -> None:
        """Set the next item apart from those above."""
        self._in_list = False

    def keep_with_next(self) -> None:
        """Write the next block, if it is a paragraph, right below the last one: a term and what explains it."""
        self._is_kept = bool(self._parts)

    def code(self, text: str) -> None:
        """Preformatted text, in a fence that nothing inside can close."""
        text = text.strip("\n")
        if text.strip():
            fence = "`" * max(3, 1 + max((len(run) for run in _FENCE.findall(text)), default=0))
            self._block(f"{fence}\n{text}\n{fence}")

    def table(self, rows: Sequence[Sequence[str]], has_header: bool) -> None:
        """A table, a row in a line; blank rows are left out."""
        lines = []
        for row in rows:
            cells = [" ".join(cell.split()).replace("|", "\\|") for cell in row]
            if any(cells):
                lines.append(f"| {' | '.join(cells)} |")
                if has_header and len(lines) == 1:
                    lines.append("|" + " --- |" * len(cells))
        self._block("\n".join(lines))

    def _block(self, text: str, is_item: bool = False, is_paragraph: bool = False) -> None:
        if not text.strip():
            return
        if self._parts:
            is_close = (is_item and self._in_list) or (is_paragraph and self._is_kept)
            self._add("\n" if is_close else "\n\n")
        self._in_list, self._is_kept = is_item, False
        self._add(text)

    def _add(self, text: str) -> None:
        self._length += len(text)
        if self._length > self._most:
            raise Unreadable(f"more than {self._most} characters of text")
        self._parts.append(text)


def escaped(text: str) -> str:
    """Text whose lines are no headings, rules or fences, whatever they look like."""
    return _LOOKS_LIKE_A_MARK.sub(r"\1\\", text)
