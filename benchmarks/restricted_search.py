"""What filters and access labels cost: processor time of searches with and without, interleaved, on one index.

    python benchmarks/restricted_search.py --chunks 100000

Chunks have random unit vectors and short texts of a vocabulary with a long tail, ten to a document; documents have a
year, one of 50 products and, every other one, one of ten labels. Queries are random too, so that no encoder takes part.
`view` is the first use of a filter or of labels in a snapshot, `again` every later one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from index.documents.chunking import Chunk
from index.documents.document import Document
from index.encoders.encoder import Progress, Vectors
from index.refresh.refresh import refresh
from index.search.search import search
from index.search.settings import MODES, SearchSettings
from index.store.filters import Filter, Labels, parse_filter
from index.store.snapshot import Snapshot

DIMENSION = 384
PER_DOCUMENT = 10
CASES: tuple[tuple[str, dict[str, Any] | None, Labels], ...] = (
    ("unrestricted", None, None),
    ("filter, all rows pass", {"year": {"gte": 0}}, None),
    ("filter, 1 in 2", {"year": {"gte": 2021}}, None),
    ("filter, 1 in 50", {"product": "product 7"}, None),
    ("filter by pattern", {"document": {"glob": "0*7.md"}}, None),
    ("labels, 6 in 10", None, frozenset({"label 1", "label 3"})),
    ("labels and filter", {"year": {"gte": 2021}}, frozenset({"label 1", "label 3"})),
)


class RandomEncoder:
    """Unit vectors that depend on the text alone."""

    source = fingerprint = "random"
    dimension, max_tokens, tokenizer = DIMENSION, 256, None

    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        draw = np.random.default_rng(len(texts))
        vectors = draw.standard_normal((len(texts), DIMENSION), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self.encode_passages(texts)


def build(folder: Path, chunks: int, encoder: RandomEncoder) -> Snapshot:
    draw = np.random.default_rng(0)
    documents = [
        Document.of(
            f"{number:07d}.md",
            f"document {number}",
            metadata={"year": 2020 + number % 2, "product": f"product {number % 50}"},
            labels=(f"label {number % 20}",) if number % 2 else (),
        )
        for number in range(chunks // PER_DOCUMENT)
    ]

    def cut(document: Document, *_: Any, **__: Any) -> list[Chunk]:
        words = np.minimum(draw.zipf(1.3, (PER_DOCUMENT, 40)), 50_000)
        return [
            Chunk(
                document.id, document.title, (document.title,), place * 10, place * 10 + 9,
                " ".join(f"w{word}" for word in row), draw.bytes(32).hex(), None, document.metadata, document.labels,
            )
            for place, row in enumerate(words)
        ]  # fmt: skip

    with (
        patch("index.refresh.refresh.read_documents", lambda *_, **__: (documents, [])),
        patch("index.refresh.refresh.chunk_document", cut),
    ):
        refresh(folder, folder, encoder)
    return Snapshot.open(folder)


def processor_ms(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    encoder = RandomEncoder()
    with tempfile.TemporaryDirectory() as name:
        snapshot = build(Path(name), arguments.chunks, encoder)
        cases: list[tuple[str, Filter | None, Labels]] = [
            (title, parse_filter(value) if value is not None else None, labels) for title, value, labels in CASES
        ]
        first = {title: processor_ms(lambda f=f, n=n: snapshot.view(n, f)) for title, f, n in cases}  # type: ignore[misc]
        again = {title: processor_ms(lambda f=f, n=n: snapshot.view(n, f)) for title, f, n in cases}  # type: ignore[misc]
        spent: dict[tuple[str, str], list[float]] = {}
        for number in range(arguments.rounds + 1):
            query = f"w{number + 1} w{7 * number + 20} w{31 * number + 200}"
            for mode in MODES:
                for title, narrowed, labels in cases:
                    taken = processor_ms(
                        lambda m=mode, q=query, f=narrowed, n=labels: search(
                            snapshot, encoder, [q], SearchSettings(k=10, mode=m), filter=f, labels=n
                        )
                    )
                    if number:  # the first round builds what is built lazily
                        spent.setdefault((title, mode), []).append(taken)
        rows = [
            {
                "case": title,
                "visible": snapshot.view(labels, narrowed).count,
                "view_ms": round(first[title], 3),
                "again_ms": round(again[title], 3),
                **{f"{mode}_ms": round(float(np.median(spent[title, mode])), 3) for mode in MODES},
            }
            for title, narrowed, labels in cases
        ]
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
