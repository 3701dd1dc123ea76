"""Reads single rows of a segment's mapped table.

Arrow's own way to a few rows (`take`, then `to_pylist`) takes several times as long as the search before it. The
columns are plain buffers, so a row is read as a few slices of them.
"""

from __future__ import annotations

import json

import pyarrow as pa

from index.documents.chunking import Chunk

_decode = json.JSONDecoder().raw_decode
"""`json.loads` also searches for white space around the value, which takes longer than decoding it."""


class RowReader:
    """The rows of one table, read-only; safe to use from several threads."""

    def __init__(self, table: pa.Table) -> None:
        """Find the buffers of the columns; nothing is copied if each column is one chunk, as in files of ours."""
        columns = {
            name: column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
        self._document_ids = _Texts(columns["document_id"])
        self._titles = _Texts(columns["title"])
        self._heading_paths = _Lists(columns["heading_path"])
        self._starts = _values(columns["start"], 8).cast("q")
        self._ends = _values(columns["end"], 8).cast("q")
        self._texts = _Texts(columns["text"])
        self._hashes = _values(columns["hash"], 32)
        self._pages = _Numbers(columns["page"])
        self._metadata = _Texts(columns["metadata"])
        self._labels = _Lists(columns["labels"])
        self._leads = _Texts(columns["lead"])

    def chunk(self, row: int) -> Chunk:
        return Chunk(
            document_id=self._document_ids[row],
            title=self._titles[row],
            heading_path=self._heading_paths[row],
            start=self._starts[row],
            end=self._ends[row],
            text=self._texts[row],
            hash=self._hashes[32 * row : 32 * row + 32].hex(),
            page=self._pages[row],
            metadata=_decode(self._metadata[row])[0],
            labels=self._labels[row],
            lead=self._leads[row],
        )

    def place(self, row: int) -> tuple[str, int, int]:
        """What rows are ordered by: document, start and end."""
        return self._document_ids[row], self._starts[row], self._ends[row]


def _values(array: pa.Array, width: int) -> memoryview:
    """The bytes of a column's values (for texts and lists: of their offsets), `width` each, from its first row on."""
    return _bytes(array.buffers()[1])[array.offset * width :]


def _bytes(buffer: pa.Buffer | None) -> memoryview:
    return memoryview(buffer if buffer is not None else b"").cast("B")


class _Numbers:
    """A column of int32 with nulls."""

    def __init__(self, array: pa.Array) -> None:
        self._numbers = _values(array, 4).cast("i")
        valid = array.buffers()[0]
        self._valid = _bytes(valid) if valid is not None else None
        self._first = array.offset

    def __getitem__(self, row: int) -> int | None:
        bit = self._first + row
        return self._numbers[row] if self._valid is None or self._valid[bit >> 3] >> (bit & 7) & 1 else None


class _Texts:
    def __init__(self, array: pa.Array) -> None:
        large = pa.types.is_large_string(array.type)
        self._starts = _values(array, 8).cast("q") if large else _values(array, 4).cast("i")
        self._data = _bytes(array.buffers()[2])

    def __getitem__(self, row: int) -> str:
        return str(self._data[self._starts[row] : self._starts[row + 1]], "utf-8")


class _Lists:
    """A column of lists of texts."""

    def __init__(self, array: pa.Array) -> None:
        self._starts = _values(array, 4).cast("i")
        self._texts = _Texts(array.values)

    def __getitem__(self, row: int) -> tuple[str, ...]:
        first, end = self._starts[row], self._starts[row + 1]
        return tuple([self._texts[place] for place in range(first, end)]) if first < end else ()
