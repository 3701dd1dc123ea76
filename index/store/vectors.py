"""The vectors of one segment: how they are stored, and how the nearest ones are found.

Each kind (see `kinds`) is one FAISS file that holds every vector once. A graph is searched over the vectors of the
file itself, so the same bytes serve approximate search, exact search under a narrow mask, exact scores, and the merge
of segments. The file is mapped, so that opening costs nothing and processes share the pages.

Nothing is changed after it was written: removed rows are masked, and ef_search and nprobe are parameters of each call,
because FAISS forbids searching an index while another thread changes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index.encoders.encoder import Progress, Vectors
from index.store.approximate import build
from index.store.kinds import APPROXIMATE, FLAT, FLAT_FP16, HNSW, IVF, KINDS, VectorsEntry, VectorSettings

Rows = npt.NDArray[np.int64]
Live = npt.NDArray[np.bool_]

_EXACT_SHARE = 0.05
"""Share of the rows below which a mask is searched exactly. A graph would wander through rows that do not count, while
FAISS skips masked rows of a flat index at next to no cost."""


def write_vectors(
    path: Path, vectors: Vectors, settings: VectorSettings | None = None, progress: Progress | None = None
) -> VectorsEntry:
    """Write the vectors of a segment. The same vectors give the same file, whatever the number of threads.

    Args:
        vectors: (n, dimension) float32, rows of unit length.
        settings: how they are stored; None: the defaults.
        progress: called with the rows done while a graph or lists are built.

    Raises:
        OSError: the file cannot be written.
    """
    import faiss

    settings = settings or VectorSettings()
    kind = settings.kind_for(len(vectors))
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if kind in APPROXIMATE:
        built, entry = build(kind, vectors, settings.target_recall, settings.seed, progress)
    else:
        size, half = vectors.shape[1], (faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        built = faiss.IndexFlatIP(size) if kind == FLAT else faiss.IndexScalarQuantizer(size, *half)
        built.add(vectors)
        entry = VectorsEntry(kind)
    _write_index(built, path)
    return entry


def _write_index(built: Any, path: Path) -> None:
    """Write a FAISS index through a Python file, because FAISS itself does not say why a write failed."""
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


def open_vectors(path: Path, live: Live) -> SegmentVectors:
    """Map a file that `write_vectors` wrote; `live`: (n,) bool, False for removed rows.

    Raises:
        ValueError: the file does not hold one vector for each entry of `live`, or is none of our kinds.
        RuntimeError: the file is not a FAISS index.
    """
    import faiss

    index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    if index.ntotal != len(live):
        raise ValueError(f"{path} holds {index.ntotal} vectors, not {len(live)}")
    if isinstance(index, faiss.IndexFlat | faiss.IndexScalarQuantizer):
        return SegmentVectors(index, live)
    if isinstance(index, faiss.IndexHNSWSQ):
        return _GraphVectors(index, live)
    if isinstance(index, faiss.IndexIVFScalarQuantizer):
        return _ListVectors(index, live)
    raise ValueError(f"{path} is a {type(index).__name__}, which is none of {', '.join(KINDS[1:])}")


class _Allowed:
    """The rows that a search may find, in FAISS' form."""

    def __init__(self, rows: Live) -> None:
        import faiss

        library: Any = faiss  # its stubs describe the C++ signatures, not the Python ones
        self.count = int(np.count_nonzero(rows))
        self.share = self.count / max(1, len(rows))
        self.selector: Any = None
        if self.count < len(rows):
            # FAISS keeps only a pointer to the bits, so they must live as long as the selector.
            self._bits = np.packbits(rows, bitorder="little")
            self.selector = library.IDSelectorBitmap(self._bits)


