"""Encoding speed beside sentence-transformers' default `encode` (float32, batches of 32), on the same chunks.

    python benchmarks/encoding.py [--texts 512] [--threads 1] [--rounds 5] [--json FILE]

The texts are docstrings of installed packages, cut by the index's own chunker, in an order that depends on nothing but
them. The engines take turns in one process, so that whatever else the machine does meets all of them; a ratio is taken
inside a round. OpenVINO takes part where it is installed. Top-10 overlap: for every text, how many of its ten nearest
among the others are the same as by the float32 vectors of sentence-transformers.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from blake3 import blake3
from rich.console import Console
from rich.table import Table

from index.documents.chunking import chunk_document
from index.documents.document import Document
from index.encoders.encoder import Encoder
from ragft.models import cache_folder, resolve_encoder

PACKAGES = ("torch", "transformers", "numpy", "sentence_transformers", "litestar", "pydantic", "scipy")
NEAREST = 10
SHORTEST = 40
"""Characters of a docstring that counts as prose."""

Vectors = npt.NDArray[np.float32]
Engine = Callable[[list[str]], Vectors]


def docstrings() -> Iterator[tuple[str, str]]:
    """A name and the docstrings of one installed module after another, as in a reference manual.

    In the order of the hash of their names: any first part is a fair sample, and the rest need not be parsed.
    """
    root = Path(sysconfig.get_paths()["purelib"])
    names = [path.relative_to(root).as_posix() for package in PACKAGES for path in (root / package).rglob("*.py")]
    for name in sorted(names, key=lambda name: blake3(name.encode()).digest()):
        try:
            tree = ast.parse((root / name).read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))]
        texts = [text for node in nodes if (text := ast.get_docstring(node)) and len(text) >= SHORTEST]
        if texts:
            yield name, "\n\n".join(texts)


def chunks(tokenizer: Any, window: int, count: int) -> list[str]:
    """Passages as a refresh would embed them; the same on every machine with these packages."""
    passages: dict[str, str] = {}
    for name, text in docstrings():
        for chunk in chunk_document(Document.of(name, text), tokenizer, window):
            passages[chunk.hash] = chunk.passage
        if len(passages) >= 4 * count:
            break
    return [passages[key] for key in sorted(passages)][:count]


def engines(folder: Path, dtype: str) -> dict[str, Engine]:
    """What is compared, by name; the first is what the others are compared with."""
    from sentence_transformers import SentenceTransformer

    default = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    found: dict[str, Engine] = {"sentence-transformers": lambda texts: default.encode(texts, normalize_embeddings=True)}
    ours = Encoder(folder, dtype=dtype)
    found[f"ragft ({ours.engine}, {ours.dtype})"] = ours.encode_passages
    if importlib.util.find_spec("openvino"):
        other = Encoder(folder, dtype=dtype, backend="openvino", cache=cache_folder())
        found[f"ragft ({other.engine}, {other.dtype})"] = other.encode_passages
    return found


def nearest(vectors: Vectors) -> npt.NDArray[np.int64]:
    """The rows nearest to every row, itself left out: (n, NEAREST)."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return np.argpartition(-scores, NEAREST, axis=1)[:, :NEAREST]


def agreement(reference: Vectors, vectors: Vectors) -> dict[str, float]:
    """Cosines and top-10 overlap of vectors of the same texts."""
    cosine = (reference * vectors).sum(axis=1)
    pairs = zip(nearest(reference), nearest(vectors), strict=True)
    overlap = [len(set(theirs) & set(ours)) / NEAREST for theirs, ours in pairs]
    return {
        "cosine_mean": float(cosine.mean()),
        "cosine_min": float(cosine.min()),
        "top10_overlap": statistics.fmean(overlap),
    }


def measure(engine: Engine, texts: list[str]) -> tuple[float, float]:
    """Texts a second by the wall clock, and a second of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    engine(texts)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return len(texts) / wall, len(texts) / cpu


def compare(folder: Path, texts: list[str], rounds: int, dtype: str) -> dict[str, dict[str, Any]]:
    """Figures of every engine, by name."""
    tried = engines(folder, dtype)
    base = next(iter(tried))
    vectors = {name: np.asarray(engine(texts), dtype=np.float32) for name, engine in tried.items()}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in tried}
    for number in range(rounds):
        names = list(tried) if number % 2 == 0 else list(tried)[::-1]
        for name in names:
            rates[name].append(measure(tried[name], texts))
    figures: dict[str, dict[str, Any]] = {}
    for name, measured in rates.items():
        figures[name] = agreement(vectors[base], vectors[name])
        for place, clock in enumerate(("wall", "cpu")):
            ratios = [own[place] / theirs[place] for own, theirs in zip(measured, rates[base], strict=True)]
            figures[name][f"texts_per_{clock}_second"] = statistics.median(rate[place] for rate in measured)
            figures[name][f"ratio_{clock}"] = {
                "median": statistics.median(ratios),
                "low": min(ratios),
                "high": max(ratios),
            }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=512, help="chunks to encode (default: 512)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of every engine (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each engine takes its turn (default: 5)")
    parser.add_argument("--encoder", default="all-minilm-l6-v2", help="as index.encoder")
    parser.add_argument("--dtype", default="auto", help="number format of our engines (default: auto)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    if arguments.texts <= NEAREST:
        sys.exit(f"--texts is {arguments.texts}; the overlap of the {NEAREST} nearest needs more than {NEAREST}.")

    import torch

    torch.set_num_threads(arguments.threads)
    folder = resolve_encoder(arguments.encoder)
    encoder = Encoder(folder)
    texts = chunks(encoder.tokenizer, encoder.max_tokens, arguments.texts)
    tokens = statistics.fmean(len(ids) for ids in encoder.tokenizer(texts)["input_ids"])
    del encoder
    figures = compare(folder, texts, arguments.rounds, arguments.dtype)
    table = Table(title=f"{len(texts)} chunks of {tokens:.0f} tokens in the mean, {arguments.threads} thread(s)")
    for column in ("engine", "texts/s", "texts/CPU s", "x wall", "x CPU", "(spread)", "cosine", "least", "top-10"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for name, of in figures.items():
        wall, cpu = of["ratio_wall"], of["ratio_cpu"]
        table.add_row(
            name,
            f"{of['texts_per_wall_second']:.1f}",
            f"{of['texts_per_cpu_second']:.1f}",
            f"{wall['median']:.2f}",
            f"{cpu['median']:.2f}",
            f"{cpu['low']:.2f} to {cpu['high']:.2f}",
            f"{of['cosine_mean']:.6f}",
            f"{of['cosine_min']:.5f}",
            f"{of['top10_overlap']:.4f}",
        )
    Console(width=140).print(table)
    if arguments.json:
        report = {"texts": len(texts), "tokens_mean": tokens, "threads": arguments.threads, "engines": figures}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
