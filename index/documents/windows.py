"""Cuts a stretch of text into slices that fit a window, at the best places that there are.

Knows texts, measures and kinds of boundaries; nothing of documents.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import regex

_BOUNDARIES = (
    re.compile(r"\n[ \t]*\n\s*"),  # paragraph
    re.compile(r"\n(?=[ \t]*(?:[-*+]|\d+[.)])[ \t])"),  # list item
    re.compile(r"\n+"),  # line, including table rows
    re.compile(r"[.!?…]['\")\]]*\s+|[。！？｡؟۔।॥։።။។][」』）】》”’]*"),  # sentence
    re.compile(r"[、，；：､\u200b]"),  # clause, or word, of scripts without spaces
    re.compile(r"\s+"),  # word; of Thai, phrase
)
"""Where a section may be split, the best kinds first."""
_GRAPHEME = regex.compile(r"\X")


@dataclass(frozen=True, slots=True)
class Ruler:
    """A measure laid along a text.

    Attributes:
        starts: where each unit begins.
        room: units that a slice may have.
    """

    starts: Sequence[int]
    room: int

    def reach(self, start: int, less: int) -> int | None:
        """How far a slice from `start` on can go if `less` of its room is taken; None if to the end of the text."""
        after = bisect_left(self.starts, start) + max(1, self.room - less)
        # Units may share a character (bytes of an emoji), so the window grows until it holds a whole one.
        while after < len(self.starts) and self.starts[after] <= start:
            after += 1
        return self.starts[after] if after < len(self.starts) else None


@dataclass(frozen=True)
class Windows:
    """How a text is cut.

    Attributes:
        rulers: every slice fits all of them; the first one measures the overlap.
        overlap: units that consecutive slices share.
        taken: how much room of each ruler a slice loses that begins at a place.
    """

    text: str
    rulers: Sequence[Ruler]
    overlap: int
    taken: Callable[[int], Sequence[int]]

    def spans(self, start: int, end: int) -> list[tuple[int, int]]:
        """Slices that together cover `text[start:end]`."""
        cuts = [[start + match.end() for match in kind.finditer(self.text[start:end])] for kind in _BOUNDARIES]
        spans: list[tuple[int, int]] = []
        done = start
        while (limit := self._limit(start, end)) < end:
            if limit <= done:  # too little room for the overlap
                start = done
                continue
            done = _best_cut(self.text, cuts, start, done, limit)
            spans.append((start, done))
            start = self._overlapped(cuts[-1], start, done)
        return [*spans, (start, end)]

    def _limit(self, start: int, end: int) -> int:
        """The end of the longest slice from `start` on."""
        taken = self.taken(start)
        reached = [ruler.reach(start, less) for ruler, less in zip(self.rulers, taken, strict=True)]
        return min([end, *(place for place in reached if place is not None)])

    def _overlapped(self, words: list[int], start: int, end: int) -> int:
        """Start of the slice after `start:end`: at a word, at most the overlap and half a slice before its end."""
        starts = self.rulers[0].starts
        beyond = bisect_left(starts, end)
        back = min(self.overlap, (beyond - bisect_left(starts, start)) // 2)
        if not back:
            return end
        place = bisect_left(words, starts[beyond - back])
        return min(words[place], end) if place < len(words) else end


def _best_cut(text: str, cuts: list[list[int]], start: int, done: int, limit: int) -> int:
    """The last boundary beyond `done` in the second half of the window, of the best kind that has one; else its end."""
    least = max(done, start + (limit - start) // 2)
    for positions in cuts:
        place = bisect_right(positions, limit) - 1
        if place >= 0 and positions[place] > least:
            return positions[place]
    return _between_characters(text, start, done, limit)


def _between_characters(text: str, start: int, done: int, limit: int) -> int:
    """The last place up to `limit` that is not inside what a reader takes for one character (an accent, a flag)."""
    # One more than the limit, so that a character that goes on beyond it is seen to do so.
    ends = [match.end() for match in _GRAPHEME.finditer(text, start, min(limit + 1, len(text)))]
    inside = [end for end in ends if done < end <= limit]
    return inside[-1] if inside else limit
