"""From a folder of documents to the passages that answer a question.

    from index import Encoder, Snapshot, refresh, search

    encoder = Encoder("sentence-transformers/all-MiniLM-L6-v2")
    refresh("index-folder", "documents", encoder)
    hits = search(Snapshot.open("index-folder"), encoder, ["When does support end?"])

Knows files, text, vectors and the durability of what it writes. Knows nothing of language models, prompts or
serving. Importing it is cheap: FAISS, torch and sentence-transformers are loaded when they are first used.
"""

from index.chunking import Chunk, ChunkSettings, chunk_document
from index.documents import Document, ReadSettings, Skipped, read_documents
from index.encoder import Encoder, TextEncoder
from index.errors import (
    CorruptSnapshot,
    EncoderMismatch,
    IndexBusy,
    IndexFault,
    NoDocuments,
    NoSnapshot,
)
from index.formats import Fields, Limits
from index.refresh import RefreshPlan, RefreshReport, check_encoder, plan, refresh, snapshot_id
from index.search import Hit, search
from index.snapshot import Snapshot, SnapshotInfo, current_id, list_snapshots, rollback

__all__ = [
    "Chunk",
    "ChunkSettings",
    "CorruptSnapshot",
    "Document",
    "Encoder",
    "EncoderMismatch",
    "Fields",
    "Hit",
    "IndexBusy",
    "IndexFault",
    "Limits",
    "NoDocuments",
    "NoSnapshot",
    "ReadSettings",
    "RefreshPlan",
    "RefreshReport",
    "Skipped",
    "Snapshot",
    "SnapshotInfo",
    "TextEncoder",
    "check_encoder",
    "chunk_document",
    "current_id",
    "list_snapshots",
    "plan",
    "read_documents",
    "refresh",
    "rollback",
    "search",
    "snapshot_id",
]
