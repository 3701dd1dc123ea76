"""Exact search in the vectors of one segment.

A FAISS flat index by inner product, mapped from disk so that opening costs nothing and processes share the
pages. Nothing here is ever changed after it was written: removed rows are masked, and FAISS forbids
searching an index while another thread changes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index.encoder import Vectors

Rows = npt.NDArray[np.int64]
Live = npt.NDArray[np.bool_]


def write_vectors(path: Path, vectors: Vectors) -> None:
    """Write (n, dimension) float32 vectors as a FAISS flat index."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    path.write_bytes(faiss.serialize_index(index).tobytes())


class FlatVectors:
    """The vectors of a segment, read-only; safe to search from several threads."""

    def __init__(self, path: Path, live: Live) -> None:
        """Map the file.

        Args:
            path: What `write_vectors` wrote.
            live: (n,) bool, False for rows that count as removed.

        Raises:
            ValueError: the file does not hold one vector for each entry of `live`.
            RuntimeError: the file is not a FAISS index.
        """
        import faiss

        self._index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        if not isinstance(self._index, faiss.IndexFlat) or self._index.ntotal != len(live):
            raise ValueError(f"{path} holds {self._index.ntotal} vectors, not {len(live)}")
        self.dimension = int(self._index.d)
        self._live = live
        self.live_count = int(live.sum())
        self._params: Any = None
        if self.live_count < len(live):
            # FAISS keeps a bare pointer to the bits, so they must live as long as the selector.
            self._bits = np.packbits(live, bitorder="little")
            library: Any = faiss  # its stubs describe the C++ signatures, not the Python ones
            self._selector = library.IDSelectorBitmap(self._bits)
            self._params = library.SearchParameters(sel=self._selector)
        floats = self._index.ntotal * self.dimension
        # A view of the mapped file, valid as long as the index is, which this object keeps.
        self._rows: Vectors = faiss.rev_swig_ptr(self._index.get_xb(), floats).reshape(-1, self.dimension)

    def search(self, queries: Vectors, k: int, mask: Live | None = None) -> list[Rows]:
        """The `k` nearest live rows of every query (fewer if there are fewer), best first.

        Their scores are not given: FAISS sums in an order that depends on where a row lies. See `scores`.

        Args:
            queries: (n, dimension) float32.
            k: Rows for each query.
            mask: (rows,) bool, False for rows to leave out beside the removed ones; None to leave out none.
        """
        if mask is None:
            _, found = self._index.search(queries, min(k, self.live_count), params=self._params)
            return [rows[rows >= 0] for rows in found]
        import faiss

        wanted = mask & self._live
        bits = np.packbits(wanted, bitorder="little")
        library: Any = faiss
        selector = library.IDSelectorBitmap(bits)
        params = library.SearchParameters(sel=selector)
        _, found = self._index.search(queries, max(1, min(k, int(wanted.sum()))), params=params)
        return [rows[rows >= 0] for rows in found]

    def scores(self, query: Vectors, rows: Rows) -> npt.NDArray[np.float64]:
        """Inner products of one query with some rows, the same to the last bit wherever the rows lie."""
        products: npt.NDArray[np.float64] = self._rows[rows].astype(np.float64) * query.astype(np.float64)
        return np.asarray(products.sum(axis=1))

    def read(self, rows: Rows) -> Vectors:
        """A copy of some rows: (len(rows), dimension) float32."""
        return self._rows[rows]
