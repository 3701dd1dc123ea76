"""Which segments a refresh merges, so that neither searches nor refreshes slow down with a long history.

Segments are in tiers by size, each `FANOUT` times as large as the one below. When a tier is full, its segments become
one of the next tier, as in a log-structured merge tree (O'Neil et al., 1996). So a row is copied once for each tier
that it climbs, a refresh costs what it adds times the logarithm of the index, and a search visits at most `FANOUT - 1`
segments of each tier.
"""

from __future__ import annotations

from collections.abc import Sequence

FANOUT = 4
"""Segments of one tier that are merged into one."""

SMALLEST_TIER = 1024
"""Rows below which all segments belong to the lowest tier: merging them costs less than writing the files."""

MAX_REMOVED = 0.5
"""Share of removed rows above which a segment is rewritten without them: each removal then costs one copied row."""


def segments_to_merge(live: Sequence[int], rows: Sequence[int], added: int) -> set[int]:
    """The numbers of the segments to merge with the `added` new rows or, if there are none, with each other.

    `live` and `rows` are the numbers of live and of all rows of each segment. One without live rows is dropped.
    """
    filled = [place for place in range(len(live)) if live[place]]
    chosen = {place for place in filled if rows[place] - live[place] > MAX_REMOVED * rows[place]}
    while size := added + sum(live[place] for place in chosen):
        peers = {place for place in filled if _tier(live[place]) <= _tier(size)} - chosen
        if len(peers) + 1 < FANOUT:
            break
        chosen |= peers
    return chosen


def _tier(size: int) -> int:
    tier = 0
    while size >= SMALLEST_TIER * FANOUT**tier:
        tier += 1
    return tier
