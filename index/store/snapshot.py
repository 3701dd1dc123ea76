"""Snapshots: what an index held at one moment, readable for as long as somebody holds it.

A snapshot is a manifest that names immutable segments, the rows of them that no longer count, and the
documents it was made from. `CURRENT` names the live one and is the only file that changes. Readers take no
lock.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index.documents.chunking import Chunk, ChunkSettings
from index.durable import locked, write_file
from index.errors import CorruptSnapshot, IndexBusy, IndexFault, NoSnapshot
from index.store.filters import Filter, Labels
from index.store.integrity import Check, check_files, damaged_files
from index.store.lexical import Bm25
from index.store.manifest import Manifest, SegmentEntry
from index.store.segment import Live, Segment, read_table
from index.store.view import View, Views

CURRENT = "CURRENT"
LOCK = "LOCK"
SEGMENTS = "segments"
SNAPSHOTS = "snapshots"

_DAMAGE = (OSError, RuntimeError, ValueError, KeyError)
"""What the readers of FAISS and Arrow raise on files that are missing or damaged."""

_ATTEMPTS = 100
"""To open a snapshot that writers keep replacing. Each took a whole refresh, so one more is nearly always enough."""


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """A document of a snapshot, by its content hash."""

    id: str
    title: str
    hash: str


class HasContent(Protocol):
    """A document, as far as a snapshot lists it."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def hash(self) -> str: ...


