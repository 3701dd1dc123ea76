"""From a folder of documents to the passages that answer a question.

    from index import Encoder, Snapshot, refresh, search

    encoder = Encoder("sentence-transformers/all-MiniLM-L6-v2")
    refresh("index-folder", "documents", encoder)
    hits = search(Snapshot.open("index-folder"), encoder, ["When does support end?"])

Knows files, text, vectors and the durability of what it writes. Knows nothing of language models, prompts or
serving. Importing it is cheap: FAISS, torch and sentence-transformers are loaded when they are first used.
"""

from index.documents.chunking import Chunk, Chunker, ChunkSettings, chunk_document
from index.documents.document import Document, Skipped
from index.documents.folder import read_documents
from index.documents.formats.settings import Fields, Limits, OcrSettings, ReadSettings
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
from index.refresh.planning import RefreshPlan
from index.refresh.refresh import RefreshReport, RefreshSettings, refresh
from index.search.search import Hit, search
from index.search.settings import SearchSettings
from index.store.filters import Filter, FilterError, Labels, parse_filter, parse_labels
from index.store.folder import current_id
from index.store.kinds import VectorSettings
from index.store.maintenance import compact, diff, gc, publish, rollback, verify, verify_all
from index.store.snapshot import Snapshot, SnapshotInfo, list_snapshots
from index.timings import Timings

__all__ = [
    "Chunk",
    "ChunkSettings",
    "Chunker",
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
    "OcrSettings",
    "ReadSettings",
    "RefreshPlan",
    "RefreshReport",
    "RefreshSettings",
    "Reranker",
    "SearchSettings",
    "Skipped",
    "Snapshot",
    "SnapshotInfo",
    "TextEncoder",
    "Timings",
    "TooManyRemovals",
    "VectorSettings",
    "Verdict",
    "chunk_document",
    "compact",
    "current_id",
    "diff",
    "gc",
    "list_snapshots",
    "parse_filter",
    "parse_labels",
    "publish",
    "read_documents",
    "refresh",
    "rollback",
    "search",
    "verify",
    "verify_all",
]
