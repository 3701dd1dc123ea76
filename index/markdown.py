"""Finds the headings of a Markdown text; knows nothing else about it.

Lines inside fenced code blocks and inside a YAML front matter are never headings, whatever they look like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^ {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$")
_ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+(?=[^ \t\n])")
_UNDERLINE = re.compile(r"^ {0,3}(?:={2,}|-{2,})\s*$")
_NOT_A_PARAGRAPH = re.compile(r"^(?: {4}|\t|\s*(?:[-*+>|#]|\d+[.)]\s|`{3}|~{3}|={2}))")


@dataclass(frozen=True, slots=True)
class Heading:
    """One heading line (or two, when underlined): `text[start:end]`, its line end included."""

    level: int
    text: str
    start: int
    end: int


def headings(text: str) -> list[Heading]:
    """The headings of a Markdown text, in order; `# atx` and underlined ones."""
    found: list[Heading] = []
    fence = ""
    before, previous = "", ""  # the two lines above the current one
    previous_start = start = 0
    skip_until = _front_matter_end(text)
    for line in _lines(text):
        end = start + len(line)
        if start >= skip_until:
            mark = _FENCE.match(line.rstrip())
            if fence:
                if mark and mark.group(1).startswith(fence) and not mark.group(2).strip():
                    fence = ""
            elif mark:
                fence = mark.group(1)
            elif (atx := _ATX.match(line)) and (words := _without_closing(line[atx.end() :])).strip("#"):
                found.append(Heading(len(atx.group(1)), words, start, end))
            elif _UNDERLINE.match(line) and _can_be_underlined(before, previous):
                level = 1 if "=" in line else 2
                found.append(Heading(level, previous.strip(), previous_start, end))
        before, previous = previous, line
        previous_start, start = start, end
    return found


def _without_closing(words: str) -> str:
    """The words of a heading without the `#` marks that may close it."""
    words = words.strip()
    open_words = words.rstrip("#")
    return open_words.rstrip() if open_words[-1:] in (" ", "\t") else words


def _can_be_underlined(before: str, previous: str) -> bool:
    """Only a paragraph of one line: rules, table heads and lists have lines of dashes too."""
    return bool(previous.strip()) and not _NOT_A_PARAGRAPH.match(previous) and not before.strip()


def _front_matter_end(text: str) -> int:
    match = re.match(r"---[ \t]*\n(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|$)", text)
    return match.end() if match else 0


def _lines(text: str) -> list[str]:
    """Lines as Markdown counts them: only a newline ends one (`str.splitlines` knows a dozen other ends)."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