def document_table(documents: Sequence[HasContent]) -> pa.Table:
    """Documents as a snapshot lists them: columns `id`, `title` and `hash`, a row for each, in the order given."""
    columns = ("id", "title", "hash")
    return pa.table(
        {name: pa.array([getattr(document, name) for document in documents], type=pa.string()) for name in columns}
    )


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What a list of snapshots shows of one."""

    id: str
    parent: str | None
    created: str
    documents: int
    chunks: int
    encoder_source: str
    is_current: bool
    sequence: int
    held: tuple[str, ...] = ()
    """Why a gate held it back from becoming live; empty where none did."""
    segments: tuple[SegmentEntry, ...] = ()


class Snapshot:
    """A snapshot, opened; immutable, and safe to use from several threads."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        """Use `Snapshot.open`."""
        self.root = root
        self.manifest = manifest
        self.segments = [
            Segment(root / SEGMENTS / entry.name, _read_live(root, entry.tombstones, entry.rows))
            for entry in manifest.segments
        ]
        self.offsets = np.zeros(len(self.segments) + 1, dtype=np.int64)
        np.cumsum([len(segment) for segment in self.segments], out=self.offsets[1:])
        self._firsts: list[int] = self.offsets.tolist()
        self.bm25 = Bm25([(segment.postings, segment.live) for segment in self.segments])
        self._documents = read_table(root / manifest.documents_file)
        self._views = Views()

    @classmethod
    def open(cls, root: Path, id: str | None = None, check: Check = "auto") -> Snapshot:  # noqa: A002
        """Open a snapshot, the live one unless another is named.

        Everything is mapped or read here, so that a snapshot that is open stays whole when its files are deleted. One
        that is replaced or deleted while it is being opened is opened anew.

        Args:
            root: Of the index.
            id: Which.
            check: How much is compared with its checksum now; see `Check`. `verify` reads everything.

        Raises:
            NoSnapshot: there is none, or not this one.
            CorruptSnapshot: a file is missing, truncated or not what it should be.
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
        manifest = Manifest.read(manifest_path(root, id))
        try:
            check_files(root, manifest.files, check)
            return cls(root, manifest)
        except _DAMAGE as error:
            raise _damaged(root, id, str(error)) from error

    def check(self, segments: Iterable[str]) -> None:
        """Compare the contents of some segments, by name, with their checksums, whatever their size.

        Raises:
            CorruptSnapshot: one differs.
        """
        folders = tuple(f"{SEGMENTS}/{name}/" for name in segments)
        files = {name: entry for name, entry in self.manifest.files.items() if name.startswith(folders)}
        try:
            check_files(self.root, files, "always")
        except _DAMAGE as error:
            raise _damaged(self.root, self.id, str(error)) from error

    def is_current(self) -> bool:
        """Whether who opens the index now gets these very files: neither another snapshot nor this one compacted.

        Raises:
            NoSnapshot, CorruptSnapshot: there is no live snapshot any more, or its manifest is damaged.
        """
        live = current_id(self.root)
        return live == self.id and Manifest.read(manifest_path(self.root, live)).sequence == self.manifest.sequence

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def encoder_fingerprint(self) -> str:
        return self.manifest.encoder_fingerprint

    @property
    def encoder_source(self) -> str:
        return self.manifest.encoder_source

    @property
    def dimension(self) -> int:
        return self.manifest.dimension

    @property
    def settings(self) -> ChunkSettings:
        return self.manifest.settings

    @property
    def document_count(self) -> int:
        return self.manifest.documents

    @property
    def chunk_count(self) -> int:
        return self.manifest.chunks

    @property
    def document_table(self) -> pa.Table:
        """The documents as columns `id` (ascending), `title` and `hash`: for who compares all of them at once."""
        return self._documents

    def documents(self) -> list[DocumentEntry]:
        """The documents, by id."""
        return list(self._entries)

    @cached_property
    def _entries(self) -> list[DocumentEntry]:
        columns = (self._documents[key].to_pylist() for key in ("id", "title", "hash"))
        return [DocumentEntry(*row) for row in zip(*columns, strict=True)]

    def chunks(self) -> Iterator[Chunk]:
        """All chunks in the order of document id and position, whatever the history of the index."""
        for first in range(0, self.chunk_count, 1024):
            rows = self.order[first : first + 1024]
            yield from (self.chunk_at(int(row)) for row in rows)

    def chunk(self, number: int) -> Chunk:
        """The chunk at this place of `chunks()`."""
        if not 0 <= number < self.chunk_count:
            raise IndexError(f"chunk {number} of {self.chunk_count}")
        return self.chunk_at(int(self.order[number]))

    def chunk_at(self, row: int) -> Chunk:
        """The chunk at a row counted over all segments, removed ones included."""
        segment, local = self.locate(row)
        return self.segments[segment].chunk(local)

    def locate(self, row: int) -> tuple[int, int]:
        """Which segment a row counted over all segments lies in, and where."""
        segment = bisect_right(self._firsts, row) - 1
        return segment, row - self._firsts[segment]

    def place(self, row: int) -> tuple[str, int, int]:
        """What `chunks()` is ordered by, for a row counted over all segments. Breaks ties of scores."""
        segment, local = self.locate(row)
        return self.segments[segment].reader.place(local)

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """(chunks,) int64: live rows in the order of document id and position."""
        import pyarrow.compute as pc

        keys = ["document_id", "start", "end"]
        if not self.segments:
            return np.zeros(0, dtype=np.int64)
        table = pa.concat_tables([segment.table.select(keys) for segment in self.segments])
        live = np.flatnonzero(np.concatenate([segment.live for segment in self.segments]))
        order = pc.sort_indices(table.take(pa.array(live)), sort_keys=[(key, "ascending") for key in keys])
        return np.asarray(live[order.to_numpy()], dtype=np.int64)

    def view(self, labels: Labels = None, filter: Filter | None = None) -> View:  # noqa: A002
        """The rows that a caller with these labels may see and that pass a filter; repeated calls cost nothing."""
        return self._views.of(self, labels, filter)

    def verify(self) -> None:
        """Read every file and compare it with its checksum.

        Raises:
            CorruptSnapshot: naming each file that differs.
        """
        damaged = damaged_files(self.root, self.manifest.files)
        if damaged:
            raise _damaged(self.root, self.id, f"{', '.join(damaged)} differ from their checksums")


def _damaged(root: Path, id: str, what: str) -> CorruptSnapshot:  # noqa: A002
    return CorruptSnapshot(
        f"Snapshot {id} in {root} is damaged ({what}); go back to another one with `ragft index rollback`, or build "
        "it anew with `ragft index build --rebuild`."
    )


def _read_live(root: Path, tombstones: str | None, rows: int) -> Live:
    """The mask of live rows, from a bitmap of removed ones."""
    if tombstones is None:
        return np.ones(rows, dtype=np.bool_)
    bits = np.frombuffer((root / tombstones).read_bytes(), dtype=np.uint8)
    live: Live = np.unpackbits(bits, count=rows, bitorder="little") == 0
    return live


