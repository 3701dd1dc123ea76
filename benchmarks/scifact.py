"""Quality of search on SciFact (BEIR): nDCG@10 and Recall@100 of dense, lexical and hybrid search.

    python benchmarks/scifact.py --data FOLDER                  the packaged encoder, on the 300 test queries
    python benchmarks/scifact.py --data FOLDER --encoder DIR    another encoder
    python benchmarks/scifact.py --data FOLDER --tune           settings of the fusion and of BM25, on the train queries
    python benchmarks/scifact.py --data FOLDER --search rrf_k=10    with settings that it found
    python benchmarks/scifact.py --data FOLDER --train          train the encoder on the train queries, then measure it
    python benchmarks/scifact.py --data FOLDER --train --no-test --training validation_share=0.25 epochs=3
                                                                try a recipe on a held-out quarter of the train queries

FOLDER holds corpus.jsonl, queries.jsonl and qrels/{train,test}.tsv. Everything goes through the same code as the
commands: documents are files in a folder, cut into chunks, indexed and searched. A document stands where its best chunk
stands. The indexes stay in --cache, so that a second run encodes queries only. Test queries are only ever measured on:
defaults, `--tune` and `--train` know the train queries alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from index.errors import CorruptSnapshot
from index.search.search import search
from index.search.settings import SearchSettings
from index.store.lexical import K1, B
from index.store.snapshot import Snapshot
from ragft.artifacts import hash_model
from ragft.config import Config
from ragft.console import Reporter, prepare_process
from ragft.data.jsonl import to_lines
from ragft.evaluate.ranking import ndcg, recall
from ragft.evaluate.statistics import estimates
from ragft.pipeline import Retriever
from ragft.stages.application import Application
from ragft.stages.index import refresh

MODES = ("dense", "lexical", "hybrid")
DEEP = 400
"""Chunks that are read for Recall@100: enough for 100 documents."""
SHALLOW = 50
"""Chunks that are read for nDCG@10: as deep as search reads each ranking for the fusion."""

Qrels = dict[str, frozenset[str]]


class SciFact:
    """The data set on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queries = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl")}
        self.train, self.test = (self._qrels(part) for part in ("train", "test"))

    def _qrels(self, part: str) -> Qrels:
        found: dict[str, set[str]] = defaultdict(set)
        for line in (self.folder / "qrels" / f"{part}.tsv").read_text().splitlines()[1:]:
            query, document, relevance = line.split("\t")
            if int(relevance) > 0:
                found[query].add(f"{document}.md")
        return {query: frozenset(documents) for query, documents in found.items()}

    def write_documents(self, folder: Path) -> Path:
        """Every abstract as a Markdown file under its title."""
        folder.mkdir(parents=True, exist_ok=True)
        for row in _rows(self.folder / "corpus.jsonl"):
            path = folder / f"{row['_id']}.md"
            if not path.exists():
                path.write_text(f"# {' '.join(row['title'].split())}\n\n{row['text']}\n", encoding="utf-8")
        return folder

    def write_pairs(self, path: Path) -> Path:
        """The train queries as pairs; those that share a document are one group."""
        leader: dict[str, str] = {}

        def find(name: str) -> str:
            while leader.setdefault(name, name) != name:
                name = leader[name]
            return name

        for documents in self.train.values():
            first, *others = sorted(documents)
            for other in others:
                leader[find(other)] = find(first)
        path.write_bytes(
            to_lines(
                {"id": query, "question": self.queries[query], "sources": sorted(found), "group": find(min(found))}
                for query, found in self.train.items()
            )
        )
        return path


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def indexed(
    documents: Path, cache: Path, encoder: str, searching: Sequence[str] = (), training: Sequence[str] = ()
) -> tuple[Application, Snapshot]:
    """An index of the documents in a workspace of the encoder's own, built where it is missing or out of date."""
    recipe = {"validation_share": 0.1, **_keys(training)}
    config = Config(
        name="scifact",
        index={
            "documents": {"folder": documents},
            "encoder": {"model": encoder, "training": recipe},
            "search": _keys(searching),
        },
        data={"examples": cache / "none", "questions": cache / "none"},
    )
    app = Application(config, Reporter())
    workspace = cache / hash_model(app.encoder_folder)
    app = Application(config.model_copy(update={"workspace": workspace}), app.reporter)
    try:
        refresh(app)
    except CorruptSnapshot:  # another version of this program cut it or counted its terms
        refresh(app, rebuild=True)
    return app, Snapshot.open(app.index_root)


def _keys(settings: Sequence[str]) -> dict[str, str]:
    return dict(setting.split("=", 1) for setting in settings)


def by_document(chunk_ids: Sequence[str]) -> list[str]:
    """Documents in the order of their best chunks."""
    return list(dict.fromkeys(chunk.rpartition("#")[0] for chunk in chunk_ids))


def figures(app: Application, snapshot: Snapshot, data: SciFact, qrels: Qrels) -> dict[str, dict[str, list[float]]]:
    """nDCG@10 and Recall@100 of every mode, query by query, as the configuration searches."""
    queries = [data.queries[query] for query in qrels]
    gold = [[frozenset((document,)) for document in sorted(documents)] for documents in qrels.values()]
    measured: dict[str, dict[str, list[float]]] = {}
    for mode in MODES:
        settings = replace(app.config.index.search.settings(), mode=mode)
        retriever = Retriever(snapshot, app.encoder, settings)
        shallow, deep = (
            [by_document([hit.chunk_id for hit in found.hits]) for found in retriever.search(queries, k)]
            for k in (SHALLOW, DEEP)
        )
        measured[mode] = {
            "nDCG@10": [ndcg(ranking, known, 10) for ranking, known in zip(shallow, gold, strict=True)],
            "Recall@100": [recall(ranking, known, 100) for ranking, known in zip(deep, gold, strict=True)],
        }
    return measured


