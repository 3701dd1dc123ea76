"""Writes snapshots: the new segment, the tombstones, the manifest, and last of all `CURRENT`.

Everything is written under new names and is on disk before `CURRENT` names it. What a killed writer left
behind is named by no manifest, and the next writer sweeps it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from blake3 import blake3

from index.documents.chunking import Chunk, ChunkSettings
from index.durable import TEMPORARY_SUFFIX, publish_folder, write_file
from index.encoders.encoder import Progress, TextEncoder, Vectors
from index.errors import IndexFault
from index.store.lexical import Postings
from index.store.manifest import FileEntry, Manifest, SegmentEntry, hash_bytes, hash_file
from index.store.merging import segments_to_merge
from index.store.segment import SEGMENT_FILES, Live, Segment, rows_of_chunks, write_segment
from index.store.snapshot import SEGMENTS, SNAPSHOTS, Snapshot, manifest_path, set_current
from index.store.vectors import VectorSettings

_DOCUMENTS_SUFFIX = ".documents.arrow"
_TOMBSTONES_SUFFIX = ".tombstones"
_OURS = (_DOCUMENTS_SUFFIX, _TOMBSTONES_SUFFIX)


@dataclass(frozen=True)
class Addition:
    """Rows to add: chunks in the order of document and position, with (chunks, dimension) float32 vectors."""

    chunks: list[Chunk]
    vectors: Vectors


@dataclass(frozen=True)
class _Rows:
    """The rows of a segment, in memory, in the order of document and position."""

    table: pa.Table
    vectors: Vectors
    postings: Postings

    @classmethod
    def of(cls, addition: Addition) -> _Rows:
        passages = [chunk.passage for chunk in addition.chunks]
        return cls(rows_of_chunks(addition.chunks), addition.vectors, Postings.build(passages))


class SnapshotWriter:
    """Writes one snapshot; used under the writer's lock."""

    def __init__(
        self,
        root: Path,
        target: str,
        parent: str | None,
        encoder: TextEncoder,
        settings: ChunkSettings,
        kind: VectorSettings | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Prepare to write.

        Args:
            root: Of the index.
            target: Id of the snapshot to write.
            parent: Of the one to go back to.
            encoder: Of the vectors.
            settings: How the documents are cut.
            kind: How the vectors of new segments are kept.
            progress: Called with rows while a graph or lists are built over them.
        """
        self.root = root
        self.target = target
        self.parent = parent
        self.encoder = encoder
        self.settings = settings
        self.kind = kind
        self.progress = progress

    def write(
        self,
        base: Snapshot | None,
        gone: set[str],
        addition: Addition,
        documents: pa.Table,
    ) -> Manifest:
        """Write everything but the manifest.

        Args:
            base: The snapshot that this one continues, None to start from nothing.
            gone: Documents whose rows in `base` no longer count.
            addition: New rows.
            documents: All documents of the new snapshot, as `Snapshot.document_table` gives them.
        """
        files = _Files(self.root, base.manifest.files if base else {}, self.kind, self.progress)
        old = base.segments if base else []
        lives = [segment.live & ~segment.rows_of(gone) for segment in old]
        live_rows = [int(live.sum()) for live in lives]
        merged = segments_to_merge(live_rows, [len(live) for live in lives], len(addition.chunks))
        entries = [
            files.keep(entry, live)
            for number, (entry, live) in enumerate(zip(base.manifest.segments if base else (), lives, strict=True))
            if live_rows[number] and number not in merged
        ]
        new = _Rows.of(addition) if addition.chunks else None
        if merged and base:
            # Copies of damaged rows would get checksums of their own, so what is copied is compared first.
            base.check(base.segments[number].name for number in merged)
            new = _merged([(old[number], lives[number]) for number in sorted(merged)], new)
        if new is not None:
            entries.append(files.add(new))
        return Manifest(
            id=self.target,
            parent=self.parent,
            created=_now(),
            encoder_fingerprint=self.encoder.fingerprint,
            encoder_source=self.encoder.source,
            dimension=self.encoder.dimension,
            settings=self.settings,
            documents=len(documents),
            chunks=sum(entry.rows - entry.removed for entry in entries),
            documents_file=files.write_documents(self.target, documents),
            segments=tuple(entries),
            files=files.entries,
            sequence=next_sequence(self.root),
        )

    def publish(self, manifest: Manifest) -> None:
        """Write the manifest and make it the live one."""
        write_file(manifest_path(self.root, manifest.id), manifest.to_bytes())
        set_current(self.root, manifest.id)

    def hold(self, manifest: Manifest, reasons: tuple[str, ...]) -> None:
        """Write the manifest, and leave the live one live."""
        write_file(manifest_path(self.root, manifest.id), replace(manifest, held=reasons).to_bytes())

    def again(self, known: Snapshot) -> Manifest:
        """The manifest of a snapshot whose content came back; what is live now becomes its parent."""
        return replace(known.manifest, parent=self.parent, created=_now(), held=(), sequence=next_sequence(self.root))


def compacted(base: Snapshot, kind: VectorSettings | None = None, progress: Progress | None = None) -> Manifest | None:
    """Write a snapshot anew as one segment without removed rows; None where it is one.

    The manifest that is returned is not written yet: it replaces the one of `base`, which has the same id.
    """
    entries = base.manifest.segments
    wanted = (kind or VectorSettings()).kind_for(base.manifest.chunks)
    if len(entries) < 2 and not any(entry.removed or entry.vectors.kind != wanted for entry in entries):
        return None
    files = _Files(base.root, base.manifest.files, kind, progress)
    parts = [(segment, segment.live) for segment in base.segments if segment.live.any()]
    rows = _merged(parts, None) if parts else None
    files.entries[base.manifest.documents_file] = base.manifest.files[base.manifest.documents_file]
    return replace(
        base.manifest,
        segments=(files.add(rows),) if rows is not None else (),
        files=files.entries,
        created=_now(),
        sequence=next_sequence(base.root),
    )


class _Files:
    """The files of a snapshot that is being written: those that it shares with its base, and new ones.

    Attributes:
        entries: What the manifest will name.
    """

    def __init__(
        self,
        root: Path,
        known: Mapping[str, FileEntry],
        kind: VectorSettings | None,
        progress: Progress | None,
    ) -> None:
        self.root = root
        self.kind = kind
        self.progress = progress
        self.entries: dict[str, FileEntry] = {}
        self._known = known
        for folder in (SEGMENTS, SNAPSHOTS):
            (root / folder).mkdir(exist_ok=True)

    def keep(self, entry: SegmentEntry, live: Live) -> SegmentEntry:
        """A segment of the base under the new mask; its tombstones are a new file if any row was removed."""
        for name in SEGMENT_FILES:
            path = f"{SEGMENTS}/{entry.name}/{name}"
            self.entries[path] = self._known[path]
        removed = len(live) - int(live.sum())
        if removed == entry.removed:
            if entry.tombstones:
                self.entries[entry.tombstones] = self._known[entry.tombstones]
            return entry
        bits = np.packbits(~live, bitorder="little").tobytes()
        # Named by content: a name that a reader may hold never gets other bytes.
        name = f"{SNAPSHOTS}/{entry.name}.{blake3(bits).hexdigest()[:16]}{_TOMBSTONES_SUFFIX}"
        self._write(name, bits)
        return replace(entry, removed=removed, tombstones=name)

    def add(self, rows: _Rows) -> SegmentEntry:
        """Publish a new segment, under a name that none ever had."""
        parent = self.root / SEGMENTS
        numbers = [int(number) for path in parent.iterdir() if (number := path.name.partition("-")[0]).isdecimal()]
        name = f"{max(numbers, default=0) + 1:08d}-{secrets.token_hex(4)}"
        temporary = Path(tempfile.mkdtemp(dir=parent, suffix=TEMPORARY_SUFFIX))
        try:
            vectors = write_segment(temporary, rows.table, rows.vectors, rows.postings, self.kind, self.progress)
            entries = {file: hash_file(temporary / file) for file in SEGMENT_FILES}
            temporary.chmod(0o755)
            publish_folder(temporary, parent / name)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self.entries |= {f"{SEGMENTS}/{name}/{file}": entry for file, entry in entries.items()}
        return SegmentEntry(name, rows=len(rows.table), removed=0, tombstones=None, vectors=vectors)

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


def _merged(parts: Sequence[tuple[Segment, Live]], addition: _Rows | None) -> _Rows:
    """The live rows of some segments, and new ones, as one; vectors and postings are copied, not computed."""
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
        postings.append((segment.postings, target))
        first += len(rows)
    if addition:
        vectors[place[first:]] = addition.vectors
        postings.append((addition.postings, place[first:]))
    return _Rows(table.take(pa.array(order)), vectors, Postings.merge(postings))


def manifests(root: Path) -> Iterator[Manifest]:
    """The manifests of all snapshots that can be read, in no order."""
    for path in (root / SNAPSHOTS).glob("*.json"):
        try:
            yield Manifest.read(path)
        except IndexFault:
            continue


def next_sequence(root: Path) -> int:
    """What the next manifest is numbered; asked under the writer's lock."""
    return max((manifest.sequence for manifest in manifests(root)), default=0) + 1


def sweep(root: Path) -> None:
    """Delete what killed writers left: whatever no manifest names. Called under the writer's lock.

    A damaged manifest may name anything, so as long as there is one, only unfinished files go.
    """
    try:
        named = {name for path in (root / SNAPSHOTS).glob("*.json") for name in Manifest.read(path).files}
    except IndexFault:
        named = None
    for folder in ("", f"{SNAPSHOTS}/", f"{SEGMENTS}/"):
        if not (root / folder).is_dir():
            continue
        with os.scandir(root / folder) as entries:
            found = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        for name, is_folder in found.items():
            unfinished = name.endswith(TEMPORARY_SUFFIX)
            if is_folder and folder == f"{SEGMENTS}/":
                if unfinished or (named is not None and f"{folder}{name}/{SEGMENT_FILES[0]}" not in named):
                    shutil.rmtree(root / folder / name, ignore_errors=True)
            elif unfinished or (named is not None and name.endswith(_OURS) and folder + name not in named):
                (root / folder / name).unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
