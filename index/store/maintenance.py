"""Operations on an index: roll back, publish, compact, delete old snapshots, verify, compare two snapshots.

Nothing here encodes or reads a document. Deleting only removes names: a reader keeps the files of the snapshot that it
has open, because they are mapped when it is opened, and a reader that is opening one meanwhile tries again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from index.durable import fsync_folder
from index.encoders.cache import cache_bytes, clear
from index.encoders.encoder import Progress
from index.errors import CorruptSnapshot, IndexFault, NoSnapshot
from index.store.folder import (
    CURRENT,
    SNAPSHOTS,
    current_id,
    make_live,
    manifest_paths,
    read_manifest,
    readable_manifests,
    set_current,
    writing,
)
from index.store.integrity import damaged_files
from index.store.kinds import VectorSettings
from index.store.manifest import FileEntry, Manifest
from index.store.snapshot import Snapshot, in_order_of_writing, list_snapshots
from index.store.writer import compacted, sweep


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What compacting did: the number of segments before, and of removed rows that were dropped.

    The id of the live snapshot stays, because the content stays.
    """

    snapshot_id: str
    published: bool
    segments: int
    removed: int


@dataclass(frozen=True, slots=True)
class GcReport:
    """What was deleted, or would be.

    Attributes:
        removed: ids of the snapshots, oldest first.
        damaged: file names of manifests that could not be read.
        freed: bytes of files that no other snapshot names and, if it was to be deleted, of the cache of embeddings.
    """

    removed: tuple[str, ...]
    damaged: tuple[str, ...]
    kept: int
    freed: int


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of reading all files of a snapshot.

    Attributes:
        files: number of files read.
        bytes: their total size.
        damaged: files that are missing or differ from their checksums.
        reason: why the snapshot cannot be opened; None if it is intact.
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
    """The differences between the snapshots with the ids `before` and `after`.

    Documents are ids, sorted; `unchanged` is their number. A passage counts once for each document that holds it.
    `same_settings` tells whether the documents of both were cut with the same settings.
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


def rollback(root: Path, id: str | None = None) -> str:  # noqa: A002
    """Make an earlier snapshot the live one, by default the one before the live one, and return its id.

    Raises:
        NoSnapshot: there is nothing to go back to, or no snapshot of this id.
        CorruptSnapshot: the snapshot is damaged; the live one stays.
        IndexBusy: another writer is at work.
    """
    root = Path(root)
    live = current_id(root)
    with writing(root):
        target = id or read_manifest(root, live).parent
        if target is None:
            others = (info for info in list_snapshots(root) if not info.is_current and not info.held)
            known = ", ".join(info.id for info in others) or "none"
            raise NoSnapshot(f"Snapshot {live} in {root} has none before it; name the one to go to (others: {known}).")
        if Snapshot.open(root, target, check="always").manifest.held:
            raise NoSnapshot(
                f"Snapshot {target} in {root} was held back and never live; `ragft index publish {target}` "
                "makes it the live one as it is."
            )
        set_current(root, target)
    return target


def publish(root: Path, id: str) -> None:  # noqa: A002
    """Make a snapshot the live one as it is, even if a gate held it back; the live one becomes its parent.

    Raises:
        NoSnapshot: there is no snapshot of this id.
        CorruptSnapshot: the snapshot is damaged; the live one stays.
        IndexBusy: another writer is at work.
    """
    root = Path(root)
    Snapshot.open(root, id)  # before the lock, which would make a folder where there is no index
    with writing(root):
        manifest = Snapshot.open(root, id, check="always").manifest
        live = current_id(root) if (root / CURRENT).exists() else None
        if id != live:
            make_live(root, replace(manifest, held=(), parent=live))


def compact(
    root: Path, vector_settings: VectorSettings | None = None, *, wait: bool = False, building: Progress | None = None
) -> CompactReport:
    """Rewrite the live snapshot as one segment without removed rows; searches find the same, sooner.

    Args:
        vector_settings: how the vectors are stored from now on; None: the defaults.
        wait: wait for another writer instead of failing.
        building: called with the rows done while a graph or lists are built.

    Raises:
        NoSnapshot: there is no live snapshot.
        CorruptSnapshot: the live snapshot is damaged; nothing is changed then.
        IndexBusy: another writer is at work.
        OSError: the disk is full or not writable; nothing is changed then.
    """
    root = Path(root)
    current_id(root)  # before the lock, which would make a folder where there is no index
    with writing(root, wait):
        sweep(root)
        # Copies of damaged rows would get valid checksums, so all files are checked first.
        base = Snapshot.open(root, check="always")
        segments = base.manifest.segments
        manifest = compacted(base, vector_settings, building)
        if manifest is not None:
            make_live(root, manifest)  # also rewrites CURRENT, which tells those who watch it
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
        keep: number of the newest snapshots that stay, in the order of writing, not of the clock.
        older_than_days: delete only snapshots that were written longer ago than this; None: of any age.
        cache: delete the cache of embeddings too; passages that come back later are encoded again.
        dry_run: delete nothing, and report what would be deleted.
        wait: wait for another writer instead of failing.

    Raises:
        IndexFault: `keep` is below 1.
        NoSnapshot: there is no live snapshot.
        CorruptSnapshot: the manifest of the live snapshot is damaged; nothing is deleted then.
        IndexBusy: another writer is at work.
    """
    root = Path(root)
    current_id(root)
    if dry_run:
        report = _to_delete(root, keep, older_than_days, damaged=True)
        return replace(report, freed=report.freed + (cache_bytes(root) if cache else 0))
    with writing(root, wait):
        report = _to_delete(root, keep, older_than_days, damaged=True)
        _delete(root, report)
        return replace(report, freed=report.freed + (clear(root) if cache else 0))


