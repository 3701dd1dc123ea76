"""The real encoder: unit vectors, whole passages, and a fingerprint of all that matters."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from index.encoder import Encoder
from index.errors import IndexFault


def test_rows_are_of_unit_length_and_in_the_order_of_the_texts(encoder: Encoder) -> None:
    texts = ["a cat", "a much longer sentence about release dates of operating systems", "a cat"]
    seen: list[tuple[int, int]] = []
    vectors = encoder.encode_passages(texts, lambda done, total: seen.append((done, total)))
    assert vectors.shape == (3, encoder.dimension) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert vectors[0] @ vectors[2] > 0.999 > vectors[0] @ vectors[1]
    assert seen[-1] == (3, 3)
    assert encoder.encode_queries([]).shape == (0, encoder.dimension)


def test_vectors_equal_those_of_sentence_transformers(encoder: Encoder) -> None:
    from sentence_transformers import SentenceTransformer

    texts = ["Support for Node.js 22 ends in 2027.", "A kitten purrs."]
    expected = SentenceTransformer(encoder.source, device="cpu", local_files_only=True).encode(texts)
    assert (encoder.encode_passages(texts) * expected).sum(axis=1) == pytest.approx(np.ones(2), abs=1e-3)


def test_threads_may_encode_while_others_count_tokens(encoder: Encoder) -> None:
    def work(number: int) -> int:
        encoder.encode_queries([f"query {number}"])
        return len(encoder.tokenizer("a b c")["input_ids"])

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(24))) == {5}


def test_fingerprint_follows_content_not_place(encoder: Encoder, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(encoder.source, moved)
    assert Encoder(moved).fingerprint == encoder.fingerprint
    other_dtype = "float32" if encoder.dtype != "float32" else "bfloat16"
    others = [Encoder(moved, query_prefix="query: "), Encoder(moved, dtype=other_dtype)]
    pooling = moved / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text() + "\n")
    others.append(Encoder(moved))
    assert len({encoder.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_passage_prefix_takes_its_share_of_the_window(encoder: Encoder) -> None:
    assert encoder.max_tokens == 256
    assert Encoder(encoder.source, passage_prefix="passage: ").max_tokens == 254


def test_folder_that_is_no_sentence_transformers_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexFault, match=r"no modules\.json"):
        Encoder(tmp_path)
    with pytest.raises(IndexFault, match="choose one of auto"):
        Encoder(tmp_path, dtype="int4")


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = "import index, sys; print({'torch', 'faiss', 'transformers', 'sentence_transformers'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"
