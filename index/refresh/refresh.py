"""Brings an index up to date with a folder, at the cost of what changed.

Contents are compared by hash. Chunks whose passage is already in the index keep their vectors, even in another
document; only new passages are encoded. Nothing that a reader may hold is changed: a refresh writes new files and then
replaces `CURRENT`, so whatever stops it before that leaves the index as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from index.documents.chunking import MODEL_TOKENS_PER_TOKEN, Chunker, ChunkSettings
from index.documents.document import Document, Skipped
from index.documents.extracted import ExtractedTexts
from index.documents.folder import IGNORE_FILE, read_documents, read_files, reading_of
from index.documents.formats.settings import ReadSettings
from index.documents.lengths import ModelTokenizer
from index.documents.scans import RecognitionProgress, Scans
from index.documents.unchanged import UnchangedFiles
from index.encoders.cache import encode_with_cache
from index.encoders.encoder import Progress, TextEncoder, Vectors
from index.errors import CorruptSnapshot, IndexFault, NoSnapshot, TooManyRemovals
from index.refresh.absent import too_many
from index.refresh.estimate import Estimate, estimate, remember_rate
from index.refresh.gate import Gate, Verdict
from index.refresh.planning import Changes, RefreshPlan, base_of, changes, snapshot_id
from index.refresh.told import rows_of_files
from index.store.folder import current_id, make_live, read_manifest, readable_manifests, write_manifest, writing
from index.store.kinds import VectorSettings
from index.store.maintenance import prune
from index.store.manifest import Manifest, reading_hash
from index.store.segment import Segment
from index.store.snapshot import Snapshot, document_table
from index.store.terms import AUTO, Analysis
from index.store.vectors import Rows
from index.store.writer import SnapshotWriter, sweep
from index.timings import Timings


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What a refresh did.

    Attributes:
        snapshot_id: id of the snapshot of these documents. It is live now, unless it was held back; after a dry run, it
            is the one that a refresh would publish.
        published: whether `CURRENT` was replaced.
        skipped: files that could not be read and of which the index has no older version.
        seconds: wall time of each step, by name.
        kept: documents (by id) whose file could not be read, so that their older version stays.
        verdict: the gate's decision; None if no gate was asked.
        estimate: after a dry run, how long encoding will take.
        refusal: after a dry run, why the refresh would be refused; None if it would not.
        pruned: ids of the old snapshots that were deleted because of `keep_snapshots`.
        scanned: pages of which `skipped` says that character recognition will read them, after a dry run.
        scanned_seconds: how long that will take, by the pages of earlier refreshes; None if there were none.
        unknown: for each added or changed document that has any, the number of its new passages that consist mostly of
            words which the encoder does not know: dense search hardly finds them.
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
    unknown: Mapping[str, int] = field(default_factory=dict)
    scanned: int = 0
    scanned_seconds: float | None = None

    @property
    def held(self) -> bool:
        return self.verdict is not None and not self.verdict.passed


@dataclass(frozen=True, slots=True)
class RefreshSettings:
    """How an index is built and kept up to date.

    Attributes:
        max_tokens: longest passage in the encoder's tokens; None: as many as the encoder reads.
        overlap: tokens that neighbouring chunks of one section share.
        max_characters: longest passage in characters; None: see `ChunkSettings`.
        max_model_tokens: longest passage in tokens of the model that reads it; None: twice `max_tokens`.
        model: the tokenizer that counts them; None: they are not counted.
        vectors: how new segments store their vectors.
        allow_removal: largest share of the indexed documents that may vanish in one refresh; moved ones do not count.
        keep_snapshots: number of the newest snapshots that stay, besides the live one and the one before it; None: all.
        cache_mib: most MiB of vectors kept from older snapshots and interrupted builds, so that their passages are
            not encoded again (not even by a rebuild with the same encoder); 0 keeps none.
        language: which language words are stemmed in; see `index.store.terms.Analysis`.
    """

    max_tokens: int | None = None
    overlap: int = 0
    reading: ReadSettings = field(default_factory=ReadSettings)
    vectors: VectorSettings = field(default_factory=VectorSettings)
    allow_removal: float = 1.0
    keep_snapshots: int | None = None
    cache_mib: int = 0
    language: str = AUTO
    max_characters: int | None = None
    max_model_tokens: int | None = None
    model: ModelTokenizer | None = None

    def analysis(self) -> Analysis:
        """How passages become the terms of lexical search."""
        return Analysis(self.language)

    def chunking(self, encoder: TextEncoder) -> ChunkSettings:
        """How documents are cut for this encoder.

        Raises:
            IndexFault: passages would be longer than the encoder reads, or `overlap` does not suit `max_tokens`.
        """
        window = encoder.max_tokens
        if self.max_tokens is not None and self.max_tokens > window:
            raise IndexFault(
                f"index.chunking.max_tokens is {self.max_tokens}, but the encoder {encoder.source} reads only {window} "
                "tokens and would silently drop the rest; lower it or choose another encoder."
            )
        longest = window if self.max_tokens is None else self.max_tokens
        try:
            settings = ChunkSettings(longest, self.overlap, self.max_characters)
            if self.model is None:
                return settings
            limit = MODEL_TOKENS_PER_TOKEN * longest if self.max_model_tokens is None else self.max_model_tokens
            return replace(settings, max_model_tokens=limit, model_tokenizer=self.model.fingerprint)
        except ValueError as error:
            raise IndexFault(f"Documents cannot be cut with index.chunking: {error}.") from error


def refresh(
    root: Path,
    folder: Path,
    encoder: TextEncoder,
    settings: RefreshSettings | None = None,
    *,
    dry_run: bool = False,
    rebuild: bool = False,
    check_content: bool = False,
    told: Collection[str] | None = None,
    wait: bool = False,
    gate: Gate | None = None,
    progress: Progress | None = None,
    building: Progress | None = None,
    recognising: RecognitionProgress | None = None,
) -> RefreshReport:
    """Publish a snapshot of a folder of documents; the first refresh builds the index.

    Args:
        encoder: the encoder that built the index, or any encoder for a rebuild.
        dry_run: write nothing, and report what would be done.
        rebuild: encode everything again beside the live snapshot, and then publish. Older versions of documents that
            cannot be read are lost.
        check_content: read every file, also those whose size and times did not change.
        told: names of the files that changed, came or went, and of folders in which any did, as `read_files` takes
            them: nothing else is looked at. None, or an empty name or the ignore file among them: the changes
            are found in the whole folder; so are they where the live snapshot was made with other settings.
        wait: wait for another writer instead of failing.
        gate: asked about the new snapshot before it becomes the live one. If it refuses, the snapshot is written and
            held back.
        progress: called with the passages done while they are encoded.
        building: called with the rows done while a graph or lists are built.
        recognising: called while scanned pages are recognised, see `RecognitionProgress`.

    Raises:
        NoDocuments: the folder is missing or holds nothing to read.
        EncoderMismatch: another encoder built the index.
        CorruptSnapshot: the live snapshot is damaged.
        IndexBusy: another writer is at work.
        TooManyRemovals: more documents would vanish than `settings.allow_removal` allows.
        IndexFault: the chunking settings do not suit the encoder or each other, or character recognition is turned on
            and not installed.
        OSError: the disk is full or not writable; the live snapshot is untouched.
    """
    settings = settings or RefreshSettings()
    if told is not None and ("" in told or IGNORE_FILE in told):
        told = None
    task = _Refresh(
        Path(root), Path(folder), encoder, settings, settings.chunking(encoder), rebuild, check_content, told, gate,
        progress, building, Scans(Path(root), settings.reading.ocr, recognising, only_count=dry_run),
    )  # fmt: skip
    if dry_run:
        return task.foretell()
    with writing(task.root, wait):
        return task.carry_out()


@dataclass(frozen=True)
class _Findings:
    """What a refresh found, and what it has to do about it."""

    base: Snapshot | None
    unchanged: UnchangedFiles | None
    """None if the refresh was told what changed, and learnt nothing about other files."""
    extracted: ExtractedTexts
    skipped: Sequence[Skipped]
    changes: Changes
    target: str
    """Id of the snapshot of these documents."""
    refusal: str | None


@dataclass(frozen=True)
class _Refresh:
    """One refresh: what it was asked to do, and its steps."""

    root: Path
    folder: Path
    encoder: TextEncoder
    settings: RefreshSettings
    chunking: ChunkSettings
    rebuild: bool
    check_content: bool
    told: Collection[str] | None
    gate: Gate | None
    progress: Progress | None
    building: Progress | None
    scans: Scans
    clock: Timings = field(default_factory=Timings)

    def continues(self, base: Snapshot, how: str) -> bool:
        """Whether a snapshot is the last that was written, and of files that were read in this way."""
        newest = max(manifest.sequence for manifest in readable_manifests(self.root))
        return (base.manifest.sequence, base.manifest.reading) == (newest, reading_hash(how))

    @property
    def how_read(self) -> str:
        return reading_of(self.folder, self.settings.reading)

    def foretell(self) -> RefreshReport:
        found = self.look()
        with self.clock.stage("estimate"):
            expected = estimate(self.root, self.encoder, list(found.changes.new_passages().values()))
        return replace(
            self.report(found), estimate=expected, refusal=found.refusal, scanned=self.scans.pages,
            scanned_seconds=self.scans.seconds,
        )  # fmt: skip

    def carry_out(self) -> RefreshReport:
        """Write, ask the gate, publish and tidy up, under the writer's lock."""
        with self.clock.stage("sweep"):
            sweep(self.root)
        # Under the lock: what was read before another writer read the folder must not be published after it.
        found = self.look()
        if found.refusal:
            raise TooManyRemovals(found.refusal)
        verdict, published = None, False
        if self.rebuild or found.base is None or found.base.id != found.target:
            verdict = self.publish(found)
            published = verdict is None or verdict.passed
        with self.clock.stage("tidy"):
            pruned = self.tidy(found, published)
        return replace(self.report(found), published=published, verdict=verdict, pruned=pruned)

    def look(self) -> _Findings:
        """Read the folder, and compare it with the live snapshot."""
        with self.clock.stage("open"):
            base = None if self.rebuild else base_of(self.root, self.encoder)
        with self.clock.stage("read"):
            unchanged, extracted, documents, skipped, standing = self.read(base)
        with self.clock.stage("plan"):
            chunker = Chunker(self.encoder.tokenizer, self.chunking, self.settings.model)
            work = changes(base, standing, documents, chunker, skipped)
            target = snapshot_id(self.encoder, self.chunking, self.settings.analysis(), work.documents)
            allowed = self.settings.allow_removal
            refusal = too_many(work.plan.removed, base, work.documents, allowed) if base else None
        return _Findings(base, unchanged, extracted, skipped, work, target, refusal)

    def read(
        self, base: Snapshot | None
    ) -> tuple[UnchangedFiles | None, ExtractedTexts, list[Document], list[Skipped], Rows]:
        """Read what changed: the documents, what was skipped, and the rows of the documents that stand unread."""
        reading = self.settings.reading
        how = self.how_read
        extracted = ExtractedTexts(self.root, reading)
        # A file may stay unread only if the live snapshot has its chunks as they are wanted now; untold, only if that
        # is the newest, because what was told for one that was held back or left is not in it.
        usable = base is not None and base.settings == self.chunking and not self.check_content
        live = base.document_table if base and usable else document_table([])
        if self.told is not None and base and usable and self.continues(base, how):
            found = read_files(self.folder, self.told, reading, extracted, self.scans)
            standing = np.delete(np.arange(len(live)), rows_of_files(live, found.names, self.folder))
            return None, extracted, found.documents, found.skipped, standing
        unchanged = UnchangedFiles(self.root, how, live)
        documents, skipped = read_documents(self.folder, reading, extracted, unchanged, self.scans)
        return unchanged, extracted, documents, skipped, unchanged.rows

    def publish(self, found: _Findings) -> Verdict | None:
        """Write the snapshot, and make it the live one unless the gate refuses it."""
        known = None if self.rebuild else _openable(self.root, found.target)
        manifest = self.write(found, known)
        verdict = self.judge(found, manifest)
        with self.clock.stage("publish"):
            if verdict is None or verdict.passed:
                make_live(self.root, manifest)
            else:
                reasons = (verdict.summary, *verdict.details)
                # A snapshot that was live before is left as it is, so that a rollback to it stays possible.
                if known is None or known.manifest.held not in ((), reasons):
                    write_manifest(self.root, replace(manifest, held=reasons))
        return verdict

    def write(self, found: _Findings, known: Snapshot | None) -> Manifest:
        """Write everything but the manifest; nothing if the snapshot is known from before."""
        writer = SnapshotWriter(
            self.root, found.target, _parent(self.root, found.target), self.encoder, self.chunking,
            self.settings.vectors, self.building, self.settings.analysis(), reading_hash(self.how_read),
        )  # fmt: skip
        if known is not None:
            return writer.bring_back(known)
        work = found.changes
        with self.clock.stage("embed"):
            vectors = np.empty((len(work.chunks), self.encoder.dimension), dtype=np.float32)
            encoded = self.encode(work, vectors)
            _copy_known(work, vectors)
        remember_rate(self.root, self.encoder, encoded, self.clock.seconds["embed"])
        with self.clock.stage("write"):
            gone = {*work.plan.removed, *work.plan.changed}
            return writer.write(found.base, gone, work.chunks, vectors, work.documents)

    def encode(self, work: Changes, vectors: Vectors) -> list[str]:
        """Fill in the vectors of new passages, and return the passages that were not in the cache."""
        passages = work.new_passages()
        uncached: list[str] = []
        if passages:
            limit = self.settings.cache_mib << 20
            found = encode_with_cache(self.root, self.encoder, passages, limit, self.progress, uncached.append)
            number = {item: place for place, item in enumerate(passages)}
            rows = [row for row, chunk in enumerate(work.chunks) if chunk.hash in number]
            vectors[rows] = found[[number[work.chunks[row].hash] for row in rows]]
        return uncached

    def judge(self, found: _Findings, manifest: Manifest) -> Verdict | None:
        """The gate's decision; None if there is no gate, or if the snapshot is live already and only rebuilt."""
        if self.gate is None:
            return None
        live = _openable(self.root) if self.rebuild else found.base
        if live and live.id == found.target:
            return None
        with self.clock.stage("gate"):
            return self.gate(Snapshot(self.root, manifest), live)

    def tidy(self, found: _Findings, published: bool) -> tuple[str, ...]:
        """Keep what helps the next refresh, and delete old snapshots; returns their ids."""
        if found.unchanged is not None:
            found.unchanged.save(published)
        # Texts of files that were not read were not asked for, but must not be forgotten.
        forget = found.unchanged is not None and not len(found.unchanged.rows)
        found.extracted.save(forget)
        if forget:
            self.scans.forget_others()
        keep = self.settings.keep_snapshots
        return prune(self.root, keep) if published and keep is not None else ()

    def report(self, found: _Findings) -> RefreshReport:
        """The report of a refresh that has published nothing so far."""
        work = found.changes
        kept = tuple(Skipped(name, item.reason) for name, item in work.kept.items())
        skipped = tuple(item for item in found.skipped if item not in work.kept.values())
        return RefreshReport(
            found.target, False, work.plan, skipped, self.clock.seconds, kept, unknown=work.unknown
        )  # fmt: skip


def _copy_known(work: Changes, vectors: Vectors) -> None:
    """Fill in the vectors of passages that are stored in the index, segment by segment."""
    sources: dict[int, tuple[Segment, list[int], list[int]]] = {}
    for row, chunk in enumerate(work.chunks):
        if chunk.hash in work.known:
            segment, known = work.known[chunk.hash]
            _, rows, stored = sources.setdefault(id(segment), (segment, [], []))
            rows.append(row)
            stored.append(known)
    for segment, rows, stored in sources.values():
        vectors[rows] = segment.vectors.read(np.array(stored))


def _parent(root: Path, target: str) -> str | None:
    """The snapshot that a rollback goes back to: the live one or, if that is rebuilt, the one before it."""
    try:
        live = current_id(root)
        return live if live != target else read_manifest(root, live).parent
    except (NoSnapshot, CorruptSnapshot):
        return None


def _openable(root: Path, snapshot: str | None = None) -> Snapshot | None:
    """A snapshot (None: the live one) of any encoder; None if it cannot be opened."""
    try:
        return Snapshot.open(root, snapshot)
    except (NoSnapshot, CorruptSnapshot):
        return None
