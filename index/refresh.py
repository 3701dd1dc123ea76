"""Brings an index up to date with a folder, at the cost of what changed.

Contents are compared by hash. Chunks whose passage is already in the index keep their vectors, even in
another document; only new ones are encoded. Nothing that a reader may hold is changed: a refresh writes
new files and then replaces `CURRENT`, so whatever stops it before that leaves the index as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from blake3 import blake3

from index.absent import staying, too_many, unreadable
from index.chunking import Chunk, ChunkSettings, chunk_document
from index.documents import Document, ReadSettings, Skipped, read_documents, reading_of
from index.embeddings_cache import encode_with_cache
from index.encoder import Progress, TextEncoder, Vectors
from index.errors import CorruptSnapshot, EncoderMismatch, IndexFault, NoSnapshot, TooManyRemovals
from index.estimate import Estimate, estimate, remember_rate
from index.extracted import ExtractedTexts
from index.gate import Gate, Verdict
from index.maintenance import prune
from index.manifest import FORMAT, Manifest
from index.segment import Segment
from index.snapshot import DocumentEntry, Snapshot, current_id, manifest_path, writing
from index.timings import Timings
from index.unchanged import UnchangedFiles
from index.vectors import VectorSettings
from index.writer import Addition, SnapshotWriter, sweep


@dataclass(frozen=True, slots=True)
class RefreshPlan:
    """What a refresh does; documents by id, sorted.

    Attributes:
        added: Not in the index yet.
        changed: In the index with other content (or cut by other settings).
        removed: In the index, no longer in the folder.
        unchanged: Left as they are.
        chunks_to_embed: Passages that must be encoded.
        chunks_reused: Chunks of added and changed documents whose vectors are known.
        kept: In the index, and left as they are because their file cannot be read now.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]
    chunks_to_embed: int
    chunks_reused: int
    kept: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.changed or self.removed)


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


@dataclass(frozen=True)
class _Diff:
    """A plan with what it takes to carry it out."""

    plan: RefreshPlan
    chunks: list[Chunk]
    """Of added and changed documents."""
    known: dict[str, tuple[Segment, int]]
    """Where the vector of a passage hash lies."""
    documents: list[Document | DocumentEntry]
    """Of the new snapshot, by id: those that were read, and older versions that stay."""
    kept: dict[str, Skipped]
    """The latter by id, with what could not be read."""

    def new_passages(self) -> dict[str, str]:
        """What must be encoded, by hash; each passage once."""
        return {chunk.hash: chunk.passage for chunk in self.chunks if chunk.hash not in self.known}


def plan(root: Path, documents: Sequence[Document], settings: ChunkSettings, encoder: TextEncoder) -> RefreshPlan:
    """What a refresh with these documents would do; nothing is written.

    Raises:
        EncoderMismatch: another encoder built the index.
        CorruptSnapshot: the live snapshot is damaged.
    """
    return _diff(_base(Path(root), encoder, rebuild=False), documents, settings, encoder).plan


