"""Keeps an index small and sound: compact, collect garbage, verify, compare two snapshots.

Nothing here encodes or reads a document. What is deleted are names: a reader that has a snapshot open keeps its files,
because everything is mapped when a snapshot is opened, and one that is opening it meanwhile opens anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from index.durable import fsync_folder, write_file
from index.encoders.cache import cache_bytes, clear
from index.encoders.encoder import Progress
from index.errors import CorruptSnapshot, IndexFault, NoSnapshot
from index.store.integrity import damaged_files
from index.store.manifest import FileEntry, Manifest
from index.store.snapshot import (
    SNAPSHOTS,
    Snapshot,
    SnapshotInfo,
    current_id,
    list_snapshots,
    manifest_path,
    set_current,
    writing,
)
from index.store.vectors import VectorSettings
from index.store.writer import compacted, sweep


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What compacting did.

    Attributes:
        snapshot_id: The live snapshot; its id stays, as its content does.
        published: Whether anything was written.
        segments: How many there were.
        removed: Rows that no longer counted, and are gone now.
    """

    snapshot_id: str
    published: bool
    segments: int
    removed: int


@dataclass(frozen=True, slots=True)
class GcReport:
    """What was deleted, or would be.

    Attributes:
        removed: Ids of snapshots, oldest first.
        damaged: Manifests that could not be read, by file name.
        kept: Snapshots that stay.
        freed: Bytes of files that no other snapshot names, and of the cache of embeddings where that was to go.
    """

    removed: tuple[str, ...]
    damaged: tuple[str, ...]
    kept: int
    freed: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What reading all files of one snapshot showed.

    Attributes:
        id: Of the snapshot.
        is_current: Whether it is the live one.
        files: How many were read.
        bytes: Their sizes together.
        damaged: Files that are missing or differ from their checksums.
        reason: Why it cannot be opened; None if it is intact.
    """

    id: str
    is_current: bool
    files: int
    bytes: int
    damaged: tuple[str, ...]
    reason: str | None

    @property
    def intact(self) -> bool:
        return self.reason is None


@dataclass(frozen=True, slots=True)
class SnapshotDiff:
    """What tells two snapshots apart; documents by id, sorted.

    Attributes:
        before, after: Their ids.
        added, changed, removed: Documents on the way from one to the other.
        unchanged: How many documents have the same content in both.
        chunks_added: Passages (with their document) that only `after` has.
        chunks_removed: That only `before` has.
        chunks_unchanged: That both have.
        same_encoder: Whether one encoder made the vectors of both.
        same_settings: Whether their documents were cut alike.
    """

    before: str
    after: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int
    chunks_added: int
    chunks_removed: int
    chunks_unchanged: int
    same_encoder: bool
    same_settings: bool


def compact(
    root: Path, kind: VectorSettings | None = None, *, wait: bool = False, building: Progress | None = None
) -> CompactReport:
    """Write the live snapshot as one segment without removed rows; searches find the same, sooner.

    Args:
        root: Of the index.
        kind: How the vectors are kept from now on.
        wait: For another writer, rather than being refused.
        building: Called with rows while a graph or lists are built over them.

    Raises:
        NoSnapshot, CorruptSnapshot: there is nothing to compact, or it is damaged; nothing is changed then.
        IndexBusy: another writer is at work.
        OSError: the disk is full or not writable; nothing is changed then.
    """
    root = Path(root)
    current_id(root)  # before the lock, which would make a folder where there is no index
    with writing(root, wait):
        sweep(root)
        # Copies of damaged rows would get checksums of their own, so everything is compared first.
        base = Snapshot.open(root, check="always")
        segments = base.manifest.segments
        manifest = compacted(base, kind, building)
        if manifest is not None:
            write_file(manifest_path(root, manifest.id), manifest.to_bytes())
            set_current(root, manifest.id)  # tells those who watch it
            sweep(root)
    removed = sum(entry.removed for entry in segments) if manifest else 0
    return CompactReport(base.id, manifest is not None, len(segments), removed)


def gc(
    root: Path,
    keep: int,
    *,
    older_than_days: float | None = None,
    cache: bool = False,
    dry_run: bool = False,
    wait: bool = False,
) -> GcReport:
    """Delete old snapshots and the files that only they name, and manifests that cannot be read.

    The live snapshot and the one before it always stay.

    Args:
        root: Of the index.
        keep: The newest so many stay, in the order in which they were written, whatever the clock said.
        older_than_days: Of the others, only those go that were written longer ago.
        cache: Delete the cache of embeddings too; what comes back later is encoded anew.
        dry_run: Delete nothing, report what would go.
        wait: For another writer, rather than being refused.

    Raises:
        IndexFault: `keep` is below 1.
        NoSnapshot, CorruptSnapshot: there is no live snapshot, or its manifest is damaged; nothing is deleted then.
        IndexBusy: another writer is at work.
    """
    root = Path(root)
    current_id(root)
    if dry_run:
        report = _doomed(root, keep, older_than_days, damaged=True)
        return replace(report, freed=report.freed + (cache_bytes(root) if cache else 0))
    with writing(root, wait):
        report = _doomed(root, keep, older_than_days, damaged=True)
        _delete(root, report)
        sweep(root)
        return replace(report, freed=report.freed + (clear(root) if cache else 0))


def prune(root: Path, keep: int) -> GcReport:
    """The same under a lock that the caller holds; manifests that cannot be read are left for `gc`."""
    report = _doomed(root, keep, None, damaged=False)
    if report.removed:
        _delete(root, report)
        sweep(root)
    return report


def _doomed(root: Path, keep: int, older_than_days: float | None, *, damaged: bool) -> GcReport:
    if keep < 1:
        raise IndexFault(f"{keep} snapshots to keep make no sense; keep at least 1.")
    live = Manifest.read(manifest_path(root, current_id(root)))
    protected = {live.id, live.parent}
    infos = list_snapshots(root)
    old = [info for info in infos[:-keep] if info.id not in protected and _is_older(info, older_than_days)]
    readable = {info.id for info in infos}
    broken = [path for path in (root / SNAPSHOTS).glob("*.json") if path.stem not in readable | protected]
    gone = {info.id for info in old}
    files: dict[bool, dict[str, FileEntry]] = {True: {}, False: {}}
    for info in infos:
        files[info.id in gone].update(Manifest.read(manifest_path(root, info.id)).files)
    return GcReport(
        removed=tuple(info.id for info in old),
        damaged=tuple(sorted(path.name for path in broken)) if damaged else (),
        kept=len(infos) - len(old),
        freed=sum(entry.bytes for name, entry in files[True].items() if name not in files[False]),
    )


def _is_older(info: SnapshotInfo, days: float | None) -> bool:
    return days is None or datetime.now(UTC) - datetime.fromisoformat(info.created) > timedelta(days=days)


def _delete(root: Path, report: GcReport) -> None:
    """Delete manifests, and have that on disk before any file that they name goes."""
    for name in (*report.damaged, *(f"{removed}.json" for removed in report.removed)):
        (root / SNAPSHOTS / name).unlink(missing_ok=True)
    if report.removed or report.damaged:
        fsync_folder(root / SNAPSHOTS)


def verify(root: Path, id: str | None = None) -> Verification:  # noqa: A002
    """Read every file of a snapshot, the live one unless another is named.

    Raises:
        NoSnapshot: there is none, or not this one.
    """
    root = Path(root)
    return next(_verified(root, [id or current_id(root)]))


def verify_all(root: Path) -> list[Verification]:
    """Read every file of all snapshots, those that they share once; the oldest first, unreadable manifests last.

    Raises:
        NoSnapshot: nothing has been built in this folder.
    """
    root = Path(root)
    readable = [info.id for info in list_snapshots(root)]
    others = sorted(path.stem for path in (root / SNAPSHOTS).glob("*.json") if path.stem not in readable)
    return list(_verified(root, [*readable, *others]))


def _verified(root: Path, ids: Sequence[str]) -> Iterator[Verification]:
    live = current_id(root)
    known: dict[tuple[str, FileEntry], bool] = {}
    for id in ids:  # noqa: A001
        try:
            manifest = Manifest.read(manifest_path(root, id))
        except CorruptSnapshot as error:
            yield Verification(id, id == live, 0, 0, (f"{SNAPSHOTS}/{id}.json",), str(error))
            continue
        new = {name: entry for name, entry in manifest.files.items() if (name, entry) not in known}
        differing = set(damaged_files(root, new))
        known |= {(name, entry): name not in differing for name, entry in new.items()}
        damaged = tuple(name for name, entry in manifest.files.items() if not known[name, entry])
        reason = f"{', '.join(damaged)} differ from their checksums" if damaged else _unopenable(root, id)
        size = sum(entry.bytes for entry in manifest.files.values())
        yield Verification(id, id == live, len(manifest.files), size, damaged, reason)


def _unopenable(root: Path, id: str) -> str | None:  # noqa: A002
    try:
        Snapshot.open(root, id)
    except (CorruptSnapshot, NoSnapshot) as error:
        return str(error)
    return None


def diff(root: Path, before: str, after: str) -> SnapshotDiff:
    """Compare two snapshots of one index.

    Raises:
        NoSnapshot: one of them is not there.
        CorruptSnapshot: one of them is damaged.
    """
    old, new = Snapshot.open(Path(root), before), Snapshot.open(Path(root), after)
    hashes_before = {entry.id: entry.hash for entry in old.documents()}
    hashes_after = {entry.id: entry.hash for entry in new.documents()}
    both = hashes_before.keys() & hashes_after.keys()
    changed = {name for name in both if hashes_before[name] != hashes_after[name]}
    chunks_before, chunks_after = _passages(old), _passages(new)
    shared = (chunks_before & chunks_after).total()
    return SnapshotDiff(
        before=old.id,
        after=new.id,
        added=tuple(sorted(hashes_after.keys() - both)),
        changed=tuple(sorted(changed)),
        removed=tuple(sorted(hashes_before.keys() - both)),
        unchanged=len(both) - len(changed),
        chunks_added=chunks_after.total() - shared,
        chunks_removed=chunks_before.total() - shared,
        chunks_unchanged=shared,
        same_encoder=old.encoder_fingerprint == new.encoder_fingerprint,
        same_settings=old.settings == new.settings,
    )


def _passages(snapshot: Snapshot) -> Counter[tuple[str, bytes]]:
    """How often each passage stands in each document."""
    found: Counter[tuple[str, bytes]] = Counter()
    for segment in snapshot.segments:
        rows = segment.table.select(["document_id", "hash"]).take(np.flatnonzero(segment.live))
        found.update(zip(rows["document_id"].to_pylist(), rows["hash"].to_pylist(), strict=True))
    return found
