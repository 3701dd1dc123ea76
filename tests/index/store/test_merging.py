"""Segments stay few and merging them stays cheap, however long the history of the index is."""

from __future__ import annotations

from math import ceil, log

from hypothesis import given, settings
from hypothesis import strategies as st

from index.store.merging import FANOUT, MAX_REMOVED, SMALLEST_TIER, segments_to_merge


def run(sizes: list[int], start: int = 0) -> tuple[list[int], int]:
    """Sizes of the segments after additions of these sizes, and the number of old rows that were copied."""
    segments, copied = [start] if start else [], 0
    for added in sizes:
        chosen = segments_to_merge(segments, segments, added)
        moved = sum(segments[place] for place in chosen)
        copied += moved
        segments = [size for place, size in enumerate(segments) if place not in chosen]
        segments.append(added + moved)
    return segments, copied


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=300), st.sampled_from([0, 10_000, 1_000_000]))
def test_segments_are_few_and_each_row_is_copied_once_for_each_tier(sizes: list[int], start: int) -> None:
    segments, copied = run(sizes, start)
    assert sum(segments) == sum(sizes) + start
    tiers = ceil(log(max(max(segments) / SMALLEST_TIER, 1), FANOUT)) + 2
    assert len(segments) <= (FANOUT - 1) * tiers
    small = sum(1 for size in sizes if size < SMALLEST_TIER)
    assert copied <= (sum(sizes) + start) * tiers + small * SMALLEST_TIER * FANOUT


def test_refreshes_of_one_percent_leave_the_large_segment_alone() -> None:
    segments, copied = run([1000] * 15, start=100_000)
    assert max(segments) == 100_000 and copied < 100_000 / 4


def test_segment_of_which_most_rows_are_removed_is_rewritten() -> None:
    rows = 10_000
    assert segments_to_merge([int(rows * (1 - MAX_REMOVED))], [rows], 0) == set()
    assert segments_to_merge([int(rows * (1 - MAX_REMOVED)) - 1], [rows], 0) == {0}


def test_segment_without_any_row_left_is_dropped_not_merged() -> None:
    assert segments_to_merge([0, 5], [9, 5], 0) == set()
