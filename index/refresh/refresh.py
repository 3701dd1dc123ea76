"""Brings an index up to date with a folder, at the cost of what changed.

Contents are compared by hash. Chunks whose passage is already in the index keep their vectors, even in
another document; only new ones are encoded. Nothing that a reader may hold is changed: a refresh writes
new files and then replaces `CURRENT`, so whatever stops it before that leaves the index as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from index.documents.chunking import ChunkSettings
from index.documents.extracted import ExtractedTexts
from index.documents.folder import Document, ReadSettings, Skipped, read_documents, reading_of
from index.documents.unchanged import UnchangedFiles
from index.encoders.cache import encode_with_cache
from index.encoders.encoder import Progress, TextEncoder, Vectors
from index.errors import CorruptSnapshot, IndexFault, NoSnapshot, TooManyRemovals
from index.refresh.absent import too_many
from index.refresh.estimate import Estimate, estimate, remember_rate
from index.refresh.gate import Gate, Verdict
from index.refresh.planning import Changes, RefreshPlan, base_of, changes, snapshot_id
from index.store.maintenance import prune
from index.store.manifest import Manifest
from index.store.segment import Segment
from index.store.snapshot import Snapshot, current_id, document_table, manifest_path, writing
from index.store.vectors import VectorSettings
from index.store.writer import Addition, SnapshotWriter, sweep
from index.timings import Timings


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What a refresh did.

    Attributes:
        snapshot_id: The snapshot of these documents: live now, unless it is held back; on a dry run, the one that a
            refresh would publish.
        published: Whether `CURRENT` was replaced.
        plan: What was done, or would be.
        skipped: Files that could not be read, and of which the index has no older version.
        seconds: Wall time of each step, by its name.
        kept: Documents (by id) whose file could not be read, so that their older version stays.
        verdict: What the gate said; None where none was asked.
        estimate: On a dry run, how long encoding will take.
        refusal: On a dry run, why the refresh would be refused; None if it would not.
        pruned: Old snapshots that were deleted by the rule.
    """

    snapshot_id: str
    published: bool
    plan: RefreshPlan
    skipped: tuple[Skipped, ...]
    seconds: dict[str, float]
    kept: tuple[Skipped, ...] = ()
    verdict: Verdict | None = None
    estimate: Estimate | None = None
    refusal: str | None = None
    pruned: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether the gate held the snapshot back."""
        return self.verdict is not None and not self.verdict.passed


@dataclass(frozen=True, slots=True)
class RefreshSettings:
    """What an index is to be like, whoever refreshes it.

    Attributes:
        max_tokens: Longest passage; None: the encoder's window.
        overlap: Tokens shared by neighbouring chunks of one section.
        reading: Which files are read, how, and how far.
        vectors: How the vectors of new segments are kept.
        allow_removal: Largest share of the indexed documents that may vanish in one refresh; those that only moved do
            not count.
        keep_snapshots: The newest so many stay, with the live one and the one before it; None: all.
        cache_mib: Most MiB of vectors kept from older snapshots and interrupted builds, so that their passages are
            not encoded again (not even by a rebuild with the same encoder); 0 keeps none.
    """

    max_tokens: int | None = None
    overlap: int = 0
    reading: ReadSettings = field(default_factory=ReadSettings)
    vectors: VectorSettings = field(default_factory=VectorSettings)
    allow_removal: float = 1.0
    keep_snapshots: int | None = None
    cache_mib: int = 0

    def chunking(self, encoder: TextEncoder) -> ChunkSettings:
        """How documents are cut for this encoder.

        Raises:
            IndexFault: a passage would not fit its window, or the settings make no sense together.
        """
        window = encoder.max_tokens
        if self.max_tokens is not None and self.max_tokens > window:
            raise IndexFault(
                f"max_tokens is {self.max_tokens}, but the encoder {encoder.source} reads only {window} tokens and "
                "would silently drop the rest; lower max_tokens or choose another encoder."
            )
        try:
            return ChunkSettings(window if self.max_tokens is None else self.max_tokens, self.overlap)
        except ValueError as error:
            raise IndexFault(f"The chunking settings make no sense: {error}.") from error


def refresh(
    root: Path,
    folder: Path,
    encoder: TextEncoder,
    settings: RefreshSettings | None = None,
    *,
    dry_run: bool = False,
    rebuild: bool = False,
    check_content: bool = False,
    wait: bool = False,
    gate: Gate | None = None,
    progress: Progress | None = None,
    building: Progress | None = None,
) -> RefreshReport:
    """Publish a snapshot of a folder of documents; the first one builds the index.

    Args:
        root: Of the index.
        folder: Of the documents.
        encoder: Must be the one that built the index, unless it is rebuilt.
        settings: What the index is to be like; the defaults unless given.
        dry_run: Write nothing, report what would be done.
        rebuild: Encode everything anew, beside the live snapshot, and then publish. Older versions of documents that
            cannot be read are not in it.
        check_content: Read every file, also those whose size and times did not change.
        wait: For another writer, rather than being refused.
        gate: Asked about the new snapshot before it becomes the live one; if it says no, the snapshot is written and
            held back.
        progress: Called while passages are encoded.
        building: Called with rows while a graph or lists are built over them.

    Raises:
        NoDocuments: the folder is missing or has nothing to read.
        EncoderMismatch: another encoder built the index.
        CorruptSnapshot: the live snapshot is damaged.
        IndexBusy: another writer is at work.
        TooManyRemovals: more documents would vanish than `settings.allow_removal` lets go.
        IndexFault: the settings make no sense.
        OSError: the disk is full or not writable; the live snapshot is untouched.
    """
    root, settings = Path(root), settings or RefreshSettings()
    task = _Task(root, encoder, settings, settings.chunking(encoder), rebuild, gate, progress, building)
    clock = task.clock

    def look() -> tuple[Snapshot | None, _Found, Changes]:
        with clock.stage("open"):
            base = None if rebuild else base_of(root, encoder)
        with clock.stage("read"):
            found = task.read(Path(folder), base, check_content)
        with clock.stage("plan"):
            rows = found.unchanged.rows
            return base, found, changes(base, rows, found.documents, task.chunking, encoder, found.skipped)

    if dry_run:
        base, found, work = look()
        target = snapshot_id(encoder, task.chunking, work.documents)
        with clock.stage("estimate"):
            expected = estimate(root, encoder, list(work.new_passages().values()))
        refusal = too_many(work.plan.removed, base, work.documents, settings.allow_removal) if base else None
        return replace(_report(target, work, found.skipped, clock), estimate=expected, refusal=refusal)
    verdict = None
    pruned: tuple[str, ...] = ()
    with writing(root, wait):
        with clock.stage("sweep"):
            sweep(root)
        # Under the lock: who read the folder before another writer did must not publish after it.
        base, found, work = look()
        if base and (refusal := too_many(work.plan.removed, base, work.documents, settings.allow_removal)):
            raise TooManyRemovals(refusal)
        target = snapshot_id(encoder, task.chunking, work.documents)
        due = rebuild or base is None or base.id != target
        if due:
            verdict = task.publish(target, base, work)
        published = due and (verdict is None or verdict.passed)
        with clock.stage("tidy"):
            found.unchanged.save(published)
            # What was not read again was not asked for, and is not to be forgotten.
            found.extracted.save(forget=not len(found.unchanged.rows))
            if published and settings.keep_snapshots is not None:
                pruned = prune(root, settings.keep_snapshots).removed
    return replace(_report(target, work, found.skipped, clock), published=published, verdict=verdict, pruned=pruned)


@dataclass(frozen=True)
class _Found:
    """What is in the folder of documents."""

    documents: list[Document]
    """Those that were read; the others stand as `unchanged` says."""
    skipped: list[Skipped]
    unchanged: UnchangedFiles
    extracted: ExtractedTexts


@dataclass(frozen=True)
class _Task:
    """One refresh: what it was asked to do, and its steps."""

    root: Path
    encoder: TextEncoder
    settings: RefreshSettings
    chunking: ChunkSettings
    rebuild: bool
    gate: Gate | None
    progress: Progress | None
    building: Progress | None
    clock: Timings = field(default_factory=Timings)

    def read(self, folder: Path, base: Snapshot | None, check_content: bool) -> _Found:
        """Read the folder, or of it what may have changed since it was last read."""
        # Only where the live snapshot has the chunks as they are wanted can a text be left unread.
        usable = base is not None and base.settings == self.chunking and not check_content
        live = base.document_table if base and usable else document_table([])
        reading = self.settings.reading
        unchanged = UnchangedFiles(self.root, reading_of(folder, reading), live)
        extracted = ExtractedTexts(self.root, reading)
        documents, skipped = read_documents(folder, reading, extracted, unchanged)
        return _Found(documents, skipped, unchanged, extracted)

    def publish(self, target: str, base: Snapshot | None, work: Changes) -> Verdict | None:
        """Write what is new, ask the gate, then flip; write nothing when this very content is there from before."""
        root, clock = self.root, self.clock
        writer = SnapshotWriter(
            root, target, _parent(root, target), self.encoder, self.chunking, self.settings.vectors, self.building
        )
        known = None if self.rebuild else _openable(root, target)
        if known is not None:
            manifest = writer.again(known)
        else:
            with clock.stage("embed"):
                vectors, new = self.vectors(work)
            remember_rate(root, self.encoder, new, clock.seconds["embed"])
            with clock.stage("write"):
                gone = {*work.plan.removed, *work.plan.changed}
                manifest = writer.write(base, gone, Addition(work.chunks, vectors), work.documents)
        live = _openable(root) if self.rebuild else base
        # What is live already, and is only written anew, is not up for judgement.
        verdict = None
        if self.gate is not None and not (live and live.id == target):
            with clock.stage("gate"):
                verdict = self.gate(Snapshot(root, manifest), live)
        with clock.stage("publish"):
            if verdict is None or verdict.passed:
                writer.publish(manifest)
            else:
                reasons = (verdict.summary, *verdict.details)
                # What was live before stays as it is, so that the way back to it stays open.
                if known is None or known.manifest.held not in ((), reasons):
                    writer.hold(manifest, reasons)
        return verdict

    def vectors(self, work: Changes) -> tuple[Vectors, list[str]]:
        """Vectors of the new rows, (chunks, dimension) float32, and the passages that were encoded for them."""
        noted: list[str] = []
        passages = work.new_passages()
        limit = self.settings.cache_mib << 20
        encoded = np.empty((0, self.encoder.dimension), dtype=np.float32)
        if passages:
            encoded = encode_with_cache(self.root, self.encoder, passages, limit, self.progress, noted.append)
        place = {item: row for row, item in enumerate(passages)}
        vectors = np.empty((len(work.chunks), self.encoder.dimension), dtype=np.float32)
        old: dict[int, tuple[Segment, list[int], list[int]]] = {}
        for row, chunk in enumerate(work.chunks):
            if chunk.hash in place:
                vectors[row] = encoded[place[chunk.hash]]
            else:
                segment, known = work.known[chunk.hash]
                _, rows, sources = old.setdefault(id(segment), (segment, [], []))
                rows.append(row)
                sources.append(known)
        for segment, rows, sources in old.values():
            vectors[rows] = segment.vectors.read(np.array(sources))
        return vectors, noted


def _report(target: str, work: Changes, skipped: Sequence[Skipped], clock: Timings) -> RefreshReport:
    """The report of a refresh that published nothing, so far."""
    kept = tuple(Skipped(name, item.reason) for name, item in work.kept.items())
    lost = tuple(item for item in skipped if item not in work.kept.values())
    return RefreshReport(target, False, work.plan, lost, clock.seconds, kept)


def _parent(root: Path, target: str) -> str | None:
    """The snapshot to go back to: the live one, or the one before it when that is what is built anew."""
    try:
        live = current_id(root)
        return live if live != target else Manifest.read(manifest_path(root, live)).parent
    except (NoSnapshot, CorruptSnapshot):
        return None


def _openable(root: Path, snapshot: str | None = None) -> Snapshot | None:
    """A snapshot, the live one unless another is named, whatever encoder built it; None if it cannot be opened."""
    try:
        return Snapshot.open(root, snapshot)
    except (NoSnapshot, CorruptSnapshot):
        return None
