"""From a folder of documents to the passages that answer a question.

    from index import Encoder, Snapshot, refresh, search

    encoder = Encoder("sentence-transformers/all-MiniLM-L6-v2")
    refresh("index-folder", "documents", encoder)
    hits = search(Snapshot.open("index-folder"), encoder, ["When does support end?"])

Knows files, text, vectors and the durability of what it writes. Knows nothing of language models, prompts or
serving. Importing it is cheap: FAISS, torch and sentence-transformers are loaded when they are first used.
"""

from index.documents.chunking import Chunk, ChunkSettings, chunk_document
from index.documents.folder import Document, ReadSettings, Skipped, read_documents
from index.documents.formats import Fields, Limits
from index.encoders.encoder import Encoder, TextEncoder
from index.encoders.reranker import CrossEncoderReranker, Reranker
from index.errors import (
    CorruptSnapshot,
    EncoderMismatch,
    IndexBusy,
    IndexFault,
    NoDocuments,
    NoSnapshot,
    TooManyRemovals,
)
from index.refresh.estimate import Estimate
from index.refresh.gate import Gate, Verdict
from index.refresh.planning import RefreshPlan, check_encoder, plan
from index.refresh.refresh import RefreshReport, RefreshSettings, refresh
from index.search.search import Hit, search
from index.store.filters import Filter, FilterError, Labels, parse_filter, parse_labels
from index.store.maintenance import compact, diff, gc, verify, verify_all
from index.store.snapshot import Snapshot, SnapshotInfo, current_id, list_snapshots, publish, rollback
from index.timings import Timings

__all__ = [
    "Chunk",
    "ChunkSettings",
    "CorruptSnapshot",
    "CrossEncoderReranker",
    "Document",
    "Encoder",
    "EncoderMismatch",
    "Estimate",
    "Fields",
    "Filter",
    "FilterError",
    "Gate",
    "Hit",
    "IndexBusy",
    "IndexFault",
    "Labels",
    "Limits",
    "NoDocuments",
    "NoSnapshot",
    "ReadSettings",
    "RefreshPlan",
    "RefreshReport",
    "RefreshSettings",
    "Reranker",
    "Skipped",
    "Snapshot",
    "SnapshotInfo",
    "TextEncoder",
    "Timings",
    "TooManyRemovals",
    "Verdict",
    "check_encoder",
    "chunk_document",
    "compact",
    "current_id",
    "diff",
    "gc",
    "list_snapshots",
    "parse_filter",
    "parse_labels",
    "plan",
    "publish",
    "read_documents",
    "refresh",
    "rollback",
    "search",
    "verify",
    "verify_all",
]
