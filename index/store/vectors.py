"""The vectors of one segment: how they are kept, and how the nearest ones are found.

A segment has one of four kinds:

    flat        float32, every vector compared: exact
    flat-fp16   half precision, every vector compared: exact for the rounded vectors, and twice as fast
    hnsw        half precision with a graph of neighbours on top: approximate, for large segments
    ivf         half precision in lists around centres: approximate, built faster than a graph

Each is one FAISS file in which every vector stands once: a graph is searched over the vectors of the file itself, so
the same bytes serve approximate search, exact search under a narrow mask, exact scores, and the merge of segments.
The file is mapped, so that opening costs nothing and processes share the pages.

Nothing here is ever changed after it was written: removed rows are masked, how thoroughly to search is a parameter of
each call, and FAISS forbids searching an index while another thread changes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from index.encoders.encoder import Progress, Vectors
from index.errors import IndexFault

Rows = npt.NDArray[np.int64]
Live = npt.NDArray[np.bool_]

FLAT, FLAT_FP16, HNSW, IVF = "flat", "flat-fp16", "hnsw", "ivf"
KINDS = ("auto", FLAT, FLAT_FP16, HNSW, IVF)
APPROXIMATE = (HNSW, IVF)

AUTO_ROWS = 200_000
"""Rows up to which `auto` searches exactly: about 6 ms a query on one core, twice the time of 100,000."""

APPROXIMATE_ROWS = 10_000
"""Rows below which a graph or lists gain nothing: comparing all vectors takes 0.2 ms (benchmarks/search.py)."""

_EXACT_SHARE = 0.05
"""Of the rows: a mask that leaves fewer is searched exactly. A graph would wander through rows that do not count, and
FAISS skips masked rows of a flat index at next to no cost."""


@dataclass(frozen=True, slots=True)
class VectorSettings:
    """How new segments keep their vectors; segments that are there already stay as they are.

    Attributes:
        kind: One of `KINDS`; auto is `flat-fp16`, and `hnsw` from `AUTO_ROWS` rows on.
        approximate_rows: Segments of fewer rows are exact whatever the kind; None: `AUTO_ROWS` for auto,
            `APPROXIMATE_ROWS` for the others.
        recall: Share of the true ten nearest that an approximate segment must find: how thoroughly it is searched is
            chosen for that when it is built.
        seed: Of everything random.

    Raises:
        IndexFault: a value makes no sense.
    """

    kind: str = "auto"
    approximate_rows: int | None = None
    recall: float = 0.98
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise IndexFault(f"The kind of vector index is {self.kind!r}; choose one of {', '.join(KINDS)}.")
        if not 0 < self.recall <= 1:
            raise IndexFault(f"The recall of the vector index is {self.recall}; it is a share above 0 and at most 1.")
        if self.approximate_rows is not None and self.approximate_rows < 1:
            raise IndexFault(f"approximate_rows is {self.approximate_rows}; it is a number of rows, from 1 on.")

    def kind_for(self, rows: int) -> str:
        """The kind of a segment of so many rows."""
        threshold = self.approximate_rows or (AUTO_ROWS if self.kind == "auto" else APPROXIMATE_ROWS)
        if self.kind in (FLAT, FLAT_FP16):
            return self.kind
        if rows < threshold:
            return FLAT_FP16
        return HNSW if self.kind == "auto" else self.kind


@dataclass(frozen=True, slots=True)
class VectorsEntry:
    """What the manifest says of a segment's vectors.

    Attributes:
        kind: One of `KINDS` but auto.
        parameters: It was built with these, and is searched with these.
        recall: Share of the true ten nearest that it finds, as measured when it was built; None where it is exact.
    """

    kind: str = FLAT
    parameters: Mapping[str, int] = field(default_factory=dict)
    recall: float | None = None

    def __str__(self) -> str:
        if self.recall is None:
            return f"{self.kind}, exact"
        how = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.parameters.items())
        return f"{self.kind}, recall@10 {self.recall:.3f} ({how})"


class SegmentVectors(Protocol):
    """The vectors of a segment under the mask of a snapshot; safe to search from several threads."""

    @property
    def kind(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def live_count(self) -> int: ...

    def search(self, queries: Vectors, k: int, mask: Live | None = None, effort: int | None = None) -> list[Rows]:
        """The `k` nearest live rows of every query (fewer only if there are fewer), best first.

        Their scores are not given: FAISS sums in an order that depends on where a row lies. See `scores`.

        Args:
            queries: (n, dimension) float32.
            k: Rows for each query.
            mask: (rows,) bool, True for rows that may be found; None for all.
            effort: Candidates of a graph or lists to visit, instead of what the build chose; exact kinds ignore it.
        """
        ...

    def scores(self, query: Vectors, rows: Rows) -> npt.NDArray[np.float64]:
        """Inner products of one query with some rows, the same to the last bit wherever the rows lie."""
        ...

    def read(self, rows: Rows) -> Vectors:
        """A copy of some rows: (len(rows), dimension) float32. Written again in the same kind they keep every bit."""
        ...


def write_vectors(
    path: Path, vectors: Vectors, settings: VectorSettings | None = None, progress: Progress | None = None
) -> VectorsEntry:
    """Write the vectors of a segment, and say how.

    The same vectors give the same file, whatever the number of threads.

    Args:
        path: Where to.
        vectors: (n, dimension) float32, rows of unit length.
        settings: How.
        progress: Called with rows while a graph or lists are built.
    """

    from index.store.approximate import build

    settings = settings or VectorSettings()
    kind = settings.kind_for(len(vectors))
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if kind in APPROXIMATE:
        built, entry = build(kind, vectors, settings.recall, settings.seed, progress)
    else:
        built, entry = exact_index(kind, vectors.shape[1]), VectorsEntry(kind)
        built.add(vectors)
    _write_index(built, path)
    return entry


def _write_index(built: Any, path: Path) -> None:
    """Write a FAISS index through a file of Python's: FAISS itself does not say why it could not write.

    Raises:
        OSError: the disk is full, for instance.
    """
    import faiss

    failed: list[OSError] = []
    with path.open("wb") as file:

        def write(data: bytes) -> int:
            try:
                return file.write(data)
            except OSError as error:
                failed.append(error)
                raise

        try:
            library: Any = faiss  # its stubs leave this out
            faiss.write_index(built, library.PyCallbackIOWriter(write))
        except Exception:
            if failed:
                raise failed[0] from None
            raise


def exact_index(kind: str, dimension: int) -> Any:
    """An empty FAISS index that compares every vector."""
    import faiss

    if kind == FLAT:
        return faiss.IndexFlatIP(dimension)
    return faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)


def open_vectors(path: Path, live: Live) -> SegmentVectors:
    """Map what `write_vectors` wrote, of whatever kind.

    Args:
        path: The file.
        live: (n,) bool, False for rows that count as removed.

    Raises:
        ValueError: the file does not hold one vector for each entry of `live`, or is of a kind that is not ours.
        RuntimeError: the file is not a FAISS index.
    """
    import faiss

    index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    if index.ntotal != len(live):
        raise ValueError(f"{path} holds {index.ntotal} vectors, not {len(live)}")
    if isinstance(index, faiss.IndexFlat | faiss.IndexScalarQuantizer):
        return ExactVectors(index, live)
    if isinstance(index, faiss.IndexHNSWSQ):
        return GraphVectors(index, live)
    if isinstance(index, faiss.IndexIVFScalarQuantizer):
        return ListVectors(index, live)
    raise ValueError(f"{path} is a {type(index).__name__}, which is none of {', '.join(KINDS[1:])}")


class _Allowed:
    """The rows that a search may find, as FAISS wants them."""

    def __init__(self, rows: Live) -> None:
        import faiss

        library: Any = faiss  # its stubs describe the C++ signatures, not the Python ones
        self.count = int(np.count_nonzero(rows))
        self.share = self.count / max(1, len(rows))
        self.selector: Any = None
        if self.count < len(rows):
            # FAISS keeps a bare pointer to the bits, so they must live as long as the selector.
            self._bits = np.packbits(rows, bitorder="little")
            self.selector = library.IDSelectorBitmap(self._bits)


class ExactVectors:
    """Every vector is compared."""

    def __init__(self, index: Any, live: Live) -> None:
        """Use `open_vectors`."""
        import faiss

        self._index = index
        self._live = live
        self._allowed = _Allowed(live)
        self._library: Any = faiss
        self.dimension = int(index.d)
        self.live_count = self._allowed.count
        self.kind = FLAT if isinstance(index, faiss.IndexFlat) else FLAT_FP16
        self._rows = _stored(index)

    def search(self, queries: Vectors, k: int, mask: Live | None = None, effort: int | None = None) -> list[Rows]:
        """See `SegmentVectors`."""
        allowed = self._allowed if mask is None else _Allowed(mask & self._live)
        wanted = min(k, allowed.count)
        if not wanted:
            return [np.zeros(0, dtype=np.int64) for _ in queries]
        return self._nearest(queries, wanted, allowed, effort)

    def _nearest(self, queries: Vectors, k: int, allowed: _Allowed, effort: int | None) -> list[Rows]:
        return self._exactly(queries, k, allowed)

    def _exactly(self, queries: Vectors, k: int, allowed: _Allowed) -> list[Rows]:
        params = self._library.SearchParameters(sel=allowed.selector) if allowed.selector else None
        return list(self._index.search(queries, k, params=params)[1])

    def scores(self, query: Vectors, rows: Rows) -> npt.NDArray[np.float64]:
        """See `SegmentVectors`."""
        products: npt.NDArray[np.float64] = self._take(rows).astype(np.float64) * query.astype(np.float64)
        return np.asarray(products.sum(axis=1))

    def read(self, rows: Rows) -> Vectors:
        """See `SegmentVectors`."""
        return self._take(rows)

    def _take(self, rows: Rows) -> Vectors:
        taken = self._rows[rows]
        return taken if taken.dtype == np.float32 else _widened(taken)


class _ApproximateVectors(ExactVectors):
    """A structure proposes rows; where few rows may be found, all of those are compared instead."""

    default_effort: int

    def _nearest(self, queries: Vectors, k: int, allowed: _Allowed, effort: int | None) -> list[Rows]:
        if allowed.share < _EXACT_SHARE:
            return self._exactly(queries, k, allowed)
        # Of the candidates only so many count: the search goes on until there are as many of these.
        wide = int(np.ceil((effort or self.default_effort) / allowed.share))
        found = [rows[rows >= 0] for rows in self._index.search(queries, k, params=self._params(wide, allowed))[1]]
        short = [place for place, rows in enumerate(found) if len(rows) < k]
        if short:
            for place, rows in zip(short, self._exactly(queries[short], k, allowed), strict=True):
                found[place] = rows
        return found

    def _params(self, effort: int, allowed: _Allowed) -> Any:
        raise NotImplementedError


class GraphVectors(_ApproximateVectors):
    """HNSW: a walk along neighbours. The vectors are the graph's own storage, an exact index in the order of rows."""

    def __init__(self, index: Any, live: Live) -> None:
        """Use `open_vectors`."""
        super().__init__(index, live)
        self.kind = HNSW
        self.default_effort = int(index.hnsw.efSearch)

    def _exactly(self, queries: Vectors, k: int, allowed: _Allowed) -> list[Rows]:
        params = self._library.SearchParameters(sel=allowed.selector) if allowed.selector else None
        return list(self._index.storage.search(queries, k, params=params)[1])

    def _params(self, effort: int, allowed: _Allowed) -> Any:
        return self._library.SearchParametersHNSW(efSearch=effort, sel=allowed.selector)


