"""Which rows of a snapshot a search may see: the part that a caller's labels open, narrowed by a filter.

What a caller must not see takes no part in a search at all. Rows are masked before they are ranked, and the statistics
of BM25 are counted over the rows that the labels open, so that ranks, counts and scores are those of an index that
holds nothing else. A filter is the caller's own wish and hides nothing: it narrows the rows and leaves the statistics.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index.documents.folder import Value
from index.store.filters import Expression, FieldTest, Filter, Labels
from index.store.lexical import Bm25, Postings, Scores

if TYPE_CHECKING:
    from index.store.snapshot import Snapshot

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]

KEPT_VIEWS = 32
"""Views that a snapshot remembers, the last used ones; each costs about nine bytes a row."""


class Statistics:
    """BM25 over the rows that some labels open, counted when it is first asked for."""

    def __init__(self, segments: list[tuple[Postings, Mask]]) -> None:
        self._segments = segments

    @cached_property
    def bm25(self) -> Bm25:
        return Bm25(self._segments)


@dataclass(frozen=True, slots=True)
class View:
    """The rows of one snapshot that a search may see.

    Attributes:
        masks: For each segment (rows,) bool, False for removed rows too; None where every live row is visible.
        counts: For each segment how many rows are visible.
        statistics: Counted over the rows that the labels open; None where these are all.
    """

    masks: tuple[Mask | None, ...]
    counts: tuple[int, ...]
    statistics: Statistics | None

    @property
    def count(self) -> int:
        """How many rows are visible."""
        return sum(self.counts)

    def bm25(self, snapshot: Snapshot) -> Bm25:
        """What scores by terms, for the snapshot that this is a view of; see `hide`."""
        return self.statistics.bm25 if self.statistics is not None else snapshot.bm25

    def hide(self, snapshot: Snapshot, scores: Scores) -> Scores:
        """Set the scores of invisible rows to 0, in place; scores are (rows,) float64, segment after segment."""
        for first, mask in zip(snapshot.offsets, self.masks, strict=False):
            if mask is not None:
                scores[first : first + len(mask)][~mask] = 0.0
        return scores


class Columns:
    """What filters and labels ask of the rows of a segment, each column decoded once, when it is first asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def select(self, expression: Expression) -> Mask:
        """The rows for which a filter holds: (rows,) bool."""
        if isinstance(expression, FieldTest):
            values, codes = self._column(expression)
            return np.array([expression.passes(value) for value in values], dtype=np.bool_)[codes]
        masks = [self.select(part) for part in expression.parts]
        if expression.kind == "not":
            return np.asarray(~masks[0])
        start = np.full(len(self._table), expression.kind == "and", dtype=np.bool_)
        join = np.logical_and if expression.kind == "and" else np.logical_or
        return np.asarray(join.reduce([start, *masks]))

    def open_to(self, labels: frozenset[str]) -> Mask:
        """The rows that a caller with these labels may see: (rows,) bool; rows without labels are open to all."""
        names, places, open_to_all = self._labels
        shared = np.array([name in labels for name, _ in names], dtype=np.bool_)
        mask = open_to_all.copy()
        mask[places[np.repeat(shared, [count for _, count in names])]] = True
        return mask

    @cached_property
    def known_labels(self) -> frozenset[str]:
        return frozenset(name for name, _ in self._labels[0])

    def _column(self, test: FieldTest) -> tuple[list[Value | None], Codes]:
        """The distinct values of a field, and for each row which one it has."""
        if test.pseudo:
            return {"document": self._documents, "title": self._titles, "page": self._pages}[test.field]
        contents, codes = self._metadata
        return [content.get(test.field) for content in contents], codes

    @cached_property
    def _documents(self) -> tuple[list[Value | None], Codes]:
        return _encoded(self._table["document_id"])

    @cached_property
    def _titles(self) -> tuple[list[Value | None], Codes]:
        return _encoded(self._table["title"])

    @cached_property
    def _pages(self) -> tuple[list[Value | None], Codes]:
        return _encoded(self._table["page"])

    @cached_property
    def _metadata(self) -> tuple[list[dict[str, Any]], Codes]:
        """Metadata belongs to documents, so that few rows differ in it: each distinct text is decoded once."""
        texts, codes = _encoded(self._table["metadata"])
        return [json.loads(str(text)) for text in texts], codes

    @cached_property
    def _labels(self) -> tuple[list[tuple[str, int]], npt.NDArray[np.int64], Mask]:
        """Each label with how many rows have it; these rows, label after label; and the rows without any."""
        column = self._table["labels"].combine_chunks()
        lengths = np.asarray(column.value_lengths().fill_null(0), dtype=np.int64)
        values, codes = _encoded(column.flatten())
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes, minlength=len(values)).tolist()
        rows = np.repeat(np.arange(len(lengths)), lengths)[order]
        return [(str(name), count) for name, count in zip(values, counts, strict=True)], rows, lengths == 0


