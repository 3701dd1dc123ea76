"""What a refresh has to do: the documents of a folder compared with those of a snapshot.

Only documents that were read are looked at one by one; those that stand as they are stay columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from blake3 import blake3

from index.documents.chunking import Chunk, ChunkSettings, chunk_document
from index.documents.folder import Document, Skipped
from index.encoders.encoder import TextEncoder
from index.errors import EncoderMismatch, NoSnapshot
from index.refresh.absent import is_of_older_cut, staying, unreadable
from index.store.manifest import FORMAT
from index.store.segment import Segment
from index.store.snapshot import DocumentEntry, Snapshot, document_table

NO_ROWS: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)


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


@dataclass(frozen=True)
class Changes:
    """A plan with what it takes to carry it out."""

    plan: RefreshPlan
    chunks: list[Chunk]
    """Of added and changed documents, in the order of document and position."""
    known: dict[str, tuple[Segment, int]]
    """Where the vector of a passage hash lies."""
    documents: pa.Table
    """Of the new snapshot, see `Snapshot.document_table`."""
    kept: dict[str, Skipped]
    """The older versions among them that stay, by id, with what could not be read."""

    def new_passages(self) -> dict[str, str]:
        """What must be encoded, by hash; each passage once."""
        return {chunk.hash: chunk.passage for chunk in self.chunks if chunk.hash not in self.known}


def plan(root: Path, documents: Sequence[Document], settings: ChunkSettings, encoder: TextEncoder) -> RefreshPlan:
    """What a refresh with these documents would do; nothing is written.

    Raises:
        EncoderMismatch: another encoder built the index.
        CorruptSnapshot: the live snapshot is damaged.
    """
    return changes(base_of(Path(root), encoder), NO_ROWS, documents, settings, encoder).plan


def changes(
    base: Snapshot | None,
    standing: npt.NDArray[np.int64],
    documents: Sequence[Document],
    settings: ChunkSettings,
    encoder: TextEncoder,
    skipped: Sequence[Skipped] = (),
) -> Changes:
    """Compare a folder with a snapshot.

    Args:
        base: The snapshot; None to start from nothing.
        standing: (n,) rows of its documents that are known to be in the folder as they were.
        documents: All others in the folder that can be read; where an id is in both, this one counts.
        settings: How documents are to be cut; where the snapshot's differ, `standing` must be empty.
        encoder: Whose tokenizer measures the chunks.
        skipped: What could not be read.
    """
    import pyarrow.compute as pc

    live = base.document_table if base else document_table([])
    recut = base is not None and base.settings != settings
    rows = pc.index_in(pa.array([document.id for document in documents], type=pa.string()), value_set=live["id"])
    hashes = live["hash"].take(rows).to_pylist()
    before = {document.id: known for document, known in zip(documents, hashes, strict=True) if known is not None}
    added = [document for document in documents if document.id not in before]
    changed = [
        document for document in documents if document.id in before and (recut or before[document.id] != document.hash)
    ]
    there = np.zeros(len(live), dtype=np.bool_)
    there[standing] = True
    there[rows.drop_null().to_numpy()] = True
    missing = [DocumentEntry(**entry) for entry in live.filter(pa.array(~there)).to_pylist()]
    kept = unreadable({entry.id for entry in missing}, skipped)
    older = [staying(entry, recut) for entry in missing if entry.id in kept]
    again = pa.array([document.id for document in changed], type=pa.string())
    unchanged = live.filter(pa.array(there & ~np.asarray(pc.is_in(live["id"], again))))
    # Most sections of a changed document are as they were; measuring them again would take longer than all the rest.
    fitting: set[str] = set()
    if base and not recut:
        cut_alike = {document.id for document in changed if not is_of_older_cut(before[document.id])}
        fitting = set().union(*(segment.hashes_of(cut_alike) for segment in base.segments))
    chunks = [
        chunk
        for document in (*added, *changed)
        for chunk in chunk_document(document, encoder.tokenizer, settings.max_tokens, settings.overlap, fitting)
    ]
    wanted = sorted({chunk.hash for chunk in chunks})
    known: dict[str, tuple[Segment, int]] = {}
    for segment in base.segments if base else ():
        known.update({item: (segment, row) for item, row in segment.find_hashes(wanted).items()})
    outline = RefreshPlan(
        added=tuple(sorted(document.id for document in added)),
        changed=tuple(sorted(document.id for document in changed)),
        removed=tuple(entry.id for entry in missing if entry.id not in kept),
        unchanged=tuple(unchanged["id"].to_pylist()),
        chunks_to_embed=len(wanted) - len(known),
        chunks_reused=sum(chunk.hash in known for chunk in chunks),
        kept=tuple(kept),
    )
    return Changes(
        outline,
        sorted(chunks, key=lambda chunk: (chunk.document_id, chunk.start, chunk.end)),
        known,
        pa.concat_tables([unchanged, document_table([*added, *changed, *older])]).sort_by("id").combine_chunks(),
        kept,
    )


def snapshot_id(encoder: TextEncoder, settings: ChunkSettings, documents: pa.Table) -> str:
    """The id of the snapshot of these documents (see `Snapshot.document_table`), whatever was in the index before."""
    import pyarrow.compute as pc

    digest = blake3(f"{FORMAT}\0{encoder.fingerprint}\0{settings.max_tokens}\0{settings.overlap}\0".encode())
    lines = pc.binary_join_element_wise(documents["id"], documents["hash"], "\0").to_pylist()
    digest.update("\n".join(lines).encode())
    return str(digest.hexdigest()[:16])


def base_of(root: Path, encoder: TextEncoder) -> Snapshot | None:
    """The live snapshot, which a refresh starts from; None where there is none.

    Raises:
        EncoderMismatch: another encoder built it.
        CorruptSnapshot: it is damaged.
    """
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
