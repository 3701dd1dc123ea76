"""Snapshots: what an index held at one moment, readable for as long as somebody holds it.

A snapshot is a manifest that names immutable segments, the rows of them that were removed since, and the documents
that it was made from. Readers take no lock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index.documents.chunking import Chunk
from index.documents.document import HasContent
from index.encoders.encoder import TextEncoder
from index.errors import CorruptSnapshot, EncoderMismatch, NoSnapshot
from index.store.filters import Filter, Labels
from index.store.folder import (
    CURRENT,
    SEGMENTS,
    current_id,
    manifest_path,
    manifest_paths,
    read_manifest,
    readable_manifests,
)
from index.store.integrity import Check, check_files
from index.store.manifest import Manifest, SegmentEntry
from index.store.segment import Segment, read_table
from index.store.vectors import Live
from index.store.view import View, Views

_DAMAGE = (OSError, RuntimeError, ValueError, KeyError)
"""What the readers of FAISS and Arrow raise on files that are missing or damaged."""

_ATTEMPTS = 100
"""Attempts to open a snapshot that writers keep replacing. Each attempt lasts a whole refresh of theirs, so a second
one nearly always succeeds."""


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """A document as a snapshot lists it; `hash` is that of its content."""

    id: str
    title: str
    hash: str


def document_table(documents: Sequence[HasContent]) -> pa.Table:
    """Documents as columns `id`, `title` and `hash`, one row for each, in the order given."""
    columns = ("id", "title", "hash")
    texts = [[getattr(document, name) for document in documents] for name in columns]
    return pa.table(texts, schema=pa.schema([(name, pa.string()) for name in columns]))


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot in a list of snapshots; see `Manifest`."""

    id: str
    parent: str | None
    created: str
    documents: int
    chunks: int
    encoder_source: str
    is_current: bool
    sequence: int
    held: tuple[str, ...] = ()
    segments: tuple[SegmentEntry, ...] = ()


class Snapshot:
    """An open snapshot; immutable, and safe to use from several threads."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        """Use `Snapshot.open`."""
        self.root = root
        self.manifest = manifest
        self.id = manifest.id
        self.encoder_fingerprint = manifest.encoder_fingerprint
        self.settings = manifest.settings
        self.document_count = manifest.documents
        self.chunk_count = manifest.chunks
        self.segments = [
            Segment(root / SEGMENTS / entry.name, _read_live(root, entry.tombstones, entry.rows), manifest.analysis)
            for entry in manifest.segments
        ]
        self.offsets = np.cumsum([0, *(len(segment) for segment in self.segments)], dtype=np.int64)
        self._firsts: list[int] = self.offsets.tolist()
        self.document_table = read_table(root / manifest.documents_file)
        """The documents as columns `id` (ascending), `title` and `hash`, to compare all of them at once."""
        self._views = Views(self.segments)
        self.bm25 = self._views.unrestricted.bm25
        """BM25 over all live rows."""

    @classmethod
    def open(cls, root: Path, id: str | None = None, check: Check = "auto") -> Snapshot:  # noqa: A002
        """Open a snapshot, the live one if `id` is None.

        Every file is mapped or read here, so that an open snapshot stays whole when its files are deleted. If a writer
        replaces or deletes it during the attempt, it is opened again.

        Raises:
            NoSnapshot: there is no live snapshot, or none of this id.
            CorruptSnapshot: a file is missing, truncated or altered.
        """
        root = Path(root)
        for attempt in range(_ATTEMPTS):
            seen = _state(root, id)
            try:
                return cls._open(root, id or current_id(root), check)
            except (NoSnapshot, CorruptSnapshot):
                if _state(root, id) == seen or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    @classmethod
    def _open(cls, root: Path, id: str, check: Check) -> Snapshot:  # noqa: A002
        manifest = read_manifest(root, id)
        try:
            check_files(root, manifest.files, check)
            return cls(root, manifest)
        except _DAMAGE as error:
            raise _damaged(root, id, str(error)) from error

    def check(self, segments: Iterable[str]) -> None:
        """Compare the files of the named segments with their checksums, whatever their size.

        Raises:
            CorruptSnapshot: a file differs.
        """
        folders = tuple(f"{SEGMENTS}/{name}/" for name in segments)
        files = {name: entry for name, entry in self.manifest.files.items() if name.startswith(folders)}
        try:
            check_files(self.root, files, "always")
        except _DAMAGE as error:
            raise _damaged(self.root, self.id, str(error)) from error

    def is_current(self) -> bool:
        """Whether opening the index now would give these very files: no other snapshot, nor this one compacted.

        Raises:
            NoSnapshot: there is no live snapshot any more.
            CorruptSnapshot: the manifest of the live snapshot is damaged.
        """
        live = current_id(self.root)
        return live == self.id and read_manifest(self.root, live).sequence == self.manifest.sequence

    def check_encoder(self, encoder: TextEncoder) -> None:
        """Refuse an encoder whose vectors cannot be compared with those of this snapshot.

        Raises:
            EncoderMismatch: another encoder built the snapshot.
        """
        if encoder.fingerprint != self.encoder_fingerprint:
            raise EncoderMismatch(
                f"The index in {self.root} was built by the encoder {self.manifest.encoder_source} "
                f"({self.manifest.dimension} dimensions, fingerprint {self.encoder_fingerprint[:12]}), but the one at "
                f"hand is {encoder.source} ({encoder.dimension} dimensions, fingerprint {encoder.fingerprint[:12]}); "
                "use the first (same weights, prefixes and dtype), or rebuild the index with "
                "`ragft index build --rebuild`."
            )

    def documents(self) -> list[DocumentEntry]:
        """The documents in the order of their ids."""
        columns = (self.document_table[key].to_pylist() for key in ("id", "title", "hash"))
        return [DocumentEntry(*row) for row in zip(*columns, strict=True)]

    def chunks(self) -> Iterator[Chunk]:
        """All chunks in the order of document id and position, independent of the history of the index."""
        for first in range(0, self.chunk_count, 1024):
            rows = self.order[first : first + 1024]
            yield from (self.chunk_at(int(row)) for row in rows)

    def chunk(self, number: int) -> Chunk:
        """The chunk with this number in the order of `chunks()`, from 0."""
        if not 0 <= number < self.chunk_count:
            raise IndexError(f"chunk {number} of {self.chunk_count}")
        return self.chunk_at(int(self.order[number]))

    def chunk_at(self, row: int) -> Chunk:
        """The chunk at a row. Rows are counted over all segments, removed ones included."""
        segment, local = self.locate(row)
        return self.segments[segment].reader.chunk(local)

    def locate(self, row: int) -> tuple[int, int]:
        """The number of the segment that holds a row, and the row's number within it."""
        segment = bisect_right(self._firsts, row) - 1
        return segment, row - self._firsts[segment]

    def place(self, row: int) -> tuple[str, int, int]:
        """Document id, start and end of a row: the order of `chunks()`, by which ties of scores are broken."""
        segment, local = self.locate(row)
        return self.segments[segment].reader.place(local)

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """The live rows in the order of document id and position: (chunks,) int64."""
        import pyarrow.compute as pc

        keys = ["document_id", "start", "end"]
        if not self.segments:
            return np.zeros(0, dtype=np.int64)
        table = pa.concat_tables([segment.table.select(keys) for segment in self.segments])
        live = np.flatnonzero(np.concatenate([segment.live for segment in self.segments]))
        order = pc.sort_indices(table.take(pa.array(live)), sort_keys=[(key, "ascending") for key in keys])
        return np.asarray(live[order.to_numpy()], dtype=np.int64)

    def view(self, labels: Labels = None, filter: Filter | None = None) -> View:  # noqa: A002
        """The rows that a caller with these labels may see and that pass the filter; recent views are cached."""
        return self._views.of(labels, filter)


