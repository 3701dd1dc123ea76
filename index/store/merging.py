"""Which segments a refresh merges, so that neither searches nor refreshes pay for a long history.

Segments stand in tiers by size, each `FANOUT` times as large as the one below. When a tier is full, its segments become
one of the next tier. So a row is copied once for each tier that it climbs, a refresh costs what it adds times the
logarithm of the index, and every search visits at most `FANOUT - 1` segments of each tier.
"""

from __future__ import annotations

from collections.abc import Sequence

FANOUT = 4
"""Segments of one size that become one."""

SMALLEST_TIER = 1024
"""Rows below which all segments count as equally small: merging them costs less than writing the files."""

MAX_REMOVED = 0.5
"""Share of removed rows above which a segment is written anew without them: each removal then costs one copied row."""


def segments_to_merge(live: Sequence[int], rows: Sequence[int], added: int) -> set[int]:
    """The places of the segments that are merged with the new rows (or, without new ones, with each other).

    Args:
        live: Rows of each segment that still count; one without any is dropped, not merged.
        rows: All rows of each segment.
        added: New rows.
    """
    chosen = {
        place for place in range(len(live)) if live[place] and rows[place] - live[place] > MAX_REMOVED * rows[place]
    }
    while True:
        size = added + sum(live[place] for place in chosen)
        if not size:
            return chosen
        peers = {place for place in range(len(live)) if live[place] and _tier(live[place]) <= _tier(size)} - chosen
        if not peers or len(peers) + 1 < FANOUT:
            return chosen
        chosen |= peers


def _tier(size: int) -> int:
    tier = 0
    while size >= SMALLEST_TIER * FANOUT**tier:
        tier += 1
    return tier