def manifest_path(root: Path, snapshot: str) -> Path:
    """Where the manifest of a snapshot lies; what is not a snapshot id never becomes a path."""
    if not re.fullmatch(r"[0-9a-f]{16}", snapshot):
        raise NoSnapshot(f"{snapshot!r} is not a snapshot id (16 hexadecimal digits); see `ragft index list`.")
    return root / SNAPSHOTS / f"{snapshot}.json"


def current_id(root: Path) -> str:
    """The id of the live snapshot.

    Raises:
        NoSnapshot: nothing has been built in this folder.
    """
    try:
        return (Path(root) / CURRENT).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        raise NoSnapshot(f"There is no index in {root}; build it with `ragft index build`.") from None


def _state(root: Path, id: str | None) -> tuple[object, ...]:  # noqa: A002
    """Changes whenever a writer replaced or deleted what a reader would open."""
    try:
        name = id or current_id(root)
        stat = manifest_path(root, name).stat()
    except (NoSnapshot, OSError) as error:
        return (str(error),)
    return (name, stat.st_ino, stat.st_mtime_ns, stat.st_size)


def set_current(root: Path, snapshot: str) -> None:
    """Make a snapshot the live one: the single step that readers see."""
    write_file(root / CURRENT, f"{snapshot}\n".encode())


def list_snapshots(root: Path) -> list[SnapshotInfo]:
    """All snapshots that can be rolled back to, oldest first; damaged manifests are left out.

    Raises:
        NoSnapshot: nothing has been built in this folder.
    """
    paths = sorted((Path(root) / SNAPSHOTS).glob("*.json"))
    # A first snapshot that was held back leaves an index where none is live.
    live = current_id(root) if not paths or (Path(root) / CURRENT).exists() else None
    found = []
    for path in paths:
        try:
            manifest = Manifest.read(path)
        except IndexFault:
            continue
        found.append(
            SnapshotInfo(
                id=manifest.id,
                parent=manifest.parent,
                created=manifest.created,
                documents=manifest.documents,
                chunks=manifest.chunks,
                encoder_source=manifest.encoder_source,
                is_current=manifest.id == live,
                sequence=manifest.sequence,
                held=manifest.held,
                segments=manifest.segments,
            )
        )
    return sorted(found, key=lambda info: (info.sequence, info.created, info.id))


def rollback(root: Path, id: str | None = None) -> str:  # noqa: A002
    """Make an earlier snapshot the live one, and return its id.

    Args:
        root: Of the index.
        id: Which; the one before the live one unless named.

    Raises:
        NoSnapshot: there is nothing to go back to, or not this one.
        CorruptSnapshot: the target is damaged; the live one stays.
        IndexBusy: a refresh is running.
    """
    root = Path(root)
    live = current_id(root)
    with writing(root):
        target = id or Manifest.read(manifest_path(root, live)).parent
        if target is None:
            others = (info for info in list_snapshots(root) if not info.is_current and not info.held)
            known = ", ".join(info.id for info in others) or "none"
            raise NoSnapshot(
                f"Snapshot {live} in {root} has nothing before it; name the one to go to (others: {known})."
            )
        if Snapshot.open(root, target, check="always").manifest.held:
            raise NoSnapshot(
                f"Snapshot {target} in {root} was held back and never live; `ragft index publish {target}` "
                "makes it the live one as it is."
            )
        set_current(root, target)
    return target


def publish(root: Path, id: str) -> None:  # noqa: A002
    """Make a snapshot the live one as it is, also one that a gate held back; what was live becomes its parent.

    Raises:
        NoSnapshot: there is none of this id.
        CorruptSnapshot: it is damaged; the live one stays.
        IndexBusy: a refresh is running.
    """
    root = Path(root)
    Snapshot.open(root, id)  # before the lock, which would make a folder where there is no index
    with writing(root):
        manifest = Snapshot.open(root, id, check="always").manifest
        live = current_id(root) if (root / CURRENT).exists() else None
        if id != live:
            write_file(manifest_path(root, id), replace(manifest, held=(), parent=live).to_bytes())
            set_current(root, id)


@contextmanager
def writing(root: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of the one writer; it falls with the process, so nothing is ever left locked.

    Args:
        root: Of the index.
        wait: Until another writer is done.

    Raises:
        IndexBusy: another writer holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(root / LOCK, wait=wait))
        except BlockingIOError:
            raise IndexBusy(
                f"Another process is writing the index in {root}; try again when it is done, or wait for it "
                "with `--wait`."
            ) from None
        yield