def prune(root: Path, keep: int) -> tuple[str, ...]:
    """Like `gc`, under a lock that the caller holds; leaves manifests that cannot be read, and returns removed ids."""
    report = _to_delete(root, keep, None, damaged=False)
    if report.removed:
        _delete(root, report)
    return report.removed


def _to_delete(root: Path, keep: int, older_than_days: float | None, *, damaged: bool) -> GcReport:
    if keep < 1:
        raise IndexFault(f"{keep} snapshots to keep are too few; keep at least 1.")
    live = read_manifest(root, current_id(root))
    protected = {live.id, live.parent}
    manifests = in_order_of_writing(readable_manifests(root))
    old = [item.id for item in manifests[:-keep] if item.id not in protected and _is_older(item, older_than_days)]
    files: dict[bool, dict[str, FileEntry]] = {True: {}, False: {}}
    for manifest in manifests:
        files[manifest.id in old].update(manifest.files)
    readable = {manifest.id for manifest in manifests} | protected
    return GcReport(
        removed=tuple(old),
        damaged=tuple(path.name for path in manifest_paths(root) if path.stem not in readable) if damaged else (),
        kept=len(manifests) - len(old),
        freed=sum(entry.bytes for name, entry in files[True].items() if name not in files[False]),
    )


def _is_older(manifest: Manifest, days: float | None) -> bool:
    return days is None or datetime.now(UTC) - datetime.fromisoformat(manifest.created) > timedelta(days=days)


def _delete(root: Path, report: GcReport) -> None:
    for name in (*report.damaged, *(f"{removed}.json" for removed in report.removed)):
        (root / SNAPSHOTS / name).unlink(missing_ok=True)
    fsync_folder(root / SNAPSHOTS)  # before any file that the manifests name is deleted
    sweep(root)


def verify(root: Path, id: str | None = None) -> Verification:  # noqa: A002
    """Read every file of a snapshot, by default the live one, and compare it with its checksum.

    Raises:
        NoSnapshot: there is no live snapshot, or none of this id.
    """
    root = Path(root)
    return next(_verified(root, [id or current_id(root)]))


def verify_all(root: Path) -> list[Verification]:
    """Verify all snapshots, reading shared files once: the oldest first, those with unreadable manifests last.

    Raises:
        NoSnapshot: nothing has been built in this folder.
    """
    root = Path(root)
    readable = [info.id for info in list_snapshots(root)]
    others = [path.stem for path in manifest_paths(root) if path.stem not in readable]
    return list(_verified(root, [*readable, *others]))


def _verified(root: Path, ids: Sequence[str]) -> Iterator[Verification]:
    live = current_id(root)
    known: dict[tuple[str, FileEntry], bool] = {}
    for id in ids:  # noqa: A001
        try:
            manifest = read_manifest(root, id)
        except CorruptSnapshot as error:
            yield Verification(id, id == live, 0, 0, (f"{SNAPSHOTS}/{id}.json",), str(error))
            continue
        new = {name: entry for name, entry in manifest.files.items() if (name, entry) not in known}
        differing = set(damaged_files(root, new))
        known |= {(name, entry): name not in differing for name, entry in new.items()}
        damaged = tuple(name for name, entry in manifest.files.items() if not known[name, entry])
        reason = f"{', '.join(damaged)} differ from their checksums" if damaged else None
        if not damaged:
            try:
                Snapshot.open(root, id)
            except (CorruptSnapshot, NoSnapshot) as error:
                reason = str(error)
        size = sum(entry.bytes for entry in manifest.files.values())
        yield Verification(id, id == live, len(manifest.files), size, damaged, reason)


def diff(root: Path, before: str, after: str) -> SnapshotDiff:
    """Compare two snapshots of one index.

    Raises:
        NoSnapshot: one of them does not exist.
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
    found: Counter[tuple[str, bytes]] = Counter()
    for segment in snapshot.segments:
        rows = segment.table.select(["document_id", "hash"]).take(np.flatnonzero(segment.live))
        found.update(zip(rows["document_id"].to_pylist(), rows["hash"].to_pylist(), strict=True))
    return found
