"""Brings an index up to date with a folder, at the cost of what changed.

Contents are compared by hash. Chunks whose passage is already in the index keep their vectors, even in
another document; only new ones are encoded. Nothing that a reader may hold is changed: a refresh writes
new files and then replaces `CURRENT`, so whatever stops it before that leaves the index as it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from blake3 import blake3

from index.chunking import Chunk, ChunkSettings, chunk_document
from index.documents import Document, Skipped, read_documents
from index.embeddings_cache import encode_with_cache
from index.encoder import Progress, TextEncoder, Vectors
from index.errors import CorruptSnapshot, EncoderMismatch, IndexFault, NoSnapshot
from index.manifest import FORMAT, Manifest
from index.segment import Segment
from index.snapshot import Snapshot, current_id, manifest_path, writing
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
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]
    chunks_to_embed: int
    chunks_reused: int

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.changed or self.removed)


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What a refresh did.

    Attributes:
        snapshot_id: The live snapshot now; on a dry run, the one that a refresh would publish.
        published: Whether `CURRENT` was replaced.
        plan: What was done, or would be.
        skipped: Files that could not be read.
        seconds: Wall time of each step, by its name.
    """

    snapshot_id: str
    published: bool
    plan: RefreshPlan
    skipped: tuple[Skipped, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Diff:
    """A plan with what it takes to carry it out."""

    plan: RefreshPlan
    chunks: list[Chunk]
    """Of added and changed documents."""
    known: dict[str, tuple[Segment, int]]
    """Where the vector of a passage hash lies."""


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - start, 4)


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
    dry_run: bool = False,
    progress: Progress | None = None,
    allow_removal: float = 1.0,
    rebuild: bool = False,
    cache_mib: int = 0,
) -> RefreshReport:
    """Publish a snapshot of a folder of documents; the first one builds the index.

    Args:
        root: Of the index.
        folder: Of the documents.
        encoder: Must be the one that built the index, unless it is rebuilt.
        max_tokens: Longest passage; the encoder's window unless given.
        overlap: Tokens shared by neighbouring chunks of one section.
        dry_run: Write nothing, report what would be done.
        progress: Called while passages are encoded.
        allow_removal: Largest share of the indexed documents that may vanish in one refresh.
        rebuild: Encode everything anew, beside the live snapshot, and then publish.
        cache_mib: Most MiB of vectors kept from older snapshots and interrupted builds, so that their passages are
            not encoded again (not even by a rebuild with the same encoder); 0 keeps none.

    Raises:
        NoDocuments: the folder is missing or has nothing to read.
        EncoderMismatch: another encoder built the index.
        CorruptSnapshot: the live snapshot is damaged.
        IndexBusy: another writer is at work.
        IndexFault: more documents would vanish than `allow_removal` lets go, or the settings make no sense.
        OSError: the disk is full or not writable; the live snapshot is untouched.
    """
    root = Path(root)
    settings = _settings(encoder, max_tokens, overlap)
    clock = _Clock()
    with clock.step("read"):
        documents, skipped = read_documents(Path(folder))
    target = snapshot_id(encoder, settings, documents)
    if dry_run:
        with clock.step("plan"):
            work = _diff(_base(root, encoder, rebuild), documents, settings, encoder)
        return RefreshReport(target, False, work.plan, tuple(skipped), clock.seconds)
    with writing(root):
        sweep(root)
        with clock.step("plan"):
            base = _base(root, encoder, rebuild)
            work = _diff(base, documents, settings, encoder)
        _check_removal(work.plan, base, allow_removal)
        published = rebuild or base is None or base.id != target
        if published:
            _publish(root, target, base, work, documents, settings, encoder, progress, clock, rebuild, cache_mib)
    return RefreshReport(target, published, work.plan, tuple(skipped), clock.seconds)


