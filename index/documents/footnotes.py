"""Moves the footnotes of a Markdown text to the sections that refer to them.

Authors gather footnotes at the end of a page, under a heading that they have nothing to do with.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from operator import itemgetter

from index.documents.markdown import headings

_NOTE = re.compile(
    r"^ {0,3}\[\^([^][\s]{1,100})\]:[ \t]++\S.*(?:\n(?:[ \t]*+\n)*(?: {2}|\t)[ \t]*+\S.*)*(?:\n|\Z)", re.MULTILINE
)
"""A footnote with the lines that are indented below it."""
_MARK = re.compile(r"\[\^([^][\s]{1,100})\](?!:)")
_FENCE = re.compile(r"^[ \t>]*(`{3,}|~{3,})([^\n]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Note:
    start: int
    end: int
    text: str


def beside_their_marks(text: str) -> str:
    """The text with each footnote below the paragraph that first refers to it, if that is in another section."""
    if "[^" not in text or "]:" not in text:
        return text
    fences = _fences(text)
    notes = {
        match[1]: _Note(match.start(), match.end(), match.group().strip())
        for match in _NOTE.finditer(text)
        if not _is_within(fences, match.start())
    }
    starts = [heading.start for heading in headings(text)]
    moves: list[tuple[int, int, str]] = []
    for match in _MARK.finditer(text) if notes else ():
        note = notes.get(match[1])
        if note is None or note.start <= match.start() < note.end or _is_within(fences, match.start()):
            continue
        del notes[match[1]]
        if bisect_right(starts, match.start()) != bisect_right(starts, note.start):
            below = text.find("\n\n", match.end())
            below = len(text.rstrip()) if below < 0 else below
            moves += [(note.start, note.end, ""), (below, below, f"\n\n{note.text}")]
    return _moved(text, moves)


def _fences(text: str) -> list[tuple[int, int]]:
    """Where fenced code begins and ends."""
    found: list[tuple[int, int]] = []
    fence, start = "", 0
    for line in _FENCE.finditer(text):
        if not fence:
            fence, start = line[1], line.start()
        elif line[1].startswith(fence) and not line[2].strip():
            found.append((start, line.end()))
            fence = ""
    return [*found, (start, len(text))] if fence else found


def _is_within(spans: list[tuple[int, int]], place: int) -> bool:
    number = bisect_right(spans, place, key=itemgetter(0)) - 1
    return number >= 0 and place < spans[number][1]


def _moved(text: str, moves: list[tuple[int, int, str]]) -> str:
    parts: list[str] = []
    done = 0
    for start, end, new in sorted(moves, key=lambda move: move[0]):
        parts += (text[done:start], new)
        done = max(done, end)
    return "".join([*parts, text[done:]])