def refresh(
    root: Path,
    folder: Path,
    encoder: TextEncoder,
    *,
    max_tokens: int | None = None,
    overlap: int = 0,
    reading: ReadSettings | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    allow_removal: float = 1.0,
    rebuild: bool = False,
    gate: Gate | None = None,
    keep_snapshots: int | None = None,
    check_content: bool = False,
    wait: bool = False,
    kind: VectorSettings | None = None,
    building: Progress | None = None,
    cache_mib: int = 0,
) -> RefreshReport:
    """Publish a snapshot of a folder of documents; the first one builds the index.

    Args:
        root: Of the index.
        folder: Of the documents.
        encoder: Must be the one that built the index, unless it is rebuilt.
        max_tokens: Longest passage; the encoder's window unless given.
        overlap: Tokens shared by neighbouring chunks of one section.
        reading: Which files are read, how, and how far.
        dry_run: Write nothing, report what would be done.
        progress: Called while passages are encoded.
        allow_removal: Largest share of the indexed documents that may vanish in one refresh; those that only moved
            do not count.
        rebuild: Encode everything anew, beside the live snapshot, and then publish. Older versions of documents that
            cannot be read are not in it.
        gate: Asked about the new snapshot before it becomes the live one; if it says no, the snapshot is written and
            held back.
        keep_snapshots: The newest so many stay, with the live one and the one before it; None: all.
        check_content: Read every file, also those whose size and times did not change.
        wait: For another writer, rather than being refused.
        kind: How the vectors of new segments are kept.
        building: Called with rows while a graph or lists are built over them.
        cache_mib: Most MiB of vectors kept from older snapshots and interrupted builds, so that their passages are
            not encoded again (not even by a rebuild with the same encoder); 0 keeps none.

    Raises:
        NoDocuments: the folder is missing or has nothing to read.
        EncoderMismatch: another encoder built the index.
        CorruptSnapshot: the live snapshot is damaged.
        IndexBusy: another writer is at work.
        TooManyRemovals: more documents would vanish than `allow_removal` lets go.
        IndexFault: the settings make no sense.
        OSError: the disk is full or not writable; the live snapshot is untouched.
    """
    root = Path(root)
    settings = _settings(encoder, max_tokens, overlap)
    reading = reading or ReadSettings()
    clock = Timings()

    def look() -> tuple[Snapshot | None, _Found, _Diff]:
        with clock.stage("open"):
            base = _base(root, encoder, rebuild)
        with clock.stage("read"):
            found = _read(root, Path(folder), reading, base, settings, check_content)
        with clock.stage("plan"):
            return base, found, _diff(base, found.documents, settings, encoder, found.skipped)

    if dry_run:
        base, found, work = look()
        target = snapshot_id(encoder, settings, work.documents)
        with clock.stage("estimate"):
            expected = estimate(root, encoder, list(work.new_passages().values()))
        refusal = too_many(work.plan.removed, base, work.documents, allow_removal) if base else None
        return replace(_report(target, work, found.skipped, clock), estimate=expected, refusal=refusal)
    verdict = None
    pruned: tuple[str, ...] = ()
    with writing(root, wait):
        with clock.stage("sweep"):
            sweep(root)
        # Under the lock: who read the folder before another writer did must not publish after it.
        base, found, work = look()
        if base and (refusal := too_many(work.plan.removed, base, work.documents, allow_removal)):
            raise TooManyRemovals(refusal)
        target = snapshot_id(encoder, settings, work.documents)
        due = rebuild or base is None or base.id != target
        if due:
            verdict = _publish(
                root, target, base, work, settings, encoder, progress, clock, rebuild, gate, kind, building, cache_mib
            )
        published = due and (verdict is None or verdict.passed)
        with clock.stage("tidy"):
            found.unchanged.save(published)
            # What was not read again was not asked for, and is not to be forgotten.
            found.extracted.save(forget=not found.unchanged.entries)
            if published and keep_snapshots is not None:
                pruned = prune(root, keep_snapshots).removed
    return replace(_report(target, work, found.skipped, clock), published=published, verdict=verdict, pruned=pruned)


@dataclass(frozen=True)
class _Found:
    """What is in the folder of documents."""

    documents: list[Document | DocumentEntry]
    """Entries of the live snapshot stand for those whose files did not change."""
    skipped: list[Skipped]
    unchanged: UnchangedFiles
    extracted: ExtractedTexts