def snapshot_id(encoder: TextEncoder, settings: ChunkSettings, documents: Sequence[Document]) -> str:
    """The id of the snapshot of these documents, whatever was in the index before."""
    content = {
        "format": FORMAT,
        "encoder": encoder.fingerprint,
        "settings": [settings.max_tokens, settings.overlap],
        "documents": sorted([document.id, document.hash] for document in documents),
    }
    return blake3(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


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


def _diff(base: Snapshot | None, documents: Sequence[Document], settings: ChunkSettings, encoder: TextEncoder) -> _Diff:
    before = {entry.id: entry.hash for entry in base.documents()} if base else {}
    recut = base is not None and base.settings != settings
    added = [document for document in documents if document.id not in before]
    changed = [
        document for document in documents if document.id in before and (recut or before[document.id] != document.hash)
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
    outline = RefreshPlan(
        added=tuple(sorted(document.id for document in added)),
        changed=tuple(sorted(document.id for document in changed)),
        removed=tuple(sorted(before.keys() - names)),
        unchanged=tuple(sorted(names - touched)),
        chunks_to_embed=len(new),
        chunks_reused=sum(chunk.hash in known for chunk in chunks),
    )
    return _Diff(outline, sorted(chunks, key=lambda chunk: (chunk.document_id, chunk.start, chunk.end)), known)


def _check_removal(outline: RefreshPlan, base: Snapshot | None, allow_removal: float) -> None:
    if base is None or not base.document_count:
        return
    share = len(outline.removed) / base.document_count
    if share > allow_removal:
        raise IndexFault(
            f"{len(outline.removed)} of {base.document_count} indexed documents are no longer in the folder "
            f"({share:.0%}, and {allow_removal:.0%} may vanish at once); check the folder, or allow "
            "more removals."
        )


def _publish(
    root: Path,
    target: str,
    base: Snapshot | None,
    work: _Diff,
    documents: Sequence[Document],
    settings: ChunkSettings,
    encoder: TextEncoder,
    progress: Progress | None,
    clock: _Clock,
    rebuild: bool,
    cache_mib: int,
) -> None:
    """Write what is new, then flip; or only flip, when this very content was live before."""
    writer = SnapshotWriter(root, target, _parent(root, target), encoder, settings)
    if not rebuild and (known := _intact(root, target)):
        with clock.step("publish"):
            writer.republish(known)
        return
    with clock.step("embed"):
        vectors = _vectors(root, work, encoder, progress, cache_mib)
    with clock.step("write"):
        gone = {*work.plan.removed, *work.plan.changed}
        addition = Addition(work.chunks, vectors)
        manifest = writer.write(base, gone, addition, documents)
    with clock.step("publish"):
        writer.publish(manifest)


def _parent(root: Path, target: str) -> str | None:
    """The snapshot to go back to: the live one, or the one before it when that is what is built anew."""
    try:
        live = current_id(root)
        return live if live != target else Manifest.read(manifest_path(root, live)).parent
    except (NoSnapshot, CorruptSnapshot):
        return None


def _intact(root: Path, target: str) -> Snapshot | None:
    """The snapshot that is to be published, if it is there already."""
    try:
        return Snapshot.open(root, target)
    except (NoSnapshot, CorruptSnapshot):
        return None


def _vectors(root: Path, work: _Diff, encoder: TextEncoder, progress: Progress | None, cache_mib: int) -> Vectors:
    """Vectors of the new rows: (chunks, dimension) float32; each unknown passage is encoded once."""
    new: dict[str, str] = {}
    for chunk in work.chunks:
        if chunk.hash not in work.known:
            new.setdefault(chunk.hash, chunk.passage)
    encoded = encode_with_cache(root, encoder, new, cache_mib << 20, progress) if new else None
    place = {item: row for row, item in enumerate(new)}
    vectors = np.empty((len(work.chunks), encoder.dimension), dtype=np.float32)
    for row, chunk in enumerate(work.chunks):
        if chunk.hash in place and encoded is not None:
            vectors[row] = encoded[place[chunk.hash]]
        else:
            segment, known = work.known[chunk.hash]
            vectors[row] = segment.vectors.read(np.array([known]))[0]
    return vectors
