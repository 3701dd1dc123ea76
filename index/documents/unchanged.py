"""Which files need not be read again, because nothing about them changed since they were read.

A refresh learns from sizes and times what it would otherwise have to read gigabytes for, as git does. What is known is
kept in one file of the index. It is a cache and no more: a file that is new, damaged or of another folder says nothing,
and then everything is read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from blake3 import blake3

from index.documents.walk import FileState, last_change
from index.durable import write_file
from index.store.snapshot import HasContent

STATES = "files.arrow"

SETTLED_NS = 2_000_000_000
"""How long a file must have been left alone before it was looked at. A file that is changed twice within one tick of
the file system's clock has the same times after both; the coarsest clocks tick every two seconds."""

WORTH_WRITING = 100
"""Files that were read in vain, from which on what is known is written even if no snapshot is published."""


_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("state", pa.binary()),
        ("ids", pa.list_(pa.string())),
        ("hashes", pa.list_(pa.string())),
    ]
)
"""A row for each file, with all documents that came of it."""

_DIGEST = 32
"""Bytes of the checksum that the file begins with."""


class UnchangedFiles:
    """The files of one folder whose documents an index knows.

    Files are compared as columns, all at once: an object for each would cost more than asking the system about it.

    Attributes:
        rows: (n,) int64, the documents of the files that were found unchanged, as rows of the live ones.
    """

    def __init__(self, root: Path, reading: str, live: pa.Table) -> None:
        """Remember what earlier refreshes learnt.

        Args:
            root: Of the index.
            reading: All that decides what is made of a file, the folder included: anything else and nothing is known.
            live: The documents of the live snapshot, see `Snapshot.document_table`. Only files whose documents are
                all in it as they were need not be read.
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
        """Those of the files, given with their states, whose documents are not known; those of the others are `rows`.

        To be called once, for all files of the folder.
        """
        import pyarrow.compute as pc

        names, known = list(states), self._known
        if not known.num_rows:
            return names
        ids, hashes = (known.column(name).flatten() for name in ("ids", "hashes"))
        row = pc.index_in(ids, value_set=self._live["id"])
        as_live = np.asarray(pc.fill_null(pc.equal(hashes, self._live["hash"].take(row)), False))
        sizes = pc.list_value_length(known.column("ids")).to_numpy()
        place = pc.index_in(known.column("name"), value_set=_texts(names))
        state = pa.array(states.values(), type=pa.binary()).take(place)
        same = np.asarray(pc.fill_null(pc.equal(known.column("state"), state), False))
        same = same & np.logical_and.reduceat(as_live, np.cumsum(sizes) - sizes)
        self.rows = row.filter(pa.array(np.repeat(same, sizes))).to_numpy().astype(np.int64)
        self._known = known.filter(pa.array(same))
        new = np.ones(len(names), dtype=np.bool_)
        new[place.filter(pa.array(same)).to_numpy()] = False
        return [names[place] for place in np.flatnonzero(new).tolist()]

    def learn(self, name: str, state: FileState, documents: Sequence[HasContent]) -> None:
        """Note what a file held.

        Args:
            name: Of the file.
            state: As it was before the file was read.
            documents: All that came of it, at least one; a file of which something was skipped is not to be learnt.
        """
        self._files_read += 1
        # A time in the future, by a clock that was set back, is not settled either.
        if state and last_change(state) < self._begin - SETTLED_NS:
            self._learnt.append((name, state, [item.id for item in documents], [item.hash for item in documents]))

    def save(self, published: bool) -> None:
        """Keep what is known for the next refresh, if that will spare it enough.

        Args:
            published: Whether files changed; otherwise, a refresh of an unchanged folder writes nothing.
        """
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
        try:
            write_file(self._path, blake3(content).digest() + content)
        except OSError:  # a full disk is no reason to fail after the snapshot was published
            return


def _texts(names: Sequence[str]) -> pa.Array:
    """Names as a column; null for those that are no UTF-8, which no reader takes."""
    try:
        return pa.array(names, type=pa.string())
    except UnicodeEncodeError:
        whole = (name.encode(errors="replace").decode() == name for name in names)
        return pa.array([name if good else None for name, good in zip(names, whole, strict=True)], type=pa.string())


def _read(path: Path, reading: str) -> pa.RecordBatch:
    """What is known of files that were read like this."""
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