def _read(
    root: Path,
    folder: Path,
    reading: ReadSettings,
    base: Snapshot | None,
    settings: ChunkSettings,
    check_content: bool,
) -> _Found:
    """Read the folder, or of it what may have changed since it was last read."""
    # Only where the live snapshot has the chunks as they are wanted can a text be left unread.
    usable = base is not None and base.settings == settings and not check_content
    live = {entry.id: entry for entry in base.documents()} if base and usable else {}
    unchanged = UnchangedFiles(root, reading_of(folder, reading), live)
    extracted = ExtractedTexts(root, reading)
    documents, skipped = read_documents(folder, reading, extracted, unchanged)
    found: dict[str, Document | DocumentEntry] = {entry.id: entry for entry in unchanged.entries}
    found.update((document.id, document) for document in documents)
    return _Found([found[name] for name in sorted(found)], skipped, unchanged, extracted)


def _report(target: str, work: _Diff, skipped: Sequence[Skipped], clock: Timings) -> RefreshReport:
    """The report of a refresh that published nothing, so far."""
    kept = tuple(Skipped(name, item.reason) for name, item in work.kept.items())
    lost = tuple(item for item in skipped if item not in work.kept.values())
    return RefreshReport(target, False, work.plan, lost, clock.seconds, kept)


def snapshot_id(encoder: TextEncoder, settings: ChunkSettings, documents: Sequence[Document | DocumentEntry]) -> str:
    """The id of the snapshot of these documents, whatever was in the index before."""
    digest = blake3(f"{FORMAT}\0{encoder.fingerprint}\0{settings.max_tokens}\0{settings.overlap}\0".encode())
    digest.update("\n".join(sorted(f"{document.id}\0{document.hash}" for document in documents)).encode())
    return str(digest.hexdigest()[:16])


def _settings(encoder: TextEncoder, max_tokens: int | None, overlap: int) -> ChunkSettings:
    window = encoder.max_tokens
    if max_tokens is not None and max_tokens > window:
        raise IndexFault(
            f"max_tokens is {max_tokens}, but the encoder {encoder.source} reads only {window} tokens and "
            "would silently drop the rest; lower max_tokens or choose another encoder."
        )
    try:
        return ChunkSettings(window if max_tokens is None else max_tokens, overlap)
    except ValueError as error:
        raise IndexFault(f"The chunking settings make no sense: {error}.") from error


def _base(root: Path, encoder: TextEncoder, rebuild: bool) -> Snapshot | None:
    """The live snapshot that a refresh starts from, None to start from nothing."""
    if rebuild:
        return None
    try:
        base = Snapshot.open(root)
    except NoSnapshot:
        return None
    check_encoder(base, encoder)
    return base


def check_encoder(snapshot: Snapshot, encoder: TextEncoder) -> None:
    """Refuse an encoder whose vectors cannot be compared with those of a snapshot.

    Raises:
        EncoderMismatch: naming both, and what to do.
    """
    if encoder.fingerprint != snapshot.encoder_fingerprint:
        raise EncoderMismatch(
            f"The index in {snapshot.root} was built by the encoder {snapshot.encoder_source} "
            f"({snapshot.dimension} dimensions, fingerprint {snapshot.encoder_fingerprint[:12]}), but the "
            f"one at hand is {encoder.source} ({encoder.dimension} dimensions, fingerprint "
            f"{encoder.fingerprint[:12]}); use the first (same weights, prefixes and dtype), or build the "
            "index anew with `ragft index build --rebuild`."
        )


