"""Writes snapshots: the new segment, the tombstones, the documents, and last of all the manifest.

Everything is written under new names and is on disk before `CURRENT` names it. What a killed writer leaves behind is
named by no manifest, and the next writer deletes it (`sweep`).
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from blake3 import blake3

from index.documents.chunking import Chunk, ChunkSettings
from index.durable import TEMPORARY_SUFFIX, publish_folder, write_file
from index.encoders.encoder import Progress, TextEncoder, Vectors
from index.errors import IndexFault
from index.store.folder import SEGMENTS, SNAPSHOTS, all_manifests, readable_manifests
from index.store.kinds import VectorsEntry, VectorSettings
from index.store.lexical import Postings
from index.store.manifest import FileEntry, Manifest, SegmentEntry, hash_bytes, hash_file
from index.store.merging import segments_to_merge
from index.store.segment import (
    POSTINGS_FILE,
    ROWS_FILE,
    SEGMENT_FILES,
    VECTORS_FILE,
    Segment,
    rows_of_chunks,
    write_segment,
)
from index.store.snapshot import Snapshot
from index.store.terms import Analysis
from index.store.vectors import Live

_DOCUMENTS_SUFFIX = ".documents.arrow"
_TOMBSTONES_SUFFIX = ".tombstones"
_OURS = (_DOCUMENTS_SUFFIX, _TOMBSTONES_SUFFIX)

_Written = TypeVar("_Written")


@dataclass(frozen=True)
class _Rows:
    """The rows of a new segment, in the order of document and position."""

    table: pa.Table
    vectors: Vectors
    postings: Postings


@dataclass(frozen=True)
class SnapshotWriter:
    """Writes one snapshot; to be used under the writer's lock.

    Attributes:
        target: id of the snapshot to write.
        parent: id of the snapshot that a rollback goes back to; None if there is none.
        settings: how the documents were cut.
        vector_settings: how new segments store their vectors; None: the defaults.
        progress: called with the rows done while a graph or lists are built.
        analysis: how passages become terms. Where the base's became others, its postings are written anew.
        reading: see `Manifest`.
    """

    root: Path
    target: str
    parent: str | None
    encoder: TextEncoder
    settings: ChunkSettings
    vector_settings: VectorSettings | None = None
    progress: Progress | None = None
    analysis: Analysis = field(default_factory=Analysis)
    reading: str = ""

    def write(
        self, base: Snapshot | None, gone: set[str], chunks: Sequence[Chunk], vectors: Vectors, documents: pa.Table
    ) -> Manifest:
        """Write everything but the manifest, which is returned.

        Args:
            base: the snapshot that this one continues; None to start from nothing.
            gone: ids of the documents whose rows in `base` are removed.
            chunks: chunks to add, in the order of document and position.
            vectors: their vectors, (chunks, dimension) float32, rows of unit length.
            documents: all documents of the new snapshot, like `Snapshot.document_table`.

        Raises:
            CorruptSnapshot: a segment of `base` that must be merged is damaged.
            OSError: the disk is full or not writable.
        """
        files = _Files(self.root, base.manifest.files if base else {}, self.vector_settings, self.progress)
        entries: list[SegmentEntry] = []
        new = None
        if chunks:
            passages, ids = [chunk.passage for chunk in chunks], [chunk.document_id for chunk in chunks]
            new = _Rows(rows_of_chunks(chunks), vectors, Postings.build(passages, ids, self.analysis.language))
        if base:
            entries, new = _carry_over(base, gone, new, files, self.analysis)
        if new is not None:
            entries.append(files.add(new))
        return Manifest(
            id=self.target, parent=self.parent, created=_now(),
            encoder_fingerprint=self.encoder.fingerprint, encoder_source=self.encoder.source,
            dimension=self.encoder.dimension, settings=self.settings, analysis=self.analysis, documents=len(documents),
            chunks=sum(entry.rows - entry.removed for entry in entries),
            documents_file=files.write_documents(self.target, documents), segments=tuple(entries),
            files=files.entries, sequence=_next_sequence(self.root), reading=self.reading,
        )  # fmt: skip

    def bring_back(self, known: Snapshot) -> Manifest:
        """The manifest for a snapshot whose content is wanted again; nothing is written."""
        return replace(
            known.manifest, parent=self.parent, created=_now(), held=(), sequence=_next_sequence(self.root),
            reading=self.reading,
        )  # fmt: skip


def _carry_over(
    base: Snapshot, gone: set[str], new: _Rows | None, files: _Files, analysis: Analysis
) -> tuple[list[SegmentEntry], _Rows | None]:
    """The segments of the base that stay, and the rows of the new segment: those of merged segments and `new`."""
    lives = [segment.live & ~segment.rows_of(gone) for segment in base.segments]
    live_rows = [int(live.sum()) for live in lives]
    merged = segments_to_merge(live_rows, [len(live) for live in lives], len(new.table) if new else 0)
    is_analysed = base.manifest.analysis == analysis
    if not is_analysed:
        # What is made of damaged rows would get a valid checksum, so the files are checked first.
        base.check(segment.name for segment in base.segments)
    staying = [
        files.keep(entry if is_analysed else files.with_terms(entry, base.segments[number], analysis), live)
        for number, (entry, live) in enumerate(zip(base.manifest.segments, lives, strict=True))
        if live_rows[number] and number not in merged
    ]
    if merged:
        # Copies of damaged rows would get valid checksums, so the files are checked first.
        base.check(base.segments[number].name for number in merged)
        new = _merged([(base.segments[number], lives[number]) for number in sorted(merged)], new, analysis)
    return staying, new


def compacted(base: Snapshot, vector_settings: VectorSettings | None, progress: Progress | None) -> Manifest | None:
    """Rewrite a snapshot as one segment without removed rows; None if it is one already.

    The returned manifest is not written yet. It is to replace that of `base`, which has the same id.
    """
    entries = base.manifest.segments
    wanted = (vector_settings or VectorSettings()).kind_for(base.manifest.chunks)
    if len(entries) < 2 and not any(entry.removed or entry.vectors.kind != wanted for entry in entries):
        return None
    files = _Files(base.root, base.manifest.files, vector_settings, progress)
    parts = [(segment, segment.live) for segment in base.segments if segment.live.any()]
    analysis = Analysis(base.manifest.analysis.language)
    rows = _merged(parts, None, analysis) if parts else None
    files.entries[base.manifest.documents_file] = base.manifest.files[base.manifest.documents_file]
    segments = (files.add(rows),) if rows is not None else ()
    sequence = _next_sequence(base.root)
    return replace(
        base.manifest, segments=segments, analysis=analysis, files=files.entries, created=_now(), sequence=sequence
    )


@dataclass(frozen=True)
class _Files:
    """The files of a snapshot that is being written: those that it shares with its base (`known`), and new ones."""

    root: Path
    known: Mapping[str, FileEntry]
    vector_settings: VectorSettings | None
    progress: Progress | None
    entries: dict[str, FileEntry] = field(default_factory=dict)
    """The files that the manifest will name."""

    def __post_init__(self) -> None:
        for folder in (SEGMENTS, SNAPSHOTS):
            (self.root / folder).mkdir(exist_ok=True)

    def keep(self, entry: SegmentEntry, live: Live) -> SegmentEntry:
        """Keep a segment of the base under a new mask; its tombstones get a new file if rows were removed."""
        for name in SEGMENT_FILES:
            path = f"{SEGMENTS}/{entry.name}/{name}"
            if path not in self.entries:
                self.entries[path] = self.known[path]
        removed = len(live) - int(live.sum())
        if removed == entry.removed:
            if entry.tombstones:
                self.entries[entry.tombstones] = self.known[entry.tombstones]
            return entry
        bits = np.packbits(~live, bitorder="little").tobytes()
        # Named by content, so that a name that a reader may hold never gets other bytes.
        name = f"{SNAPSHOTS}/{entry.name}.{blake3(bits).hexdigest()[:16]}{_TOMBSTONES_SUFFIX}"
        self._write(name, bits)
        return replace(entry, removed=removed, tombstones=name)

    def add(self, rows: _Rows) -> SegmentEntry:
        """Publish a new segment."""

        def write(folder: Path) -> VectorsEntry:
            contents = (rows.table, rows.vectors, rows.postings)
            return write_segment(folder, *contents, self.vector_settings, self.progress)

        name, vectors = self._publish(write, {})
        return SegmentEntry(name, rows=len(rows.table), removed=0, tombstones=None, vectors=vectors)

    def with_terms(self, entry: SegmentEntry, segment: Segment, analysis: Analysis) -> SegmentEntry:
        """Publish a segment again with other postings; its vectors and rows are the same files under a new name."""
        known = {name: self.known[f"{SEGMENTS}/{entry.name}/{name}"] for name in (VECTORS_FILE, ROWS_FILE)}

        def write(folder: Path) -> None:
            for name in known:
                _link(self.root / SEGMENTS / entry.name / name, folder / name)
            segment.postings_in(analysis.language).write(folder / POSTINGS_FILE)

        name, _ = self._publish(write, known)
        return replace(entry, name=name)

    def _publish(self, write: Callable[[Path], _Written], known: Mapping[str, FileEntry]) -> tuple[str, _Written]:
        """Publish the files of a segment under a name that was never used; returns it and what `write` returned.

        `known` holds what is known already of the files that `write` writes.
        """
        parent = self.root / SEGMENTS
        numbers = [int(number) for path in parent.iterdir() if (number := path.name.partition("-")[0]).isdecimal()]
        name = f"{max(numbers, default=0) + 1:08d}-{secrets.token_hex(4)}"
        temporary = Path(tempfile.mkdtemp(dir=parent, suffix=TEMPORARY_SUFFIX))
        try:
            written = write(temporary)
            hashed = {file: known.get(file) or hash_file(temporary / file) for file in SEGMENT_FILES}
            temporary.chmod(0o755)
            publish_folder(temporary, parent / name)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self.entries.update({f"{SEGMENTS}/{name}/{file}": entry for file, entry in hashed.items()})
        return name, written

    def write_documents(self, target: str, table: pa.Table) -> str:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue().to_pybytes()
        name = f"{SNAPSHOTS}/{target}.{blake3(data).hexdigest()[:8]}{_DOCUMENTS_SUFFIX}"
        self._write(name, data)
        return name

    def _write(self, name: str, data: bytes) -> None:
        write_file(self.root / name, data)
        self.entries[name] = hash_bytes(data)


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _merged(parts: Sequence[tuple[Segment, Live]], addition: _Rows | None, analysis: Analysis) -> _Rows:
    """The live rows of some segments and the added ones in one.

    Vectors are copied, not computed; so are postings, unless `analysis` gives others.
    """
    import pyarrow.compute as pc

    kept = [np.flatnonzero(live) for _, live in parts]
    tables = [segment.table.take(pa.array(rows)) for (segment, _), rows in zip(parts, kept, strict=True)]
    table = pa.concat_tables([*tables, *([addition.table] if addition else [])])
    keys = [(key, "ascending") for key in ("document_id", "start", "end")]
    order = pc.sort_indices(table, sort_keys=keys).to_numpy()
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    vectors = np.empty((len(order), parts[0][0].vectors.dimension), dtype=np.float32)
    postings: list[tuple[Postings, npt.NDArray[np.int64]]] = []
    first = 0
    for (segment, live), rows in zip(parts, kept, strict=True):
        places = place[first : first + len(rows)]
        vectors[places] = segment.vectors.read(rows)
        target = np.full(len(live), -1, dtype=np.int64)
        target[rows] = places
        postings.append((segment.postings_in(analysis.language), target))
        first += len(rows)
    if addition:
        vectors[place[first:]] = addition.vectors
        postings.append((addition.postings, place[first:]))
    return _Rows(table.take(pa.array(order)), vectors, Postings.merge(postings))


def _next_sequence(root: Path) -> int:
    return max((manifest.sequence for manifest in readable_manifests(root)), default=0) + 1


def sweep(root: Path) -> None:
    """Delete what killed writers left behind; to be called under the writer's lock.

    That is what no manifest names. While a manifest is damaged, which may name anything, only unfinished files go.
    """
    named: set[str] | None
    try:
        files = {name for manifest in all_manifests(root) for name in manifest.files}
        named = files | {name.rpartition("/")[0] for name in files}
    except IndexFault:
        named = None
    for folder in ("", f"{SNAPSHOTS}/", f"{SEGMENTS}/"):
        for entry in list(os.scandir(root / folder)) if (root / folder).is_dir() else []:
            is_folder = entry.is_dir(follow_symlinks=False)
            is_ours = is_folder if folder == f"{SEGMENTS}/" else entry.name.endswith(_OURS)
            orphaned = named is not None and is_ours and folder + entry.name not in named
            if not (orphaned or entry.name.endswith(TEMPORARY_SUFFIX)):
                continue
            if is_folder:
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
