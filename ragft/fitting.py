"""How much of what was found, and of what stands around it, has room.

Knows hits and nothing of tokens: whether passages fit is for the caller to say, of a prompt or of a training row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from index.search.expansion import additions, expanded
from index.search.search import Hit

Fits = Callable[[Sequence[Hit]], bool]
"""Whether passages have room. Where some do, fewer or shorter ones do, too."""

_ADDED_FIRST = 8
"""Chunks that are added at once where passages are expanded: both neighbours of four hits."""


def expanded_to_fit(hits: Sequence[Hit], fits: Fits, *, adding: bool = True) -> tuple[Hit, ...]:
    """Hits joined where they touch, with as much of what is around them as fits.

    Args:
        hits: of one search, best first; those that do not fit by themselves are returned as they are.
        adding: False: what is around them stays out.
    """
    if not any(hit.around for hit in hits):
        return tuple(hits)
    added = additions(hits) if adding else []
    count = largest(len(added), _ADDED_FIRST, lambda count: fits(expanded(hits, added[:count])))
    shown = expanded(hits, added[:count])
    # Where two are joined, a heading that its path has shortened stands in full, so that joining may take more room.
    return shown if count or len(shown) == len(hits) or fits(shown) else tuple(replace(hit, around=()) for hit in hits)


def largest(count: int, first: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `count` that fits, 0 if none does.

    The first one to be tried is doubled as long as it fits, so that nothing much longer than what fits is measured.
    """
    low, high, tried = 0, count + 1, min(first, count)
    while high - low > 1:
        if fits(tried):
            low = tried
        else:
            high = tried
        tried = (low + high) // 2 if high <= count else min(2 * tried, count)
    return low