def _damaged(root: Path, id: str, what: str) -> CorruptSnapshot:  # noqa: A002
    return CorruptSnapshot(
        f"Snapshot {id} in {root} is damaged ({what}); go back to another one with `ragft index rollback`, or "
        "rebuild it with `ragft index build --rebuild`."
    )


def _read_live(root: Path, tombstones: str | None, rows: int) -> Live:
    """The mask of live rows, (rows,) bool."""
    if tombstones is None:
        return np.ones(rows, dtype=np.bool_)
    bits = np.frombuffer((root / tombstones).read_bytes(), dtype=np.uint8)
    live: Live = np.unpackbits(bits, count=rows, bitorder="little") == 0
    return live


def _state(root: Path, id: str | None) -> tuple[object, ...]:  # noqa: A002
    """A value that differs once a writer has replaced or deleted what a reader would open."""
    try:
        name = id or current_id(root)
        stat = manifest_path(root, name).stat()
    except (NoSnapshot, OSError) as error:
        return (str(error),)
    return (name, stat.st_ino, stat.st_mtime_ns, stat.st_size)


def list_snapshots(root: Path) -> list[SnapshotInfo]:
    """All snapshots whose manifests can be read, oldest first.

    Raises:
        NoSnapshot: nothing has been built in this folder.
    """
    root = Path(root)
    # An index whose first snapshot was held back has manifests, but no live snapshot.
    live = current_id(root) if not manifest_paths(root) or (root / CURRENT).exists() else None
    return [
        SnapshotInfo(
            id=manifest.id, parent=manifest.parent, created=manifest.created, documents=manifest.documents,
            chunks=manifest.chunks, encoder_source=manifest.encoder_source, is_current=manifest.id == live,
            sequence=manifest.sequence, held=manifest.held, segments=manifest.segments,
        )
        for manifest in in_order_of_writing(readable_manifests(root))
    ]  # fmt: skip


def in_order_of_writing(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Manifests of one index, oldest first."""
    return sorted(manifests, key=lambda manifest: (manifest.sequence, manifest.created, manifest.id))
