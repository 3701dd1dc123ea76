"""Query latency of the index, in one thread, beside raw FAISS, as it grows: dense, lexical and hybrid.

    python benchmarks/search.py [--sizes 10000 100000] [--large] [--embed 20000] [--json FILE] [--svg FILE]

Text, queries and the first `--embed` vectors are real (see real_vectors.py); vectors beyond that are made from real
ones, and where there are more rows than real passages, texts repeat. Each row of the table says how many of its vectors
are real; `--embed` embeds more (about 10 minutes for 20,000 passages on two cores; kept in `--cache`).

Times are processor time of one thread and of the query alone: the vector of the query is given, the hits come out. The
modes, hybrid search with each kind of `expand`, and the floor, a search in a plain FAISS flat index of the same
vectors, take turns query by query. Recall is the share of the true ten nearest, by queries that were never indexed.
Opening is a new mapping of files that are in the page cache, imports aside. Where the environment sets
OPENBLAS_CORETYPE or OPENBLAS_L2_SIZE, unset them first.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from real_vectors import Corpus, enlarge, load
from rich.console import Console
from rich.table import Table

from index.documents.chunking import Chunk, ChunkSettings
from index.documents.document import Document
from index.encoders.encoder import Progress, Vectors
from index.search.search import search
from index.search.settings import NEIGHBOURS, SECTION, SearchSettings
from index.store.folder import make_live
from index.store.kinds import FLAT, FLAT_FP16, HNSW, IVF, VectorSettings
from index.store.snapshot import Snapshot, document_table
from index.store.writer import SnapshotWriter

K = 10
COLUMNS = ("size", "real_vectors", "kind", "open_ms", "first_query_ms", "floor_ms", "dense_ms", "dense_p95_ms",
           "lexical_ms", "hybrid_ms", "hybrid_p95_ms", "hybrid_p99_ms", "neighbours_ms", "section_ms", "recall_at_10",
           "told_recall", "build_s", "bytes")  # fmt: skip
_COLOURS = {FLAT: "#666", FLAT_FP16: "#06c", HNSW: "#c30", IVF: "#090"}


class GivenVectors:
    """Stands for the encoder: the vectors of the queries are known, so that they cost nothing."""

    source = "given vectors"
    fingerprint = "0" * 64
    max_tokens = 1_000_000
    """So many that no query is cut, which would need a tokenizer."""
    tokenizer = None

    def __init__(self, corpus: Corpus) -> None:
        self.dimension = corpus.vectors.shape[1]
        self._known = dict(zip(corpus.queries, corpus.query_vectors, strict=True))

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._known[text] for text in texts])

    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        raise NotImplementedError


def rows_of(corpus: Corpus, vectors: Vectors) -> tuple[list[Chunk], Vectors]:
    """A chunk for each vector, in the order of document and position; texts repeat in further documents if need be."""
    rounds = range(-(-len(vectors) // len(corpus.chunks)))
    chunks = [replace(chunk, document_id=f"{turn}/{chunk.document_id}") for turn in rounds for chunk in corpus.chunks]
    order = sorted(range(len(vectors)), key=lambda row: (chunks[row].document_id, chunks[row].start, chunks[row].end))
    return [chunks[row] for row in order], vectors[order]


def build(root: Path, chunks: list[Chunk], vectors: Vectors, encoder: GivenVectors, kind: str) -> float:
    """Write an index of one segment; seconds of processor time."""
    begin = time.process_time()
    settings = VectorSettings(kind, min_rows_for_ann=1)
    writer = SnapshotWriter(root, "0" * 16, None, encoder, ChunkSettings(128), settings)
    documents = [Document.of(name, "-") for name in sorted({chunk.document_id for chunk in chunks})]
    make_live(root, writer.write(None, set(), chunks, vectors, document_table(documents)))
    return time.process_time() - begin


def measure(
    root: Path, corpus: Corpus, encoder: GivenVectors, floor: Any, truth: Sequence[set[int]], queries: int
) -> dict[str, Any]:
    opened, first = [], []
    for _ in range(5):
        begin = time.process_time()
        snapshot = Snapshot.open(root)
        opened.append(time.process_time() - begin)
        begin = time.process_time()
        search(snapshot, encoder, corpus.queries[:1], SearchSettings(k=K))
        first.append(time.process_time() - begin)
    runs: dict[str, Callable[[str, Vectors], object]] = {"floor": lambda text, vector: floor.search(vector, K)}
    for mode in ("dense", "lexical", "hybrid"):
        settings = SearchSettings(k=K, mode=mode)
        runs[mode] = lambda text, vector, settings=settings: search(snapshot, encoder, [text], settings)
    for expand in (NEIGHBOURS, SECTION):
        settings = SearchSettings(k=K, expand=expand)
        runs[expand] = lambda text, vector, settings=settings: search(snapshot, encoder, [text], settings)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number, text in enumerate(corpus.queries[:queries]):
        vector = corpus.query_vectors[number : number + 1]
        for name, run in runs.items():
            begin = time.process_time()
            run(text, vector)
            times[name].append(1e3 * (time.process_time() - begin))
    segment = snapshot.segments[0].vectors
    found = segment.search(corpus.query_vectors[: len(truth)], K)
    recall = np.mean([len(set(rows.tolist()) & best) / K for rows, best in zip(found, truth, strict=True)])
    figures: dict[str, Any] = {
        "open_ms": 1e3 * float(np.median(opened)),
        "first_query_ms": 1e3 * float(np.median(first)),
        "recall_at_10": float(recall),
        "told_recall": snapshot.manifest.segments[0].vectors.recall,
        "vectors": str(snapshot.manifest.segments[0].vectors),
        "bytes": sum(entry.bytes for entry in snapshot.manifest.files.values()),
    }
    for name, values in times.items():
        p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
        figures |= {f"{name}_ms": p50, f"{name}_p95_ms": p95, f"{name}_p99_ms": p99}
    return figures


def svg(rows: Sequence[dict[str, Any]]) -> str:
    """Dense p50 against size, both on logarithmic scales, a line for each kind."""
    sizes = [row["size"] for row in rows]
    times = [row["dense_ms"] for row in rows]
    left, right = np.log10(min(sizes)) - 0.1, np.log10(max(sizes)) + 0.1
    low, high = np.floor(np.log10(min(times))), np.ceil(np.log10(max(times)))

    def at(size: float, milliseconds: float) -> tuple[float, float]:
        across = 60 + 480 * (np.log10(size) - left) / (right - left)
        return round(across, 1), round(320 - 290 * (np.log10(milliseconds) - low) / (high - low), 1)

    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 360" font-family="sans-serif" font-size="12">']
    for power in range(int(low), int(high) + 1):
        _, y = at(min(sizes), 10.0**power)
        parts.append(
            f'<path d="M60 {y}H540" stroke="#ddd"/><text x="52" y="{y + 4}" text-anchor="end">{10.0**power:g}</text>'
        )
    for size in sorted(set(sizes)):
        x, _ = at(size, 10.0**low)
        parts.append(f'<text x="{x}" y="338" text-anchor="middle">{size:,}</text>')
    for kind, colour in _COLOURS.items():
        points = sorted(at(row["size"], row["dense_ms"]) for row in rows if row["kind"] == kind)
        if points:
            line = " ".join(f"{x},{y}" for x, y in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points]
            parts.append(f'<text x="{points[-1][0] + 8}" y="{points[-1][1] + 4}" fill="{colour}">{kind}</text>')
    parts.append(
        '<text x="60" y="18">dense query, p50, ms of one thread</text><text x="300" y="355">passages</text></svg>'
    )
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="passages")
    parser.add_argument("--large", action="store_true", help="1,000,000 passages too (needs about 8 GB of memory)")
    parser.add_argument("--embed", type=int, default=20_000, help="real vectors; the others are made from them")
    parser.add_argument("--kinds", nargs="+", default=[FLAT, FLAT_FP16, HNSW, IVF], help="kinds of index")
    parser.add_argument("--queries", type=int, default=300, help="timed queries, at most 1,000")
    parser.add_argument("--documents", type=Path, nargs="*", default=[], help="folders of further documents")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "ragft-bench", help="of embeddings")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--svg", type=Path, help="write the growth curve there")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    sizes = sorted({*arguments.sizes, *([1_000_000] if arguments.large else [])})
    corpus = load(min(max(sizes), 100_000), arguments.embed, arguments.cache, arguments.documents)
    encoder = GivenVectors(corpus)
    every = enlarge(corpus.vectors, max(sizes))
    rows = []
    for size in sizes:
        chunks, vectors = rows_of(corpus, every[:size])
        floor = faiss.IndexFlatIP(vectors.shape[1])
        floor.add(vectors)
        truth = [set(best.tolist()) for best in floor.search(corpus.query_vectors[:500], K)[1]]
        for kind in arguments.kinds:
            if kind == FLAT and size > 200_000:
                continue  # the floor is this
            with tempfile.TemporaryDirectory() as folder:
                seconds = build(Path(folder), chunks, vectors, encoder, kind)
                figures = measure(Path(folder), corpus, encoder, floor, truth, arguments.queries)
            real = min(size, len(corpus.vectors))
            rows.append({"size": size, "real_vectors": real, "kind": kind, "build_s": seconds, **figures})
            print(json.dumps(rows[-1]), flush=True)
    table = Table(*(column.replace("_", " ") for column in COLUMNS))
    for row in rows:
        table.add_row(*(f"{row[c]:.3f}" if isinstance(row[c], float) else str(row[c]) for c in COLUMNS))
    Console(width=200).print(table)
    print(
        f"{len(corpus.chunks)} real passages ({corpus.bytes / 1e6:.1f} MB), {len(corpus.vectors)} real vectors; "
        "vectors beyond these are MADE: real ones moved by half the difference of two of their neighbours"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    if arguments.svg:
        arguments.svg.write_text(svg(rows))


if __name__ == "__main__":
    main()
