"""What a refresh has to do: compares the documents of a folder with those of a snapshot.

Only documents that were read are looked at one by one; unchanged ones stay columns of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from blake3 import blake3

from index.documents.chunking import Chunk, Chunker, ChunkSettings
from index.documents.document import Document, Skipped
from index.encoders.encoder import TextEncoder
from index.errors import NoSnapshot
from index.refresh.absent import is_of_older_cut, staying, unreadable
from index.store.manifest import FORMAT
from index.store.segment import Segment
from index.store.snapshot import DocumentEntry, Snapshot, document_table
from index.store.terms import Analysis
from index.store.vectors import Rows


@dataclass(frozen=True, slots=True)
class RefreshPlan:
    """What a refresh does; documents are ids, sorted.

    Attributes:
        added: documents that are not in the index yet.
        changed: documents whose content or chunking settings changed.
        removed: indexed documents that are no longer in the folder.
        unchanged: number of the others.
        chunks_reused: number of chunks of added and changed documents whose vectors are known.
        kept: indexed documents whose file cannot be read now, so that the older version stays.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int
    chunks_to_embed: int
    chunks_reused: int
    kept: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.changed or self.removed)


@dataclass(frozen=True)
class Changes:
    """A plan with what it takes to carry it out.

    Attributes:
        chunks: those of added and changed documents, in the order of document and position.
        known: for each passage hash whose vector is stored, the segment and row that hold it.
        documents: documents of the new snapshot, like `Snapshot.document_table`.
        kept: the skip of each document of `plan.kept`, by id.
        unknown: for each added or changed document that has any, the number of its new passages that consist mostly of
            words which the encoder does not know.
    """

    plan: RefreshPlan
    chunks: list[Chunk]
    known: dict[str, tuple[Segment, int]]
    documents: pa.Table
    kept: dict[str, Skipped]
    unknown: dict[str, int] = field(default_factory=dict)

    def new_passages(self) -> dict[str, str]:
        """The passages to encode, each once, by hash."""
        return {chunk.hash: chunk.passage for chunk in self.chunks if chunk.hash not in self.known}


def changes(
    base: Snapshot | None,
    standing: Rows,
    documents: Sequence[Document],
    chunker: Chunker,
    skipped: Sequence[Skipped],
) -> Changes:
    """Compare a folder with a snapshot.

    Args:
        base: the snapshot; None to start from nothing.
        standing: (n,) rows of its document table that are known to be unchanged; empty if its chunking settings differ
            from those of `chunker`.
        documents: all other documents of the folder that can be read; if an id is in both, this one counts.
        skipped: what could not be read.
    """
    segments = base.segments if base else []
    recut = base is not None and base.settings != chunker.settings
    found = _compare(base.document_table if base else document_table([]), standing, documents, skipped, recut)
    # Most sections of a changed document are unchanged, and measuring them again would take longer than all the rest.
    fitting = set().union(*(segment.hashes_of(found.cut_alike) for segment in segments)) if found.cut_alike else set()
    cuts = {document.id: chunker.cut(document, fitting) for document in (*found.added, *found.changed)}
    chunks = [chunk for cut in cuts.values() for chunk in cut.chunks]
    wanted = sorted({chunk.hash for chunk in chunks})
    known: dict[str, tuple[Segment, int]] = {}
    for segment in segments:
        known.update({item: (segment, row) for item, row in segment.find_hashes(wanted).items()})
    plan = RefreshPlan(
        added=tuple(sorted(document.id for document in found.added)),
        changed=tuple(sorted(document.id for document in found.changed)),
        removed=found.removed,
        unchanged=found.unchanged,
        chunks_to_embed=len(wanted) - len(known),
        chunks_reused=sum(chunk.hash in known for chunk in chunks),
        kept=tuple(found.kept),
    )
    chunks.sort(key=lambda chunk: (chunk.document_id, chunk.start, chunk.end))
    unknown = {name: cut.unknown for name, cut in cuts.items() if cut.unknown}
    return Changes(plan, chunks, known, found.documents, found.kept, unknown)


@dataclass(frozen=True)
class _Comparison:
    """The documents of a folder, sorted by what has happened to them since a snapshot."""

    added: list[Document]
    changed: list[Document]
    cut_alike: set[str]
    """Ids of the changed documents whose older version was cut by the same settings."""
    removed: tuple[str, ...]
    kept: dict[str, Skipped]
    unchanged: int
    documents: pa.Table
    """All documents of the new snapshot."""


def _compare(
    live: pa.Table,
    standing: Rows,
    documents: Sequence[Document],
    skipped: Sequence[Skipped],
    recut: bool,
) -> _Comparison:
    """Compare documents with a snapshot's document table (see `changes`); `recut` if chunking settings changed."""
    import pyarrow.compute as pc

    place = pc.index_in(pa.array([document.id for document in documents], type=pa.string()), value_set=live["id"])
    hashes = live["hash"].take(place).to_pylist()
    present = np.zeros(len(live), dtype=np.bool_)
    present[standing] = True
    present[place.drop_null().to_numpy()] = True
    stays = present.copy()
    added: list[Document] = []
    changed: list[Document] = []
    cut_alike: set[str] = set()
    for document, row, known in zip(documents, place.to_pylist(), hashes, strict=True):
        if known is None:
            added.append(document)
        elif recut or known != document.hash:
            changed.append(document)
            stays[row] = False
            if not recut and not is_of_older_cut(known):
                cut_alike.add(document.id)
    missing = [DocumentEntry(**entry) for entry in live.filter(pa.array(~present)).to_pylist()]
    kept = unreadable({entry.id for entry in missing}, skipped)
    unchanged = live.filter(pa.array(stays))
    older = [staying(entry, recut) for entry in missing if entry.id in kept]
    new = pa.concat_tables([unchanged, document_table([*added, *changed, *older])]).sort_by("id").combine_chunks()
    removed = tuple(entry.id for entry in missing if entry.id not in kept)
    return _Comparison(added, changed, cut_alike, removed, kept, len(unchanged), new)


def snapshot_id(encoder: TextEncoder, settings: ChunkSettings, analysis: Analysis, documents: pa.Table) -> str:
    """The id of the snapshot of these documents (like `Snapshot.document_table`), whatever the index held before."""
    import pyarrow.compute as pc

    terms = f"{analysis.version} {analysis.language}"
    digest = blake3("\0".join(map(str, (FORMAT, terms, encoder.fingerprint, *astuple(settings), ""))).encode())
    lines = pc.binary_join_element_wise(documents["id"], documents["hash"], "\0").to_pylist()
    digest.update("\n".join(lines).encode())
    return str(digest.hexdigest()[:16])


def base_of(root: Path, encoder: TextEncoder) -> Snapshot | None:
    """The live snapshot, from which a refresh starts; None if there is none.

    Raises:
        EncoderMismatch: another encoder built it.
        CorruptSnapshot: it is damaged.
    """
    try:
        base = Snapshot.open(root)
    except NoSnapshot:
        return None
    base.check_encoder(encoder)
    return base