class SegmentVectors:
    """The vectors of a segment under the mask of a snapshot; safe to search from several threads.

    This class compares every vector; its subclasses let a graph or lists propose rows.
    """

    def __init__(self, index: Any, live: Live) -> None:
        """Use `open_vectors`."""
        import faiss

        self._index = index
        self._exact = index
        self._live = live
        self._allowed = _Allowed(live)
        self._library: Any = faiss
        self.dimension = int(index.d)
        self.live_count = self._allowed.count
        self.kind = FLAT if isinstance(index, faiss.IndexFlat) else FLAT_FP16
        self._rows = _stored(index)

    def search(self, queries: Vectors, k: int, mask: Live | None = None, ef_search: int | None = None) -> list[Rows]:
        """The nearest live rows of every query, best first, without scores.

        FAISS sums in an order that depends on where a row lies, so its scores are not given; see `scores`.

        Args:
            queries: (n, dimension) float32.
            k: rows for each query, fewer only if there are fewer.
            mask: (rows,) bool, True for rows that may be found; None for all.
            ef_search: candidates of a graph, or lists (nprobe), to visit instead of the value that the build chose;
                exact kinds ignore it.
        """
        allowed = self._allowed if mask is None else _Allowed(mask & self._live)
        wanted = min(k, allowed.count)
        if not wanted:
            return [np.zeros(0, dtype=np.int64) for _ in queries]
        return self._nearest(queries, wanted, allowed, ef_search)

    def _nearest(self, queries: Vectors, k: int, allowed: _Allowed, ef_search: int | None) -> list[Rows]:
        return self._exactly(queries, k, allowed)

    def _exactly(self, queries: Vectors, k: int, allowed: _Allowed) -> list[Rows]:
        params = self._library.SearchParameters(sel=allowed.selector) if allowed.selector else None
        return list(self._exact.search(queries, k, params=params)[1])

    def scores(self, query: Vectors, rows: Rows) -> npt.NDArray[np.float64]:
        """Inner products of one query, (dimension,) float32, with some rows: (len(rows),) float64.

        They are the same to the last bit wherever the rows lie.
        """
        products: npt.NDArray[np.float64] = self.read(rows).astype(np.float64) * query.astype(np.float64)
        return np.asarray(products.sum(axis=1))

    def read(self, rows: Rows) -> Vectors:
        """A copy of some rows: (len(rows), dimension) float32. Written in the same kind again, they keep every bit."""
        taken = self._rows[rows]
        return taken if taken.dtype == np.float32 else _widened(taken)


class _ApproximateVectors(SegmentVectors):
    """A graph or lists propose rows; where few rows may be found, all of those are compared instead."""

    default_ef_search: int

    def _nearest(self, queries: Vectors, k: int, allowed: _Allowed, ef_search: int | None) -> list[Rows]:
        if allowed.share < _EXACT_SHARE:
            return self._exactly(queries, k, allowed)
        # Only this share of the candidates counts, so the search visits as many more.
        wide = int(np.ceil((ef_search or self.default_ef_search) / allowed.share))
        found = [rows[rows >= 0] for rows in self._index.search(queries, k, params=self._params(wide, allowed))[1]]
        short = [place for place, rows in enumerate(found) if len(rows) < k]
        if short:
            for place, rows in zip(short, self._exactly(queries[short], k, allowed), strict=True):
                found[place] = rows
        return found

    def _params(self, ef_search: int, allowed: _Allowed) -> Any:
        raise NotImplementedError


class _GraphVectors(_ApproximateVectors):
    """HNSW: walks along neighbours. The graph's storage is an exact index of the vectors in the order of rows."""

    def __init__(self, index: Any, live: Live) -> None:
        super().__init__(index, live)
        self.kind = HNSW
        self._exact = index.storage
        self.default_ef_search = int(index.hnsw.efSearch)

    def _params(self, ef_search: int, allowed: _Allowed) -> Any:
        return self._library.SearchParametersHNSW(efSearch=ef_search, sel=allowed.selector)


class _ListVectors(_ApproximateVectors):
    """IVF: searches the lists around the nearest centres. Vectors lie in the lists; a map leads from row to place."""

    def __init__(self, index: Any, live: Live) -> None:
        super().__init__(index, live)
        self.kind = IVF
        self.default_ef_search = int(index.nprobe)

    def _exactly(self, queries: Vectors, k: int, allowed: _Allowed) -> list[Rows]:
        return list(self._index.search(queries, k, params=self._params(self._index.nlist, allowed))[1])

    def _params(self, ef_search: int, allowed: _Allowed) -> Any:
        return self._library.SearchParametersIVF(nprobe=min(ef_search, self._index.nlist), sel=allowed.selector)

    def read(self, rows: Rows) -> Vectors:
        return np.asarray(self._index.reconstruct_batch(rows)).reshape(-1, self.dimension)


def _widened(halves: npt.NDArray[np.float16]) -> Vectors:
    """Finite half-precision numbers as float32, bit for bit; ten times as fast as NumPy's own conversion."""
    bits = halves.view(np.uint16).astype(np.uint32)
    # Fraction and exponent, moved to float32's places, give a number that is too small by the difference of the two
    # formats' exponent biases. The multiplication corrects that, and makes subnormal numbers normal ones.
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