class ListVectors(_ApproximateVectors):
    """IVF: the lists around the nearest centres. Vectors lie in the lists; a map leads from row to place."""

    def __init__(self, index: Any, live: Live) -> None:
        """Use `open_vectors`."""
        super().__init__(index, live)
        self.kind = IVF
        self.default_effort = int(index.nprobe)

    def _exactly(self, queries: Vectors, k: int, allowed: _Allowed) -> list[Rows]:
        return list(self._index.search(queries, k, params=self._params(self._index.nlist, allowed))[1])

    def _params(self, effort: int, allowed: _Allowed) -> Any:
        return self._library.SearchParametersIVF(nprobe=min(effort, self._index.nlist), sel=allowed.selector)

    def _take(self, rows: Rows) -> Vectors:
        return np.asarray(self._index.reconstruct_batch(rows)).reshape(-1, self.dimension)


def _widened(halves: npt.NDArray[np.float16]) -> Vectors:
    """Half precision as float32, bit for bit; finite numbers only. Ten times as fast as NumPy's own conversion."""
    bits = halves.view(np.uint16).astype(np.uint32)
    # Moved to where float32 has them, fraction and exponent are a number that is too small by the difference of the
    # two formats' exponent biases; the multiplication also makes subnormal numbers normal ones.
    wide: Vectors = ((bits & 0x7FFF) << 13).view(np.float32) * np.float32(2.0**112)
    wide.view(np.uint32)[...] |= (bits & 0x8000) << 16
    return wide


def _stored(index: Any) -> npt.NDArray[Any]:
    """A read-only view of the mapped vectors in the order of rows, valid as long as the index is; empty for lists."""
    import faiss

    storage = faiss.downcast_index(index.storage) if isinstance(index, faiss.IndexHNSW) else index
    if not isinstance(storage, faiss.IndexFlat | faiss.IndexScalarQuantizer):
        return np.zeros((0, index.d), dtype=np.float16)
    size = storage.codes.size()
    if not size:
        return np.zeros((0, index.d), dtype=np.float32)
    view: npt.NDArray[Any] = faiss.rev_swig_ptr(storage.codes.data(), size)
    view = view.view(np.float32 if isinstance(storage, faiss.IndexFlat) else np.float16).reshape(-1, index.d)
    view.setflags(write=False)
    return view
