"""The cross-encoder: its scores, and what is refused. The model is made here."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.indexes import make_cross_encoder

from index.encoders import batching
from index.encoders.reranker import CrossEncoderReranker
from index.errors import IndexFault

PASSAGES = ["the red fox", "owl", "node support ends " * 30, "cats purr", "the owl ends a red fox", "support"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cross_encoder(tmp_path_factory.mktemp("reranker") / "model")


@pytest.fixture(scope="module")
def reranker(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker(folder)


def test_scores_are_those_of_the_library(folder: Path, reranker: CrossEncoderReranker) -> None:
    from sentence_transformers import CrossEncoder

    expected = CrossEncoder(str(folder)).predict([("red fox", passage) for passage in PASSAGES])
    np.testing.assert_allclose(reranker.scores("red fox", PASSAGES), expected, atol=1e-5)
    assert np.ptp(expected) > 0.01  # it does tell passages apart


def test_scores_do_not_depend_on_the_batches(reranker: CrossEncoderReranker, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reranker.scores("red fox", PASSAGES)
    monkeypatch.setitem(batching.TOKENS_PER_BATCH, "cpu", 8)
    one_by_one = reranker.scores("red fox", PASSAGES)
    np.testing.assert_allclose(one_by_one, whole, atol=1e-5)
    assert reranker.scores("red fox", []).tolist() == []


def test_threads_get_the_same_scores(reranker: CrossEncoderReranker) -> None:
    expected = reranker.scores("red fox", PASSAGES).tolist()
    with ThreadPoolExecutor(4) as pool:
        for scores in pool.map(lambda _: reranker.scores("red fox", PASSAGES), range(16)):
            assert scores.tolist() == expected


def test_fingerprint_depends_on_what_affects_the_scores(
    folder: Path, reranker: CrossEncoderReranker, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    assert CrossEncoderReranker(moved).fingerprint == reranker.fingerprint
    assert CrossEncoderReranker(moved, dtype="bfloat16").fingerprint != reranker.fingerprint
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (moved / "model.safetensors").write_bytes(weights)
    assert CrossEncoderReranker(moved).fingerprint != reranker.fingerprint


def test_folder_without_a_cross_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexFault, match=r"3 scores.*one score"):
        CrossEncoderReranker(make_cross_encoder(tmp_path / "three", scores=3))
    with pytest.raises(IndexFault, match=r"config\.json is missing"):
        CrossEncoderReranker(tmp_path)
    pickled = Path(shutil.copytree(folder, tmp_path / "pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(IndexFault, match="safetensors"):
        CrossEncoderReranker(pickled)