def _diff(
    base: Snapshot | None,
    documents: Sequence[Document | DocumentEntry],
    settings: ChunkSettings,
    encoder: TextEncoder,
    skipped: Sequence[Skipped] = (),
) -> _Diff:
    entries = {entry.id: entry for entry in base.documents()} if base else {}
    before = {entry.id: entry.hash for entry in entries.values()}
    recut = base is not None and base.settings != settings
    read = [document for document in documents if isinstance(document, Document)]
    added = [document for document in read if document.id not in before]
    changed = [
        document for document in read if document.id in before and (recut or before[document.id] != document.hash)
    ]
    chunks = [
        chunk
        for document in (*added, *changed)
        for chunk in chunk_document(document, encoder.tokenizer, settings.max_tokens, settings.overlap)
    ]
    wanted = sorted({chunk.hash for chunk in chunks})
    known: dict[str, tuple[Segment, int]] = {}
    for segment in base.segments if base else ():
        known.update({item: (segment, row) for item, row in segment.find_hashes(wanted).items()})
    names = {document.id for document in documents}
    touched = {document.id for document in (*added, *changed)}
    new = {chunk.hash for chunk in chunks} - known.keys()
    kept = unreadable(before.keys() - names, skipped)
    older = [staying(entries[name], recut) for name in kept]
    outline = RefreshPlan(
        added=tuple(sorted(document.id for document in added)),
        changed=tuple(sorted(document.id for document in changed)),
        removed=tuple(sorted(before.keys() - names - kept.keys())),
        unchanged=tuple(sorted(names - touched)),
        chunks_to_embed=len(new),
        chunks_reused=sum(chunk.hash in known for chunk in chunks),
        kept=tuple(kept),
    )
    return _Diff(
        outline,
        sorted(chunks, key=lambda chunk: (chunk.document_id, chunk.start, chunk.end)),
        known,
        sorted((*documents, *older), key=lambda document: document.id),
        kept,
    )


def _publish(
    root: Path,
    target: str,
    base: Snapshot | None,
    work: _Diff,
    settings: ChunkSettings,
    encoder: TextEncoder,
    progress: Progress | None,
    clock: Timings,
    rebuild: bool,
    gate: Gate | None,
    kind: VectorSettings | None,
    building: Progress | None,
    cache_mib: int,
) -> Verdict | None:
    """Write what is new, ask the gate, then flip; write nothing when this very content is there from before."""
    writer = SnapshotWriter(root, target, _parent(root, target), encoder, settings, kind, building)
    known = None if rebuild else _openable(root, target)
    if known is not None:
        manifest = writer.again(known)
    else:
        passages = work.new_passages()
        with clock.stage("embed"):
            new: list[str] = []
            vectors = _vectors(root, work, passages, encoder, progress, cache_mib, new.append)
        remember_rate(root, encoder, new, clock.seconds["embed"])
        with clock.stage("write"):
            gone = {*work.plan.removed, *work.plan.changed}
            manifest = writer.write(base, gone, Addition(work.chunks, vectors), work.documents)
    live = _openable(root) if rebuild else base
    # What is live already, and is only written anew, is not up for judgement.
    verdict = None
    if gate is not None and not (live and live.id == target):
        with clock.stage("gate"):
            verdict = gate(Snapshot(root, manifest), live)
    with clock.stage("publish"):
        if verdict is None or verdict.passed:
            writer.publish(manifest)
        else:
            reasons = (verdict.summary, *verdict.details)
            # What was live before stays as it is, so that the way back to it stays open.
            if known is None or known.manifest.held not in ((), reasons):
                writer.hold(manifest, reasons)
    return verdict


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


def _vectors(
    root: Path,
    work: _Diff,
    new: dict[str, str],
    encoder: TextEncoder,
    progress: Progress | None,
    cache_mib: int,
    note: Callable[[str], None],
) -> Vectors:
    """Vectors of the new rows: (chunks, dimension) float32; each unknown passage is encoded once, and noted."""
    encoded = encode_with_cache(root, encoder, new, cache_mib << 20, progress, note) if new else None
    place = {item: row for row, item in enumerate(new)}
    vectors = np.empty((len(work.chunks), encoder.dimension), dtype=np.float32)
    old: dict[int, tuple[Segment, list[int], list[int]]] = {}
    for row, chunk in enumerate(work.chunks):
        if chunk.hash in place and encoded is not None:
            vectors[row] = encoded[place[chunk.hash]]
        else:
            segment, known = work.known[chunk.hash]
            _, rows, sources = old.setdefault(id(segment), (segment, [], []))
            rows.append(row)
            sources.append(known)
    for segment, rows, sources in old.values():
        vectors[rows] = segment.vectors.read(np.array(sources))
    return vectors
