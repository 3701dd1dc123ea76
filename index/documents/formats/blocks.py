"""Writes the Markdown that rich formats are extracted to: headings, paragraphs, lists, tables and code.

Text that merely looks like such markup is escaped, so that no sentence becomes a heading and no stray fence swallows
the headings below it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from index.documents.formats.settings import Unreadable

_LOOKS_LIKE_MARKUP = re.compile(r"^( {0,3})(?=#{1,6}(?:[ \t]|$)|={2,}[ \t]*$|-{2,}[ \t]*$|`{3}|~{3})", re.MULTILINE)
_FENCE = re.compile(r"`{3,}")
_CLOSING_HASHES = re.compile(r"(?<=[ \t])(?=#+$)")


class MarkdownText:
    """A Markdown text that is written block by block; text beyond `most_characters` raises `Unreadable`."""

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
        """Add a heading, or a paragraph if its text is blank or only `#` characters."""
        text = " ".join(text.split())
        if not text.strip("# \t"):
            self.paragraph(text)
        else:
            words = _CLOSING_HASHES.sub(r"\\", text)
            self._block(f"{'#' * min(max(level, 1), 6)} {words}")

    def paragraph(self, text: str, indent: str = "") -> None:
        """Add a paragraph; its line ends are kept."""
        lines = (line.strip() for line in escaped(text).split("\n"))
        self._block("\n".join(indent + line for line in lines if line), is_paragraph=True)

    def item(self, marker: str, text: str, indent: str = "") -> None:
        """Add a list item, directly below the one above if there is one."""
        lines = [line.strip() for line in text.split("\n")]
        body = f"\n{indent}{' ' * (len(marker) + 1)}".join(escaped(line) for line in lines if line)
        if body:
            self._block(f"{indent}{marker} {body}", is_item=True)

    def end_list(self) -> None:
        """Separate the next item from those above."""
        self._in_list = False

    def keep_with_next(self) -> None:
        """Write the next block, if it is a paragraph, directly below the last one: a term and its definition."""
        self._is_kept = bool(self._parts)

    def code(self, text: str) -> None:
        """Add preformatted text, in a fence that nothing inside can close."""
        text = text.strip("\n")
        if text.strip():
            fence = "`" * max(3, 1 + max((len(run) for run in _FENCE.findall(text)), default=0))
            self._block(f"{fence}\n{text}\n{fence}")

    def table(self, rows: Sequence[Sequence[str]], has_header: bool) -> None:
        """Add a table, one line per row; blank rows are left out."""
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
            text = ("\n" if is_close else "\n\n") + text
        self._in_list, self._is_kept = is_item, False
        self._length += len(text)
        if self._length > self._most:
            raise Unreadable(f"more than {self._most} characters of text")
        self._parts.append(text)


def escaped(text: str) -> str:
    """Escape lines that look like headings, rules or fences."""
    return _LOOKS_LIKE_MARKUP.sub(r"\1\\", text)
