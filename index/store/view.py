"""Which rows of a snapshot a search may see: those that a caller's labels open, narrowed by a filter.

What a caller must not see takes no part in a search at all. Rows are masked before they are ranked, and the statistics
of BM25 are counted over the rows that the labels open, so that ranks, counts and scores are those of an index that
holds nothing else. A filter is the caller's own wish and hides nothing, so it leaves the statistics as they are.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from index.store.columns import Columns, Mask
from index.store.filters import Filter, Labels
from index.store.lexical import Bm25, Scores
from index.store.segment import Segment

KEPT_VIEWS = 32
"""Views that a snapshot caches, the most recently used ones; each takes about nine bytes a row."""


@dataclass(frozen=True, slots=True)
class View:
    """The rows of one snapshot that a search may see.

    Attributes:
        offsets: number of the first row of each segment, counted over all segments.
        masks: for each segment (rows,) bool, False for removed rows too; None where every live row is visible.
        counts: number of visible rows in each segment.
        bm25: counted over the rows that the labels open; it scores all rows, invisible ones too (see `hide`).
    """

    offsets: tuple[int, ...]
    masks: tuple[Mask | None, ...]
    counts: tuple[int, ...]
    bm25: Bm25

    @property
    def count(self) -> int:
        """The number of visible rows."""
        return sum(self.counts)

    def hide(self, scores: Scores) -> Scores:
        """Set the scores of invisible rows to 0, in place. Scores: (rows,) float64, segment after segment."""
        for first, mask in zip(self.offsets, self.masks, strict=True):
            if mask is not None:
                scores[first : first + len(mask)][~mask] = 0.0
        return scores


class Views:
    """The most recently used views of one snapshot; safe to use from several threads."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Labels, Filter | None], View] = OrderedDict()
        lengths = [len(segment) for segment in segments]
        self.unrestricted = View(
            offsets=tuple(sum(lengths[:number]) for number in range(len(lengths))),
            masks=(None,) * len(segments),
            counts=tuple(segment.vectors.live_count for segment in segments),
            bm25=Bm25([(segment.postings, segment.live) for segment in segments]),
        )
        """All live rows."""

    def of(self, labels: Labels, narrowed: Filter | None) -> View:
        """The view of a caller with these labels (None: all documents are open), narrowed by a filter."""
        if labels is not None:
            # Labels that no row has are dropped, so that callers who differ only in those share a view.
            labels &= frozenset().union(*(segment.columns.known_labels for segment in self._segments))
        if labels is None and narrowed is None:
            return self.unrestricted
        key = (labels, narrowed)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        # Outside the lock, so that other searches do not wait; two threads at once would make equal views.
        view = self._labelled(labels or frozenset()) if narrowed is None else self._narrowed(labels, narrowed)
        with self._lock:
            self._kept[key] = view
            while len(self._kept) > KEPT_VIEWS:
                self._kept.popitem(last=False)
        return view

    def _labelled(self, labels: frozenset[str]) -> View:
        masks, counts = self._masked(self.unrestricted, lambda columns: columns.open_to(labels))
        if all(mask is None for mask in masks):
            return self.unrestricted
        live = [segment.live if mask is None else mask for segment, mask in zip(self._segments, masks, strict=True)]
        postings = [segment.postings for segment in self._segments]
        return View(self.unrestricted.offsets, masks, counts, Bm25(list(zip(postings, live, strict=True))))

    def _narrowed(self, labels: Labels, narrowed: Filter) -> View:
        view = self.of(labels, None)
        masks, counts = self._masked(view, lambda columns: columns.select(narrowed.expression))
        return View(view.offsets, masks, counts, view.bm25)

    def _masked(self, view: View, choose: Callable[[Columns], Mask]) -> tuple[tuple[Mask | None, ...], tuple[int, ...]]:
        """The masks of a view with only the chosen rows left, and their numbers of rows."""
        masks: list[Mask | None] = []
        counts: list[int] = []
        for segment, old, before in zip(self._segments, view.masks, view.counts, strict=True):
            mask = np.asarray((segment.live if old is None else old) & choose(segment.columns))
            counts.append(int(mask.sum()))
            masks.append(old if counts[-1] == before else mask)
        return tuple(masks), tuple(counts)
