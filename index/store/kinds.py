"""The kinds of FAISS index that store a segment's vectors: which one a new segment gets, what its manifest says.

    flat        float32, every vector compared: exact
    flat-fp16   half precision, every vector compared: exact for the rounded vectors, and twice as fast
    hnsw        half precision with a graph of neighbours on top: approximate, for large segments
    ivf         half precision in lists around centres: approximate, built faster than a graph

Values only: `vectors` stores and searches them, `approximate` builds the last two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from index.errors import IndexFault

FLAT, FLAT_FP16, HNSW, IVF = "flat", "flat-fp16", "hnsw", "ivf"
KINDS = ("auto", FLAT, FLAT_FP16, HNSW, IVF)
APPROXIMATE = (HNSW, IVF)

AUTO_ROWS = 200_000
"""Rows from which `auto` builds a graph: an exact query takes about 6 ms on one core, twice the time of 100,000."""

APPROXIMATE_ROWS = 10_000
"""Rows below which a graph or lists gain nothing: an exact query takes 0.2 ms (benchmarks/search.py)."""


@dataclass(frozen=True, slots=True)
class VectorSettings:
    """How new segments store their vectors; existing segments stay as they are.

    Attributes:
        kind: one of `KINDS`; auto: `flat-fp16`, and `hnsw` for `AUTO_ROWS` rows or more.
        min_rows_for_ann: segments with fewer rows are searched exactly whatever the kind; None: `AUTO_ROWS` for auto,
            `APPROXIMATE_ROWS` for the others.
        target_recall: recall@10 that the search of an approximate segment is tuned to when it is built.
        seed: seeds everything random.

    Raises:
        IndexFault: a value is out of its range.
    """

    kind: str = "auto"
    min_rows_for_ann: int | None = None
    target_recall: float = 0.98
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise IndexFault(f"index.vectors.kind is {self.kind!r}; choose one of {', '.join(KINDS)}.")
        if not 0 < self.target_recall <= 1:
            raise IndexFault(f"index.vectors.target_recall is {self.target_recall}; it must be above 0 and at most 1.")
        if self.min_rows_for_ann is not None and self.min_rows_for_ann < 1:
            raise IndexFault(f"index.vectors.min_rows_for_ann is {self.min_rows_for_ann}; it must be at least 1.")

    def kind_for(self, rows: int) -> str:
        """The kind for a segment with this many rows."""
        threshold = self.min_rows_for_ann or (AUTO_ROWS if self.kind == "auto" else APPROXIMATE_ROWS)
        if self.kind in (FLAT, FLAT_FP16):
            return self.kind
        if rows < threshold:
            return FLAT_FP16
        return HNSW if self.kind == "auto" else self.kind


@dataclass(frozen=True, slots=True)
class VectorsEntry:
    """What the manifest says of a segment's vectors.

    Attributes:
        kind: one of `KINDS` but auto.
        parameters: FAISS parameters of the build and of the search, such as `ef_search`.
        recall: recall@10 as measured at the build; None where the search is exact.
    """

    kind: str = FLAT
    parameters: Mapping[str, int] = field(default_factory=dict)
    recall: float | None = None

    def __str__(self) -> str:
        if self.recall is None:
            return f"{self.kind}, exact"
        how = ", ".join(f"{name} {value}" for name, value in self.parameters.items())
        return f"{self.kind}, recall@10 {self.recall:.3f} ({how})"
