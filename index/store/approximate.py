"""Builds the graph or the lists over the vectors of a large segment, and measures what they find.

How thoroughly to search is not guessed: after the build it is raised until the wanted share of the true nearest is
found on a sample of queries, and the share that was measured is kept beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from index.encoders.encoder import Progress, Vectors
from index.store.vectors import HNSW, VectorsEntry

NEIGHBOURS = 16
"""Links of a vector in the graph, twice as many on its lowest level; 144 bytes a row."""

CONSTRUCTION_EFFORT = 100
"""Candidates that are visited to link a vector."""

NEAREST = 10
"""The true nearest that a query is measured by."""

_SAMPLE = 256
"""Queries of a measurement: 2,560 neighbours, so a recall of 0.98 is known to about half a point."""

_SHARE = 0.6
"""Of the other row in a stand-in for a question. With 0.5, a graph over 100,000 vectors told 0.988 where it found 0.963
for real questions; with 0.7 it told 0.878 (benchmarks/RESULTS.md)."""

_STEP = 16_384
"""Rows added at a time, so that progress can be told."""

_EFFORTS = tuple(round(16 * 2 ** (step / 4)) for step in range(25))
"""Of a graph, 16 to 1,024. In steps twice as wide, 150,000 vectors were searched with 192 where 160 were enough, and a
query took 0.27 ms instead of 0.22."""


def build(kind: str, vectors: Vectors, recall: float, seed: int, progress: Progress | None) -> tuple[Any, VectorsEntry]:
    """A FAISS index over the vectors, which are kept in it in half precision.

    FAISS links the vectors in batches that do not depend on the number of threads, and trains the centres with a seed:
    the same vectors give the same index.

    Args:
        kind: `hnsw` or `ivf`.
        vectors: (n, dimension) float32, rows of unit length.
        recall: What to reach on `sample_queries`; if no effort reaches it, the greatest is taken.
        seed: Of the centres and the sample.
        progress: Called with the rows done.
    """
    index, parameters = _graph(vectors) if kind == HNSW else _lists(vectors, seed)
    for first in range(0, len(vectors), _STEP):
        index.add(vectors[first : first + _STEP])
        if progress:
            progress(min(first + _STEP, len(vectors)), len(vectors))
    effort, reached = _calibrate(kind, index, vectors, recall, seed)
    if kind == HNSW:
        index.hnsw.efSearch = effort
    else:
        index.nprobe = effort
    return index, VectorsEntry(kind, {**parameters, "effort": effort}, round(reached, 4))


def _graph(vectors: Vectors) -> tuple[Any, dict[str, int]]:
    import faiss

    library: Any = faiss  # its stubs describe the C++ signatures, not the Python ones
    index = library.IndexHNSWSQ(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = CONSTRUCTION_EFFORT
    return index, {"neighbours": NEIGHBOURS, "construction_effort": CONSTRUCTION_EFFORT}


def _lists(vectors: Vectors, seed: int) -> tuple[Any, dict[str, int]]:
    import faiss

    library: Any = faiss
    count = max(1, min(len(vectors) // 39, int(4 * len(vectors) ** 0.5)))  # FAISS wants 39 vectors a centre
    index = library.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(vectors.shape[1]),
        vectors.shape[1],
        count,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,
    )
    index.cp.seed = seed
    index.cp.max_points_per_centroid = 64  # four times faster than FAISS's 256, and as good after the calibration
    index.cp.spherical = True
    index.train(vectors)
    index.set_direct_map_type(library.DirectMap.Array)
    return index, {"lists": count}


def sample_queries(vectors: Vectors, seed: int) -> Vectors:
    """Stand-ins for questions: (queries, dimension) float32, rows of unit length.

    There are no questions yet when an index is built, and its own vectors would flatter it: a graph leads straight to
    what is in it. So each is a row with a share of another row, chosen at random: off every passage, as questions are.
    With `_SHARE`, graphs over 20,000 and 100,000 vectors find up to 2 points fewer of their neighbours than of real
    questions', and at most 0.1 more, at every effort.
    """
    rng = np.random.default_rng(seed)
    first, second = rng.integers(len(vectors), size=(2, _SAMPLE))
    mixed = vectors[first] + _SHARE * vectors[second]
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), dtype=np.float32)


def _calibrate(kind: str, index: Any, vectors: Vectors, recall: float, seed: int) -> tuple[int, float]:
    """The smallest effort that reaches the recall, and the recall that it reaches."""
    queries = sample_queries(vectors, seed)
    nearest = min(NEAREST, len(vectors))
    if kind == HNSW:
        truth = index.storage.search(queries, nearest)[1]
    else:
        truth = _found(kind, index, queries, nearest, index.nlist)
    effort, reached = 1, 0.0
    for effort in _efforts(kind, index):
        found = _found(kind, index, queries, nearest, effort)
        reached = float((found[:, :, None] == truth[:, None, :]).any(axis=1).mean())
        if reached >= recall:
            break
    return effort, reached


def _found(kind: str, index: Any, queries: Vectors, nearest: int, effort: int) -> Any:
    import faiss

    library: Any = faiss
    if kind == HNSW:
        params = library.SearchParametersHNSW(efSearch=effort)
    else:
        params = library.SearchParametersIVF(nprobe=effort)
    return index.search(queries, nearest, params=params)[1]


def _efforts(kind: str, index: Any) -> Iterator[int]:
    if kind == HNSW:
        yield from _EFFORTS
        return
    effort = 1
    while effort < index.nlist:
        yield effort
        effort = max(effort + 1, effort * 3 // 2)
    yield int(index.nlist)
