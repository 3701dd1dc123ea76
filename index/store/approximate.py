"""Builds the graph or the lists over the vectors of a large segment, and measures the recall of their search.

ef_search (of a graph) and nprobe (of lists) are not guessed: after the build they are raised until the wanted share of
the true nearest vectors is found on a sample of queries. The share that was measured is kept beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from index.encoders.encoder import Progress, Vectors
from index.store.kinds import HNSW, VectorsEntry

NEIGHBOURS = 16
"""Links of each vector in the graph (HNSW's M), twice as many on its lowest level: 144 bytes a row."""

EF_CONSTRUCTION = 100
"""Candidates that are visited to link a vector."""

NEAREST = 10
"""The k of the recall@k that is measured."""

_SAMPLE = 256
"""Queries of a measurement: 2,560 neighbours, so a recall of 0.98 is known to about half a point."""

_SHARE = 0.6
"""Share of the second row in a sample query. With 0.5, a graph over 100,000 vectors was measured at 0.988 where it
found 0.963 for real questions; with 0.7 it was measured at 0.878 (benchmarks/RESULTS.md)."""

_STEP = 16_384
"""Rows added between two reports of progress."""

_EF_SEARCH = tuple(round(16 * 2 ** (step / 4)) for step in range(25))
"""Values tried, 16 to 1,024. With steps twice as wide, 150,000 vectors were searched with 192 where 160 were enough,
and a query took 0.27 ms instead of 0.22."""


def build(kind: str, vectors: Vectors, recall: float, seed: int, progress: Progress | None) -> tuple[Any, VectorsEntry]:
    """A FAISS index that holds the vectors in half precision.

    FAISS links the vectors in batches that do not depend on the number of threads, and trains the centres with a seed,
    so the same vectors give the same index.

    Args:
        kind: `hnsw` (Malkov and Yashunin, arXiv 1603.09320) or `ivf`.
        vectors: (n, dimension) float32, rows of unit length.
        recall: recall@10 to reach on `sample_queries`; if no ef_search or nprobe reaches it, the largest is taken.
        seed: seeds the centres and the sample.
        progress: called with the rows done and the number of all rows.
    """
    index, parameters = _empty(kind, vectors, seed)
    for first in range(0, len(vectors), _STEP):
        index.add(vectors[first : first + _STEP])
        if progress:
            progress(min(first + _STEP, len(vectors)), len(vectors))
    ef_search, reached = _calibrate(kind, index, vectors, recall, seed)
    if kind == HNSW:
        index.hnsw.efSearch = parameters["ef_search"] = ef_search
    else:
        index.nprobe = parameters["nprobe"] = ef_search
    return index, VectorsEntry(kind, parameters, round(reached, 4))


def _empty(kind: str, vectors: Vectors, seed: int) -> tuple[Any, dict[str, int]]:
    """A graph without vectors, or lists whose centres are trained, and the parameters of either."""
    import faiss

    library: Any = faiss  # its stubs describe the C++ signatures, not the Python ones
    dimension, half, metric = vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    if kind == HNSW:
        index = library.IndexHNSWSQ(dimension, half, NEIGHBOURS, metric)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        return index, {"m": NEIGHBOURS, "ef_construction": EF_CONSTRUCTION}
    count = max(1, min(len(vectors) // 39, int(4 * len(vectors) ** 0.5)))  # FAISS asks for 39 vectors for each centre
    index = library.IndexIVFScalarQuantizer(faiss.IndexFlatIP(dimension), dimension, count, half, metric, False)
    index.cp.seed = seed
    index.cp.max_points_per_centroid = 64  # four times as fast as FAISS' 256, and as good once calibrated
    index.cp.spherical = True
    index.train(vectors)
    index.set_direct_map_type(library.DirectMap.Array)
    return index, {"nlist": count}


def sample_queries(vectors: Vectors, seed: int) -> Vectors:
    """Queries that stand in for questions: (queries, dimension) float32, rows of unit length.

    There are no questions yet when an index is built, and its own vectors would flatter it, because a graph leads
    straight to what it holds. So each query is a row mixed with a share of another random row: like a question, it
    lies beside every passage. With `_SHARE`, graphs over 20,000 and 100,000 vectors have a recall on these queries
    that is up to 2 points lower than on real questions, and at most 0.1 higher, at every ef_search.
    """
    rng = np.random.default_rng(seed)
    first, second = rng.integers(len(vectors), size=(2, _SAMPLE))
    mixed = vectors[first] + _SHARE * vectors[second]
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), dtype=np.float32)


def _calibrate(kind: str, index: Any, vectors: Vectors, recall: float, seed: int) -> tuple[int, float]:
    """The smallest ef_search (of a graph) or nprobe (of lists) that reaches the recall, and the recall reached."""
    import faiss

    library: Any = faiss
    graph, lists = library.SearchParametersHNSW, library.SearchParametersIVF
    queries = sample_queries(vectors, seed)
    nearest = min(NEAREST, len(vectors))
    if kind == HNSW:
        truth = index.storage.search(queries, nearest)[1]
    else:
        truth = index.search(queries, nearest, params=lists(nprobe=index.nlist))[1]
    ef_search, reached = 1, 0.0
    for ef_search in _EF_SEARCH if kind == HNSW else _nprobes(index.nlist):
        params = graph(efSearch=ef_search) if kind == HNSW else lists(nprobe=ef_search)
        found = index.search(queries, nearest, params=params)[1]
        reached = float((found[:, :, None] == truth[:, None, :]).any(axis=1).mean())
        if reached >= recall:
            break
    return ef_search, reached


def _nprobes(lists: int) -> Iterator[int]:
    nprobe = 1
    while nprobe < lists:
        yield nprobe
        nprobe = max(nprobe + 1, nprobe * 3 // 2)
    yield lists