def _encoded(column: pa.Array | pa.ChunkedArray) -> tuple[list[Value | None], Codes]:
    """The distinct values of a column, and for each row the place of its own among them."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = array.dictionary_encode(null_encoding="encode")
    return encoded.dictionary.to_pylist(), np.asarray(encoded.indices, dtype=np.int32)


class Views:
    """The views of one snapshot that were asked for last; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Labels, Filter | None], View] = OrderedDict()

    def of(self, snapshot: Snapshot, labels: Labels, narrowed: Filter | None) -> View:
        """The view of a caller.

        Args:
            snapshot: The one that these views are of.
            labels: The caller's.
            narrowed: The filter; None for none.
        """
        if labels is not None:
            # Callers whose other labels open nothing here share one view.
            labels &= self._known_labels(snapshot)
        if labels is None and narrowed is None:
            return _unrestricted(snapshot)
        key = (labels, narrowed)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        # Outside the lock: other searches need not wait for this one, and both views would be the same.
        if narrowed is None:
            view = _labelled(snapshot, labels or frozenset())
        else:
            view = _narrowed(snapshot, self.of(snapshot, labels, None), narrowed)
        with self._lock:
            self._kept[key] = view
            while len(self._kept) > KEPT_VIEWS:
                self._kept.popitem(last=False)
        return view

    @staticmethod
    def _known_labels(snapshot: Snapshot) -> frozenset[str]:
        return frozenset().union(*(segment.columns.known_labels for segment in snapshot.segments))


def _unrestricted(snapshot: Snapshot) -> View:
    counts = tuple(entry.rows - entry.removed for entry in snapshot.manifest.segments)
    return View((None,) * len(counts), counts, None)


def _labelled(snapshot: Snapshot, labels: frozenset[str]) -> View:
    masks, counts = _masks(snapshot, _unrestricted(snapshot), lambda columns: columns.open_to(labels))
    if all(mask is None for mask in masks):
        return _unrestricted(snapshot)
    seen = [
        (segment.postings, segment.live if mask is None else mask)
        for segment, mask in zip(snapshot.segments, masks, strict=True)
    ]
    return View(masks, counts, Statistics(seen))


def _narrowed(snapshot: Snapshot, view: View, narrowed: Filter) -> View:
    masks, counts = _masks(snapshot, view, lambda columns: columns.select(narrowed.expression))
    return View(masks, counts, view.statistics)


def _masks(
    snapshot: Snapshot, view: View, choose: Callable[[Columns], Mask]
) -> tuple[tuple[Mask | None, ...], tuple[int, ...]]:
    """The masks of a view with only the chosen rows left, and how many these are."""
    masks: list[Mask | None] = []
    counts: list[int] = []
    for segment, old, before in zip(snapshot.segments, view.masks, view.counts, strict=True):
        mask = np.asarray((segment.live if old is None else old) & choose(segment.columns))
        counts.append(int(mask.sum()))
        masks.append(old if counts[-1] == before else mask)
    return tuple(masks), tuple(counts)