def show(title: str, measured: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Print the means with their 95 % intervals, and return them."""
    table = Table(title, "nDCG@10", "95 %", "Recall@100")
    means = {}
    for mode, scores in measured.items():
        columns = np.array([scores["nDCG@10"], scores["Recall@100"]]).T
        gain, found = estimates(columns, bounds=[(0.0, 1.0)] * 2)
        table.add_row(mode, f"{gain.mean:.4f}", f"{gain.low:.3f} to {gain.high:.3f}", f"{found.mean:.4f}")
        means[mode] = {"nDCG@10": float(gain.mean or 0), "Recall@100": float(found.mean or 0)}
    Console().print(table)
    return means


def tune(app: Application, snapshot: Snapshot, data: SciFact) -> dict[str, Any]:
    """nDCG@10 on the train queries over settings of BM25, and of the fusion with BM25 as it is by default."""
    queries = [data.queries[query] for query in data.train]
    gold = [[frozenset((document,)) for document in sorted(documents)] for documents in data.train.values()]

    def quality(rankings: Sequence[Sequence[str]]) -> float:
        return float(np.mean([ndcg(by_document(r), known, 10) for r, known in zip(rankings, gold, strict=True)]))

    def chunks(mode: str, bm25: tuple[float, float] = (K1, B)) -> list[list[str]]:
        found = search(snapshot, app.encoder, queries, SearchSettings(k=200, mode=mode, bm25=bm25))
        return [[hit.chunk_id for hit in hits] for hits in found]

    bm25 = {(k1, b): quality(chunks("lexical", (k1, b))) for k1 in (0.6, 0.9, 1.2, 1.5) for b in (0.3, 0.4, 0.6, 0.75)}
    dense, lexical = chunks("dense"), chunks("lexical")
    fusion: dict[tuple[float, int, int], float] = {}
    for weight, rrf_k, depth in itertools.product((0.5, 0.75, 1.0, 1.5, 2.0), (5, 10, 20, 40, 60), (20, 50, 100, 200)):
        fused = []
        for near, spelt in zip(dense, lexical, strict=True):
            scores: dict[str, float] = defaultdict(float)
            for share, ranking in ((weight, near), (1.0, spelt)):
                for rank, chunk in enumerate(ranking[:depth], start=1):
                    scores[chunk] += share / (rrf_k + rank)
            fused.append(sorted(scores, key=lambda chunk: (-scores[chunk], chunk)))
        fusion[weight, rrf_k, depth] = quality(fused)
    for title, found, default in (("k1, b", bm25, (K1, B)), ("dense weight, rrf_k, depth", fusion, (1.0, 60, 50))):
        table = Table(title, "nDCG@10 on train")
        best = sorted(found, key=lambda key: -found[key])[:8]
        for key in best:
            table.add_row(", ".join(map(str, key)), f"{found[key]:.4f}")
        table.add_row(f"default: {', '.join(map(str, default))}", f"{found[default]:.4f}")
        Console().print(table)
    return {"bm25": {str(key): value for key, value in bm25.items()}, "fusion": {str(k): v for k, v in fusion.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--cache", type=Path, default=Path("workspace/scifact"), help="folder of the indexes")
    parser.add_argument("--encoder", default="all-minilm-l6-v2", help="folder or name of the encoder")
    parser.add_argument("--tune", action="store_true", help="look for settings on the train queries; measures no test")
    parser.add_argument(
        "--search", nargs="*", default=[], metavar="KEY=VALUE", help="keys of index.search that --tune found: rrf_k=10"
    )
    parser.add_argument("--train", action="store_true", help="train the encoder first, on the train queries")
    parser.add_argument(
        "--training", nargs="*", default=[], metavar="KEY=VALUE", help="keys of index.encoder.training, as in epochs=2"
    )
    parser.add_argument("--no-test", action="store_true", help="measure nothing on the test queries")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    prepare_process()
    data = SciFact(arguments.data)
    documents = data.write_documents(arguments.cache / "documents")
    app, snapshot = indexed(documents, arguments.cache, arguments.encoder, arguments.search, arguments.training)
    results: dict[str, Any] = {}
    if arguments.tune:
        results["tune"] = tune(app, snapshot, data)
    elif not arguments.no_test:
        results[arguments.encoder] = show(f"test, {arguments.encoder}", figures(app, snapshot, data, data.test))
    if arguments.train:
        from ragft.evaluate.encoders import figures_table, verdict
        from ragft.stages.encoder import train_encoder

        artifact = train_encoder(app, data.write_pairs(arguments.cache / "pairs.jsonl"))
        Console().print(figures_table(artifact))
        Console().print(verdict(artifact), markup=False)
        results["held out"] = artifact.figures
        if not arguments.no_test:
            app, snapshot = indexed(documents, arguments.cache, str(artifact.folder / "encoder"), arguments.search)
            results["trained"] = show("test, trained", figures(app, snapshot, data, data.test))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
