"""Real text and its vectors for benchmarks of the index: gathered, embedded once, kept on disk, enlarged on request.

The text is prose that every machine with this project has: the docstrings of the installed Python packages and of the
standard library, and the HTML, Markdown and text files of any further folders (Debian's documentation, say). It is cut
by ragft's own chunker and embedded by the packaged encoder.

Queries are never indexed: the first sentences of passages of documents that are held out.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from index.documents.chunking import Chunk, chunk_document
from index.documents.document import Document
from index.documents.folder import read_documents
from index.encoders.encoder import Encoder, Vectors
from ragft.models import resolve_encoder

MAX_TOKENS = 128
MIN_DOCSTRING = 200
"""Characters: shorter ones ("Return the name.") repeat across packages and say nothing."""

HELD_OUT = 20
"""One document in so many is held out for queries."""

QUERIES = 1000


@dataclass(frozen=True)
class Corpus:
    """Real passages and queries, embedded.

    Attributes:
        chunks: Real passages.
        vectors: (embedded, dimension) float32, rows of unit length; of the first chunks.
        queries: Text of the queries.
        query_vectors: (queries, dimension) float32.
        bytes: Of the text that was indexed.
    """

    chunks: list[Chunk]
    vectors: Vectors
    queries: list[str]
    query_vectors: Vectors
    bytes: int


def gather(folders: list[Path]) -> Iterator[Document]:
    """Docstrings of installed modules, one document a module, then the documents of the folders."""
    roots = dict.fromkeys(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib"))
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            if "/tests/" in path.as_posix() or "site-packages" in path.relative_to(root).parts:
                continue
            found = docstrings(path)
            if found:
                name = path.relative_to(root).as_posix()
                yield Document.of(name, "\n\n".join(found))
    for folder in folders:
        yield from read_documents(folder)[0]


def docstrings(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
    return [text for text in found if len(text) >= MIN_DOCSTRING]


def load(size: int, embed: int, cache: Path, folders: list[Path] | None = None) -> Corpus:
    """At most `size` real passages, the first `embed` of them with vectors; embeds what the cache does not hold yet."""
    encoder = Encoder(resolve_encoder("all-minilm-l6-v2"))
    folders = [folder.resolve() for folder in folders or []]
    kept = cache / f"passages-{size}-{hashlib.sha256(str(folders).encode()).hexdigest()[:8]}.json"
    if kept.exists():
        content = json.loads(kept.read_text())
        chunks = [
            Chunk(**{**row, "heading_path": tuple(row["heading_path"]), "labels": ()}) for row in content["chunks"]
        ]
        questions = content["questions"]
    else:
        chunks, questions = _cut(size, folders, encoder)
        cache.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"chunks": [asdict(chunk) for chunk in chunks], "questions": questions}))
    rng = np.random.default_rng(0)
    picked = [questions[place] for place in rng.permutation(len(questions))[:QUERIES]]
    return Corpus(
        chunks,
        _embedded([chunk.passage for chunk in chunks[:embed]], encoder, cache),
        picked,
        _embedded(picked, encoder, cache),
        sum(len(chunk.text.encode()) for chunk in chunks),
    )


def _cut(size: int, folders: list[Path], encoder: Encoder) -> tuple[list[Chunk], list[str]]:
    """The first `size` distinct passages over a seeded shuffle of the documents, and questions from others."""
    documents = list(gather(folders))
    order = np.random.default_rng(0).permutation(len(documents))
    seen: set[str] = set()
    chunks: list[Chunk] = []
    questions: list[str] = []
    for place, number in enumerate(order.tolist()):
        held_out = place % HELD_OUT == 0
        if len(chunks) >= size and len(questions) >= QUERIES:
            break
        if len(chunks) >= size and not held_out:
            continue
        for chunk in chunk_document(documents[number], encoder.tokenizer, MAX_TOKENS):
            text = hashlib.sha256(chunk.text.encode()).hexdigest()
            if text in seen:
                continue
            seen.add(text)
            if held_out:
                questions.append(re.split(r"(?<=[.?!])\s", chunk.text.strip(), maxsplit=1)[0][:300])
            elif len(chunks) < size:
                chunks.append(chunk)
    return chunks, [question for question in questions if len(question.split()) >= 4]


def _embedded(texts: list[str], encoder: Encoder, cache: Path) -> Vectors:
    """Vectors of the texts; those of earlier runs with the same encoder are read from the cache."""
    cache.mkdir(parents=True, exist_ok=True)
    names = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    known: dict[str, Vectors] = {}
    for part in sorted(cache.glob(f"{encoder.fingerprint[:16]}-*.json")):
        vectors = np.load(part.with_suffix(".npy"))
        known.update(zip(json.loads(part.read_text()), vectors, strict=True))
    missing = [place for place, name in enumerate(names) if name not in known]
    begin = time.perf_counter()
    for first in range(0, len(missing), 2000):
        batch = missing[first : first + 2000]
        vectors = encoder.encode_passages([texts[place] for place in batch])
        keys = [names[place] for place in batch]
        part = cache / f"{encoder.fingerprint[:16]}-{keys[0][:16]}"
        np.save(part.with_suffix(".npy"), vectors)
        part.with_suffix(".json").write_text(json.dumps(keys))
        known.update(zip(keys, vectors, strict=True))
        done = first + len(batch)
        left = (time.perf_counter() - begin) / done * (len(missing) - done)
        print(
            f"embedded {done} of {len(missing)} passages, about {left / 60:.0f} min left", file=sys.stderr, flush=True
        )
    return np.stack([known[name] for name in names])


def enlarge(vectors: Vectors, size: int, seed: int = 0) -> Vectors:
    """`size` vectors of which the first ones are `vectors` and the others are MADE, not text.

    Each made one is a real vector moved by half the difference of two of its 32 nearest neighbours, and brought back to
    unit length. So it lies where real text lies and spreads in the directions in which real text spreads there.
    Figures on such vectors are to be marked as such; `benchmarks/search.py` measures how much easier or harder they are
    than real ones.
    """
    import faiss

    extra = size - len(vectors)
    if extra <= 0:
        return vectors[:size]
    exact = faiss.IndexFlatIP(vectors.shape[1])
    exact.add(vectors)
    rng = np.random.default_rng(seed)
    near = np.concatenate(
        [exact.search(part, 33)[1][:, 1:] for part in np.array_split(vectors, max(1, len(vectors) // 1024))]
    )
    made = np.empty((size, vectors.shape[1]), dtype=np.float32)
    made[: len(vectors)] = vectors
    for first in range(len(vectors), size, 65_536):
        last = min(first + 65_536, size)
        base = rng.integers(len(vectors), size=last - first)
        pair = rng.integers(32, size=(2, last - first))
        moved = vectors[base] + 0.5 * (vectors[near[base, pair[0]]] - vectors[near[base, pair[1]]])
        made[first:last] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return made
