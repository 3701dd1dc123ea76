"""What a refresh of 1 % changed documents costs: ours, and others on the same change set with the same vectors.

Documents of ten sections; of 1 % of them one section changes, 0.5 % are new and 0.5 % gone (`ragft, 1 %`: only the
first; `told`: the refresh is told the files' names, as the others are; `told 1`: of one document). The encoder costs
nothing (vectors are known beforehand, or their time is taken off); what is timed is finding the changes, cutting,
tokenising for BM25, writing and forcing to disk. Others get the chunks ready-made, which spares them reading and
cutting; those that do not find changes themselves (Chroma, LanceDB) are told what changed. CPU time is of the process.

    python benchmarks/refresh.py [--chunks 10000 100000] [--rounds 5] [--peers-python VENV/bin/python] [--json FILE]

`--peers-python` names an interpreter with langchain-classic, langchain-community, llama-index-core, chromadb, lancedb
and faiss-cpu; a peer that is not installed there is skipped, and said so. `--chain N` adds N refreshes in a row, which
shows what merging segments costs in the mean.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SECTIONS = 10
DIMENSION = 384
WORDS_PER_SECTION = 90
PEERS = ("langchain", "llama-index", "chroma", "lancedb")


def section(document: int, number: int, version: int) -> str:
    """Text of one section: words with the frequencies of a natural language (Zipf), the same in every process."""
    seeded = np.random.default_rng([document, number, version])
    words = " ".join(f"w{rank}" for rank in np.minimum(seeded.zipf(1.3, WORDS_PER_SECTION), 60_000))
    return f"{words} document {document} edition {version}."


def pages(documents: int, version: int, moved: bool) -> dict[str, list[str]]:
    """Sections of every document; version 0 is what is indexed first. Moved: 0.5 % are new and 0.5 % gone."""
    changed, half = documents // 100, documents // 200
    found = {}
    for number in range(documents + (half if moved else 0)):
        if moved and documents // 2 <= number < documents // 2 + half:
            continue
        edition = version if number < changed else 0
        found[f"{number // 100:03d}/{number:06d}.md"] = [
            section(number, place, edition if place == 3 else 0) for place in range(SECTIONS)
        ]
    return found


def vector(text: str) -> np.ndarray:
    """A unit vector that depends on the text alone."""
    from hashlib import blake2b

    seed = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
    found = np.random.default_rng(seed).standard_normal(DIMENSION, dtype=np.float32)
    return found / np.linalg.norm(found)


class Known:
    """Vectors computed beforehand, and how many were asked for."""

    def __init__(self) -> None:
        self.vectors: dict[str, np.ndarray] = {}
        self.asked = 0

    def learn(self, texts: list[str]) -> None:
        for text in texts:
            if text not in self.vectors:
                self.vectors[text] = vector(text)

    def of(self, texts: list[str]) -> np.ndarray:
        self.asked += len(texts)
        return np.stack([self.vectors[text] for text in texts])


class Timer:
    """CPU and wall time of a block, in milliseconds."""

    def __enter__(self) -> Timer:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu = 1e3 * (time.process_time() - self._cpu)
        self.wall = 1e3 * (time.perf_counter() - self._wall)


# --- ours


def write_pages(folder: Path, wanted: dict[str, list[str]], before: dict[str, list[str]]) -> None:
    """Make the folder hold these documents, touching only what changes."""
    for name in before.keys() - wanted.keys():
        (folder / name).unlink()
    for name, sections in wanted.items():
        if before.get(name) != sections:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(as_markdown(name, sections))


def as_markdown(name: str, sections: list[str]) -> str:
    body = "".join(f"## Part {place}\n\n{text}\n\n" for place, text in enumerate(sections))
    return f"# Document {Path(name).stem}\n\n{body}"


def ours(documents: int, rounds: int, chain: int) -> list[dict[str, Any]]:
    """Refresh again and again, each time to another edition: of 1 % only, and then of the whole change set."""
    from index.refresh.refresh import RefreshSettings, refresh
    from index.search.search import search
    from index.search.settings import SearchSettings
    from index.store.snapshot import Snapshot

    sys.path += [
        str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")
    ]  # tests has an `index`, too
    from support.indexes import WordTokenizer

    class Encoder:
        dimension, max_tokens, source, fingerprint = DIMENSION, 256, "precomputed", "0" * 64
        tokenizer = WordTokenizer()

        def __init__(self) -> None:
            self.asked = 0
            self.cpu = 0.0

        def encode_passages(self, texts: list[str], progress: Any = None) -> np.ndarray:
            self.asked += len(texts)
            with Timer() as spent:
                found = np.stack([vector(text) for text in texts])
            self.cpu += spent.cpu
            return found

        def encode_queries(self, texts: list[str]) -> np.ndarray:
            return np.stack([vector(text) for text in texts])

    encoder = Encoder()
    with tempfile.TemporaryDirectory() as temporary:
        root, folder = Path(temporary, "index"), Path(temporary, "documents")
        now = pages(documents, 0, False)
        write_pages(folder, now, {})
        time.sleep(2.5)  # younger files would be read again: see index.unchanged
        refresh(root, folder, encoder)
        kinds = ("ragft, 1 %", "told, 1 %", "ragft", "told", "told 1")
        # In turns, and in the other order every second time, so that a growing history meets all alike.
        turns = [kind for number in range(rounds) for kind in (kinds if number % 2 == 0 else kinds[::-1])]
        measured: dict[str, list[dict[str, Any]]] = {kind: [] for kind in (*kinds, "chain")}
        moved = False
        for version, kind in enumerate([*turns, *["chain"] * chain], start=1):
            moved ^= kind in ("ragft", "told")
            wanted = pages(documents, version, moved)
            if kind == "told 1":
                name = next(iter(now))
                wanted = {**now, name: wanted[name]}
            names = [name for name in {*now, *wanted} if now.get(name) != wanted.get(name)]
            write_pages(folder, wanted, now)
            now, encoder.asked, encoder.cpu = wanted, 0, 0.0
            told = names if kind.startswith("told") else None
            with Timer() as spent:
                report = refresh(root, folder, encoder, RefreshSettings(keep_snapshots=10), told=told)
            segments = len(Snapshot.open(root).segments)
            steps = {name: round(1e3 * seconds, 1) for name, seconds in report.seconds.items()}
            measured[kind].append(
                {"cpu": spent.cpu - encoder.cpu, "wall": spent.wall - 1e3 * report.seconds["embed"],
                 "embedded": encoder.asked, "segments": segments, "steps": steps}
            )  # fmt: skip
        snapshot = Snapshot.open(root)
        new = section(0, 3, version)
        (top, *_) = search(snapshot, encoder, [new], SearchSettings(k=5, mode="lexical"))[0]
        correct = new in top.text and {entry.id for entry in snapshot.documents()} == now.keys()
        with Timer() as opening:
            Snapshot.open(root)
    found = []
    for name in kinds:
        items = measured[name]
        middle = sorted(items, key=lambda item: item["cpu"])[len(items) // 2]
        found.append(
            {"name": name, "cpu_ms": middle["cpu"], "wall_ms": sorted(item["wall"] for item in items)[len(items) // 2],
             "correct": correct, "embedded": middle["embedded"], "steps_wall_ms": middle["steps"],
             "open_cpu_ms": opening.cpu}
        )  # fmt: skip
    if chain:
        rest = [item["cpu"] for item in measured["chain"]]
        found[0]["chain"] = {
            "mean_cpu_ms": sum(rest) / len(rest), "max_cpu_ms": max(rest),
            "most_segments": max(item["segments"] for item in measured["chain"]),
        }  # fmt: skip
    return found


# --- others: each returns CPU and wall time of one refresh, texts embedded, and whether new is found and old is gone


def langchain(old: dict[str, list[str]], new: dict[str, list[str]], known: Known, place: Path) -> dict[str, Any]:
    import faiss
    from langchain_classic.indexes import SQLRecordManager
    from langchain_community.docstore.in_memory import InMemoryDocstore
    from langchain_community.vectorstores import FAISS
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.indexing import index

    class Precomputed(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return known.of(texts).tolist()  # type: ignore[no-any-return]

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    def documents(pages: dict[str, list[str]]) -> list[Any]:
        return [
            Document(page_content=text, metadata={"source": name}) for name, texts in pages.items() for text in texts
        ]

    manager = SQLRecordManager("benchmark", db_url=f"sqlite:///{place}/records.db")
    manager.create_schema()
    store = FAISS(Precomputed(), faiss.IndexFlatIP(DIMENSION), InMemoryDocstore(), {})
    options: dict[str, Any] = {"cleanup": "full", "source_id_key": "source", "key_encoder": "blake2b"}
    index(documents(old), manager, store, **options)
    store.save_local(str(place / "faiss"))
    known.asked = 0
    with Timer() as spent:
        index(documents(new), manager, store, **options)
        store.save_local(str(place / "faiss"))
    asked = known.asked
    return report(spent, asked, lambda text: [d.page_content for d in store.similarity_search(text, k=3)], old, new)


def llama_index(old: dict[str, list[str]], new: dict[str, list[str]], known: Known, place: Path) -> dict[str, Any]:
    from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
    from llama_index.core.schema import Document, TextNode, TransformComponent
    from llama_index.core.storage.docstore import SimpleDocumentStore
    from llama_index.core.vector_stores import SimpleVectorStore
    from llama_index.core.vector_stores.types import VectorStoreQuery

    class Cut(TransformComponent):
        def __call__(self, nodes: list[Any], **_: Any) -> list[Any]:
            found = []
            for node in nodes:
                for text in node.text.split("\n\n"):
                    piece = TextNode(text=text, embedding=known.of([text])[0].tolist())
                    piece.relationships = {"1": node.as_related_node_info()}  # type: ignore[dict-item]
                    found.append(piece)
            return found

    pipeline = IngestionPipeline(
        transformations=[Cut()], docstore=SimpleDocumentStore(), vector_store=SimpleVectorStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE, disable_cache=True,
    )  # fmt: skip

    def documents(pages: dict[str, list[str]]) -> list[Any]:
        return [Document(text="\n\n".join(texts), id_=name) for name, texts in pages.items()]

    pipeline.run(documents=documents(old))
    known.asked = 0
    with Timer() as spent:
        pipeline.run(documents=documents(new))
        pipeline.vector_store.persist(str(place / "vectors.json"))  # type: ignore[union-attr]
        pipeline.docstore.persist(str(place / "documents.json"))  # type: ignore[union-attr]
    asked, store = known.asked, pipeline.vector_store
    texts = {tuple(vector(text)[:4].tolist()): text for page in (*old.values(), *new.values()) for text in page}

    def find(text: str) -> list[str]:
        query = VectorStoreQuery(query_embedding=known.of([text])[0].tolist(), similarity_top_k=3)
        ids = store.query(query).ids  # type: ignore[union-attr]
        return [texts[tuple(np.float32(store.data.embedding_dict[key][:4]).tolist())] for key in ids]  # type: ignore[union-attr]

    return report(spent, asked, find, old, new)


def changes(old: dict[str, list[str]], new: dict[str, list[str]]) -> tuple[list[str], dict[str, list[str]]]:
    """Documents whose rows must go, and those to add: what a user of a bare vector store must find out himself."""
    stale = [name for name in old if old[name] != new.get(name)]
    return stale, {name: texts for name, texts in new.items() if old.get(name) != texts}


def chroma(old: dict[str, list[str]], new: dict[str, list[str]], known: Known, place: Path) -> dict[str, Any]:
    import chromadb

    client = chromadb.PersistentClient(str(place / "chroma"), chromadb.Settings(anonymized_telemetry=False))
    store = client.create_collection("benchmark", metadata={"hnsw:space": "ip"})

    def add(pages: dict[str, list[str]]) -> None:
        rows = [(f"{name}#{place}", name, text) for name, texts in pages.items() for place, text in enumerate(texts)]
        for first in range(0, len(rows), 5000):
            ids, names, texts = (list(column) for column in zip(*rows[first : first + 5000], strict=True))
            store.add(
                ids=ids, documents=texts, metadatas=[{"source": name} for name in names], embeddings=known.of(texts)
            )

    add(old)
    known.asked = 0
    with Timer() as spent:
        stale, fresh = changes(old, new)
        store.delete(where={"source": {"$in": stale}})
        add(fresh)
    asked = known.asked

    def find(text: str) -> list[str]:
        return list(store.query(query_embeddings=known.of([text]), n_results=3)["documents"][0])

    return report(spent, asked, find, old, new)


def lancedb(old: dict[str, list[str]], new: dict[str, list[str]], known: Known, place: Path) -> dict[str, Any]:
    import lancedb as lance
    import pyarrow as pa

    def rows(pages: dict[str, list[str]]) -> Any:
        names = [name for name, texts in pages.items() for _ in texts]
        texts = [text for texts in pages.values() for text in texts]
        vectors = pa.FixedSizeListArray.from_arrays(known.of(texts).ravel(), DIMENSION)
        return pa.table({"source": names, "text": texts, "vector": vectors})

    table = lance.connect(str(place / "lance")).create_table("benchmark", rows(old))
    known.asked = 0
    with Timer() as spent:
        stale, fresh = changes(old, new)
        table.delete("source IN ({})".format(", ".join(f"'{name}'" for name in stale)))
        table.add(rows(fresh))
    asked = known.asked

    def find(text: str) -> list[str]:
        return [row["text"] for row in table.search(known.of([text])[0]).limit(3).to_list()]

    return report(spent, asked, find, old, new)


def report(spent: Timer, asked: int, find: Any, old: dict[str, list[str]], new: dict[str, list[str]]) -> dict[str, Any]:
    """Figures of one peer; correct if what is new is found by its own text, and what is gone is not."""
    there = {text for texts in new.values() for text in texts}
    fresh = [text for texts in new.values() for text in texts if text not in {t for page in old.values() for t in page}]
    gone = [text for texts in old.values() for text in texts if text not in there]
    correct = all(text in find(text) for text in fresh[:5]) and not any(text in find(text) for text in gone[:5])
    return {"cpu_ms": spent.cpu, "wall_ms": spent.wall, "embedded": asked, "correct": correct}


def run_peer(name: str, documents: int) -> dict[str, Any]:
    """Run inside the interpreter of the peers."""
    old, new, known = pages(documents, 0, False), pages(documents, 1, True), Known()
    for texts in (*old.values(), *new.values()):
        known.learn(texts)
    work = {"langchain": langchain, "llama-index": llama_index, "chroma": chroma, "lancedb": lancedb}[name]
    with tempfile.TemporaryDirectory() as temporary:
        return {"name": name, **work(old, new, known, Path(temporary))}


def ask_peer(python: str, name: str, documents: int) -> dict[str, Any]:
    command = [python, __file__, "--peer", name, "--chunks", str(documents * SECTIONS)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    if ended.returncode:
        return {"name": name, "skipped": (ended.stderr.strip().splitlines() or ["no reason given"])[-1]}
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, nargs="+", default=[10_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chain", type=int, default=0)
    parser.add_argument("--peers-python")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        sys.stdout.write(json.dumps(run_peer(options.peer, options.chunks[0] // SECTIONS)) + "\n")
        return
    results = {}
    for chunks in options.chunks:
        documents = chunks // SECTIONS
        found = ours(documents, options.rounds, options.chain)
        if options.peers_python:
            found += [ask_peer(options.peers_python, name, documents) for name in PEERS]
        else:
            sys.stdout.write("Others are skipped: --peers-python names no interpreter.\n")
        results[chunks] = found
        sys.stdout.write(f"\n{chunks} chunks\n")
        for item in found:
            if "skipped" in item:
                sys.stdout.write(f"  {item['name']:12} skipped: {item['skipped']}\n")
                continue
            sys.stdout.write(
                f"  {item['name']:12} {item['cpu_ms']:9.1f} ms CPU {item['wall_ms']:9.1f} ms wall  "
                f"{item['embedded']:5} embedded  {'correct' if item['correct'] else 'WRONG'}\n"
            )
            if "steps_wall_ms" in item:
                sys.stdout.write(
                    f"  {'':12} wall by step {item['steps_wall_ms']}; open {item['open_cpu_ms']:.1f} ms CPU\n"
                )
            if "chain" in item:
                sys.stdout.write(f"  {'':12} {options.chain} more in a row: {item['chain']}\n")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
