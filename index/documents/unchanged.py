"""Knows which files need not be read again, because they have not changed since they were read.

A refresh learns this from sizes and times, as git does, instead of reading gigabytes. What is known is stored in one
file of the index. It is only a cache: if that file is missing, damaged or about another folder, everything is read.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from blake3 import blake3

from index.documents.document import HasContent
from index.documents.walk import FileState, last_change
from index.durable import write_file

STATES = "files.arrow"

SETTLED_NS = 2_000_000_000
"""How long before a refresh a file must have last changed for its state to be trusted. A file that changes twice within
one tick of the file system's clock has the same times after both; the coarsest clocks tick every two seconds."""

WORTH_WRITING = 100
"""Number of files read from which on what is known is written even if no snapshot is published."""

_SCHEMA = pa.schema(
    [("name", pa.string()), ("state", pa.binary()), ("ids", pa.list_(pa.string())), ("hashes", pa.list_(pa.string()))]
)
"""One row per file, with the ids and hashes of all its documents."""

_DIGEST = 32
"""Size in bytes of the checksum at the beginning of the file."""


class UnchangedFiles:
    """The files of one folder whose documents are in the live snapshot.

    Files are compared all at once, as columns: an object per file would cost more than asking the system for its state.

    Attributes:
        rows: (n,) int64, rows of the live documents that come from unchanged files.
    """

    def __init__(self, root: Path, reading: str, live: pa.Table) -> None:
        """Load what earlier refreshes learnt.

        Args:
            reading: see `index.documents.folder.reading_of`; what was learnt with another value is ignored.
            live: documents of the live snapshot. A file is read unless all its documents are there with the same hash.
        """
        self.rows: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._path = root / STATES
        self._reading = reading
        self._live = live
        self._begin = time.time_ns()
        self._known = _read(self._path, reading)
        self._learnt: list[tuple[str, FileState, list[str], list[str]]] = []
        self._files_read = 0

    def to_read(self, states: Mapping[str, FileState]) -> list[str]:
        """Names of the files, among all of the folder, that must be read; sets `rows` to the documents of the others.

        To be called once.
        """
        import pyarrow.compute as pc

        names, known = list(states), self._known
        if not known.num_rows:
            return names
        ids, hashes = (known.column(name).flatten() for name in ("ids", "hashes"))
        row = pc.index_in(ids, value_set=self._live["id"])
        is_live = np.asarray(pc.fill_null(pc.equal(hashes, self._live["hash"].take(row)), False))
        sizes = pc.list_value_length(known.column("ids")).to_numpy()
        place = pc.index_in(known.column("name"), value_set=_texts(names))
        state = pa.array(states.values(), type=pa.binary()).take(place)
        has_same_state = np.asarray(pc.fill_null(pc.equal(known.column("state"), state), False))
        is_unchanged = has_same_state & np.logical_and.reduceat(is_live, np.cumsum(sizes) - sizes)
        self.rows = row.filter(pa.array(np.repeat(is_unchanged, sizes))).to_numpy().astype(np.int64)
        self._known = known.filter(pa.array(is_unchanged))
        must_be_read = np.ones(len(names), dtype=np.bool_)
        must_be_read[place.filter(pa.array(is_unchanged)).to_numpy()] = False
        return [names[place] for place in np.flatnonzero(must_be_read).tolist()]

    def learn(self, name: str, state: FileState, documents: Sequence[HasContent]) -> None:
        """Note which documents a file holds: all of them, at least one, and its state before it was read.

        Do not call this for a file of which anything was skipped.
        """
        self._files_read += 1
        # A time in the future (the clock was set back) is not trusted either.
        if state and last_change(state) < self._begin - SETTLED_NS:
            self._learnt.append((name, state, [item.id for item in documents], [item.hash for item in documents]))

    def save(self, published: bool) -> None:
        """Write what is known for the next refresh; if no snapshot was published, only if many files were read."""
        if not published and self._files_read < WORTH_WRITING:
            return
        columns = list(zip(*self._learnt, strict=True)) or [()] * len(_SCHEMA)
        learnt = pa.record_batch(
            [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
        )
        table = pa.Table.from_batches([self._known, learnt]).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, _SCHEMA.with_metadata({"reading": self._reading})) as file:
            file.write_table(table)
        content = sink.getvalue()
        with contextlib.suppress(OSError):  # a full disk is no reason to fail after the snapshot was published
            write_file(self._path, blake3(content).digest() + content)


def _texts(names: Sequence[str]) -> pa.Array:
    """Names as a column; null for those that are not UTF-8, whose files are never read."""
    try:
        return pa.array(names, type=pa.string())
    except UnicodeEncodeError:
        whole = (name.encode(errors="replace").decode() == name for name in names)
        return pa.array([name if good else None for name, good in zip(names, whole, strict=True)], type=pa.string())


def _read(path: Path, reading: str) -> pa.RecordBatch:
    """What is known of files that were read in this way; empty if the file is missing or damaged."""
    nothing = pa.RecordBatch.from_pylist([], schema=_SCHEMA)
    try:
        content = pa.py_buffer(path.read_bytes())
    except OSError:
        return nothing
    if content.size <= _DIGEST or blake3(content[_DIGEST:]).digest() != content[:_DIGEST].to_pybytes():
        return nothing
    file = pa.ipc.open_file(content[_DIGEST:])
    if file.schema.metadata != {b"reading": reading.encode()} or file.num_record_batches != 1:
        return nothing
    return file.get_batch(0)
