"""Finds the headings of a Markdown text; nothing else of Markdown is interpreted.

Lines inside fenced code blocks and inside YAML front matter are never headings, whatever they look like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CANDIDATE = re.compile(r"^ {0,3}(?:#|`{3}|~{3}|={2}|-{2})[^\n]*\n?", re.MULTILINE)
"""A line that may be a heading, the underline of one, or a fence. Nearly all lines are none of these."""
_FRONT_MATTER = re.compile(r"---[ \t]*\n(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|$)")
_FENCE = re.compile(r"^ {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$")
_ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+(?=[^ \t\n])")
_UNDERLINE = re.compile(r"^ {0,3}(?:={2,}|-{2,})\s*$")
_NOT_A_PARAGRAPH = re.compile(r"^(?: {4}|\t|\s*(?:[-*+>|#]|\d+[.)]\s|`{3}|~{3}|={2}))")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: `text[start:end]`, one line or two if underlined, including the line end."""

    level: int
    text: str
    start: int
    end: int


def headings(text: str) -> list[Heading]:
    """The headings of a Markdown text in order, both `# ATX` and underlined ones."""
    found: list[Heading] = []
    fence = ""
    front_matter = _FRONT_MATTER.match(text)
    skip_until = front_matter.end() if front_matter else 0
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
            found.append(Heading(len(atx.group(1)), words, start, end))
        elif _UNDERLINE.match(line):
            above = _line_above(text, start)
            previous, before = text[above:start], text[_line_above(text, above) : above]
            # Only a paragraph of one line is a heading: not the head of a table, or a list.
            if previous.strip() and not _NOT_A_PARAGRAPH.match(previous) and not before.strip():
                found.append(Heading(1 if "=" in line else 2, previous.strip(), above, end))
    return found


def _line_above(text: str, start: int) -> int:
    """Start of the line above the one that starts here; only a newline ends a line."""
    return text.rfind("\n", 0, max(start - 1, 0)) + 1


def _without_closing(words: str) -> str:
    """The words of a heading without the `#` characters that may close it."""
    words = words.strip()
    open_words = words.rstrip("#")
    return open_words.rstrip() if open_words[-1:] in (" ", "\t") else words
