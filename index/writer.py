"""Writes snapshots: the new segment, the tombstones, the manifest, and last of all `CURRENT`.

Everything is written under new names and is on disk before `CURRENT` names it. What a killed writer left
behind is named by no manifest, and the next writer sweeps it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from blake3 import blake3

from index.chunking import Chunk, ChunkSettings
from index.documents import Document
from index.durable import TEMPORARY_SUFFIX, publish_folder, write_file
from index.encoder import Progress, TextEncoder, Vectors
from index.errors import IndexFault
from index.lexical import Postings
from index.manifest import FileEntry, Manifest, SegmentEntry, hash_file
from index.segment import SEGMENT_FILES, Live, Segment, write_segment
from index.snapshot import SEGMENTS, SNAPSHOTS, Snapshot, manifest_path, set_current
from index.vectors import VectorSettings

MAX_SEGMENTS = 8
"""More are merged into one: every search visits all of them."""

MAX_REMOVED = 0.5
"""Share of removed rows above which the segments are merged without them."""

_DOCUMENTS_SUFFIX = ".documents.arrow"
_TOMBSTONES_SUFFIX = ".tombstones"


@dataclass(frozen=True)
class Addition:
    """Rows to add: chunks in the order of document and position, with (chunks, dimension) float32 vectors."""

    chunks: list[Chunk]
    vectors: Vectors


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
        self._known: Mapping[str, FileEntry] = {}
        self._files: dict[str, FileEntry] = {}

    def write(
        self, base: Snapshot | None, gone: set[str], addition: Addition, documents: Sequence[Document]
    ) -> Manifest:
        """Write everything but the manifest.

        Args:
            base: The snapshot that this one continues, None to start from nothing.
            gone: Documents whose rows in `base` no longer count.
            addition: New rows.
            documents: All documents of the new snapshot.
        """
        (self.root / SEGMENTS).mkdir(exist_ok=True)
        (self.root / SNAPSHOTS).mkdir(exist_ok=True)
        old = base.segments if base else []
        self._known = base.manifest.files if base else {}
        lives = [segment.live & ~segment.rows_of(gone) for segment in old]
        if _must_merge(lives, len(addition.chunks)):
            entries = [self._merge(old, lives, addition)]
        else:
            kept = zip(base.manifest.segments if base else (), lives, strict=True)
            entries = [self._keep(entry, live) for entry, live in kept if live.any()]
            if addition.chunks:
                passages = [chunk.passage for chunk in addition.chunks]
                entries.append(self._add(addition, Postings.build(passages)))
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
            documents_file=self._write_documents(documents),
            segments=tuple(entries),
            files=self._files,
        )

    def publish(self, manifest: Manifest) -> None:
        """Write the manifest and make it the live one."""
        write_file(manifest_path(self.root, manifest.id), manifest.to_bytes())
        set_current(self.root, manifest.id)

    def republish(self, known: Snapshot) -> None:
        """Make a snapshot live again whose content came back; what was live before it becomes its parent."""
        self.publish(replace(known.manifest, parent=self.parent, created=_now()))

    def _keep(self, entry: SegmentEntry, live: Live) -> SegmentEntry:
        """A segment of the base under the new mask; its tombstones are a new file if any row was removed."""
        for name in SEGMENT_FILES:
            path = f"{SEGMENTS}/{entry.name}/{name}"
            self._files[path] = self._known[path]
        removed = len(live) - int(live.sum())
        if removed == entry.removed:
            if entry.tombstones:
                self._files[entry.tombstones] = self._known[entry.tombstones]
            return entry
        bits = np.packbits(~live, bitorder="little").tobytes()
        # Named by content: a name that a reader may hold never gets other bytes.
        name = f"{SNAPSHOTS}/{entry.name}.{blake3(bits).hexdigest()[:16]}{_TOMBSTONES_SUFFIX}"
        self._write(name, bits)
        return replace(entry, removed=removed, tombstones=name)

    def _merge(self, old: Sequence[Segment], lives: Sequence[Live], addition: Addition) -> SegmentEntry:
        """All live rows and the new ones in one segment; vectors and postings are copied, not computed."""
        rows = [np.flatnonzero(live) for live in lives]
        chunks = [chunk for segment, kept in zip(old, rows, strict=True) for chunk in segment.chunks(kept)]
        chunks += addition.chunks
        vectors = [segment.vectors.read(kept) for segment, kept in zip(old, rows, strict=True)]
        order = sorted(
            range(len(chunks)),
            key=lambda row: (chunks[row].document_id, chunks[row].start, chunks[row].end),
        )
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        parts: list[tuple[Postings, npt.NDArray[np.int64]]] = []
        first = 0
        for segment, kept in zip(old, rows, strict=True):
            target = np.full(len(segment), -1, dtype=np.int64)
            target[kept] = place[first : first + len(kept)]
            parts.append((segment.postings, target))
            first += len(kept)
        parts.append((Postings.build([chunk.passage for chunk in addition.chunks]), place[first:]))
        merged = Addition([chunks[row] for row in order], np.concatenate([*vectors, addition.vectors])[order])
        return self._add(merged, Postings.merge(parts))

    def _add(self, addition: Addition, postings: Postings) -> SegmentEntry:
        """Publish a new segment under the next free number."""
        parent = self.root / SEGMENTS
        numbers = [int(path.name) for path in parent.iterdir() if path.name.isdecimal()]
        name = f"{max(numbers, default=0) + 1:08d}"
        temporary = Path(tempfile.mkdtemp(dir=parent, suffix=TEMPORARY_SUFFIX))
        try:
            vectors = write_segment(temporary, addition.chunks, addition.vectors, postings, self.kind, self.progress)
            entries = {file: hash_file(temporary / file) for file in SEGMENT_FILES}
            temporary.chmod(0o755)
            publish_folder(temporary, parent / name)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._files |= {f"{SEGMENTS}/{name}/{file}": entry for file, entry in entries.items()}
        return SegmentEntry(name, rows=len(addition.chunks), removed=0, tombstones=None, vectors=vectors)

    def _write_documents(self, documents: Sequence[Document]) -> str:
        table = pa.table(
            {
                key: pa.array([getattr(document, key) for document in documents], type=pa.string())
                for key in ("id", "title", "hash")
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        name = f"{SNAPSHOTS}/{self.target}{_DOCUMENTS_SUFFIX}"
        self._write(name, sink.getvalue().to_pybytes())
        return name

    def _write(self, name: str, data: bytes) -> None:
        write_file(self.root / name, data)
        self._files[name] = FileEntry(len(data), blake3(data).hexdigest())


def _must_merge(lives: Sequence[Live], added: int) -> bool:
    """Whether so many segments or removed rows have gathered that searches pay for them."""
    if not lives:
        return False
    segments = sum(bool(live.any()) for live in lives) + bool(added)
    rows = sum(len(live) for live in lives if live.any()) + added
    removed = sum(len(live) - int(live.sum()) for live in lives if live.any())
    return segments > MAX_SEGMENTS or removed > MAX_REMOVED * rows


def sweep(root: Path) -> None:
    """Delete what killed writers left: whatever no manifest names. Called under the writer's lock.

    A damaged manifest may name anything, so as long as there is one, only unfinished files go.
    """
    try:
        named = {name for path in (root / SNAPSHOTS).glob("*.json") for name in Manifest.read(path).files}
    except IndexFault:
        named = None
    for path in [*root.glob("*"), *(root / SNAPSHOTS).glob("*"), *(root / SEGMENTS).glob("*")]:
        name = path.relative_to(root).as_posix()
        unfinished = path.name.endswith(TEMPORARY_SUFFIX)
        if path.parent == root / SEGMENTS and path.is_dir():
            orphan = named is not None and f"{name}/{SEGMENT_FILES[0]}" not in named
            if unfinished or orphan:
                shutil.rmtree(path, ignore_errors=True)
        elif unfinished or (named is not None and _is_ours(path) and name not in named):
            path.unlink(missing_ok=True)


def _is_ours(path: Path) -> bool:
    return path.name.endswith((_DOCUMENTS_SUFFIX, _TOMBSTONES_SUFFIX))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
