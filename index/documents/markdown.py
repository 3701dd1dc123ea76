"""What the index knows of Markdown: what its readers see, its headings, tables and lists.

Lines inside fenced code blocks and inside YAML front matter are never headings, whatever they look like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from index.documents.front_matter import front_matter_end

_CANDIDATE = re.compile(r"^ {0,3}(?:#|`{3}|~{3}|={2}|-{2})[^\n]*\n?", re.MULTILINE)
"""A line that may be a heading, the underline of one, or a fence. Nearly all lines are none of these."""
_FENCE = re.compile(r"^ {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$")
_ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+(?=[^ \t\n])")
_UNDERLINE = re.compile(r"^ {0,3}(?:={2,}|-{2,})\s*$")
_NOT_A_PARAGRAPH = re.compile(r"^(?: {4}|\t|\s*(?:[-*+>|#]|\d+[.)]\s|`{3}|~{3}|={2}))")

_ATTRIBUTE = r"(?:[#.][^\s{}]+|[\w:-]+=(?:\"[^\"{}]*\"|[^\s{}\"]+)|-)"
_ATTRIBUTES = re.compile(rf"[ \t]+\{{:?[ \t]*{_ATTRIBUTE}(?:[ \t]+{_ATTRIBUTE})*[ \t]*\}}$")
"""Attributes of a heading as Pandoc, kramdown and others write them: `{#id .class key=value}`."""
_DESTINATION = r"\((?:[^()\s]|\([^()\s]*\))*(?:[ \t]+(?:\"[^\"]*\"|'[^']*'))?\)"
_IMAGE = re.compile(rf"!\[([^\[\]]*)\]{_DESTINATION}")
_LINK = re.compile(rf"\[([^\[\]]*)\]{_DESTINATION}")

_DELIMITER_ROW = re.compile(r"^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$", re.MULTILINE)
_END_OF_TABLE = re.compile(r"\n(?=[ \t]*(?:\n|#|`{3}|~{3}))")
_BORDER = re.compile(r"(?<!\\)\|")
_ITEM = re.compile(
    r"[ \t]*(?:[-*+]|\d{1,9}[.)]|\d{1,4}(?:\.\d{1,4}){1,8}[.)]?"
    r"|\(?(?:[a-zA-Z]|[ivxlc]{2,7}|[IVXLC]{2,7}|\d{1,4})[.)])[ \t]+(?=\S)"
)
"""The marker of a list item, as Markdown has it or as offices number: `1.1`, `(a)`, `iv.`."""
_MOST_LINES = 400
"""Lines above a nested list item among which its parents are looked for."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: `text[start:end]`, one line or two if underlined, including the line end."""

    level: int
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Table:
    """A table, `text[start:end]`; `text[start:body]` is the row of its column names."""

    start: int
    body: int
    end: int


@lru_cache(maxsize=4)
def headings(text: str) -> tuple[Heading, ...]:
    """The headings of a Markdown text in order, both `# ATX` and underlined ones.

    Their texts are as a reader sees them: links by their words, without badges, and without attributes as in `{#id}`.
    Cached, because a document's are asked for when it is read, titled and cut.
    """
    found: list[Heading] = []
    fence = ""
    skip_until = front_matter_end(text)
    for match in _CANDIDATE.finditer(text):
        line, start, end = match.group(), match.start(), match.end()
        if start < skip_until:
            continue
        mark = _FENCE.match(line.rstrip())
        if fence:
            if mark and mark.group(1).startswith(fence) and not mark.group(2).strip():
                fence = ""
        elif mark:
            fence = mark.group(1)
        elif (atx := _ATX.match(line)) and (words := _without_closing(line[atx.end() :])).strip("#"):
            found.append(Heading(len(atx.group(1)), _words(words), start, end))
        elif _UNDERLINE.match(line):
            above = _line_above(text, start)
            previous, before = text[above:start], text[_line_above(text, above) : above]
            # Only a paragraph of one line is a heading: not the head of a table, or a list.
            if previous.strip() and not _NOT_A_PARAGRAPH.match(previous) and not before.strip():
                found.append(Heading(1 if "=" in line else 2, _words(previous.strip()), above, end))
    return tuple(found)


def tables(text: str) -> list[Table]:
    """The tables of a Markdown text in order: a row of column names, a row of dashes, and the rows below."""
    found: list[Table] = []
    for row in _DELIMITER_ROW.finditer(text):
        start = _line_above(text, row.start())
        head = text[start : row.start()]
        if "|" in row.group() and head.strip("| \t\n") and _columns(head) == _columns(row.group()):
            end = _END_OF_TABLE.search(text, row.end())
            found.append(Table(start, row.start(), end.start() if end else len(text)))
    return found


def parents(text: str, top: int, place: int) -> list[str]:
    """The first lines of the list items that the line at `place` is nested in, outermost first.

    Args:
        top: where the section of this line begins; nothing above it is a parent.
    """
    line = text.rfind("\n", 0, place) + 1
    indent = _indent(text, line)
    found: list[str] = []
    for _ in range(_MOST_LINES):
        if not indent or line <= top:
            break
        line, end = _line_above(text, line), line
        if text[line:end].isspace() or (own := _indent(text, line)) >= indent:
            continue
        if item := _ITEM.match(text, line, end):
            found.append(text[item.end() : end].rstrip())
        elif not own:
            break
        indent = own
    return found[::-1]


def _line_above(text: str, start: int) -> int:
    """Start of the line above the one that starts here; only a newline ends a line."""
    return text.rfind("\n", 0, max(start - 1, 0)) + 1


def _indent(text: str, line: int) -> int:
    """Width of the white space at the start of the line that starts here; tabs reach to multiples of four."""
    end = line
    while text[end : end + 1] in (" ", "\t"):
        end += 1
    return len(text[line:end].expandtabs(4))


def _columns(row: str) -> int:
    return len(_BORDER.split(row.strip().removeprefix("|").removesuffix("|")))


def _without_closing(words: str) -> str:
    """The words of a heading without the `#` characters that may close it; attributes may follow these."""
    words = words.strip()
    words = _ATTRIBUTES.sub("", words) if words.endswith("}") else words
    open_words = words.rstrip("#")
    return open_words.rstrip() if open_words[-1:] in (" ", "\t") else words


def _words(heading: str) -> str:
    """A heading without attributes, its links and pictures replaced by their words; badges beside other words go."""
    if heading.endswith("}"):
        heading = _ATTRIBUTES.sub("", heading)
    if "](" not in heading:
        return heading
    for name in ("", r"\1"):
        words = " ".join(_LINK.sub(r"\1", _IMAGE.sub(name, heading)).split())
        if words:
            return words
    return heading
