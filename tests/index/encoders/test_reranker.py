"""The cross-encoder: its scores, what is refused, and how it reranks. The model is made here."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.indexes import HashEncoder, index_of, make_cross_encoder

from index.documents.document import Document
from index.encoders import batching
from index.encoders.reranker import CrossEncoderReranker, RerankScores
from index.errors import IndexFault
from index.search.search import search
from index.search.settings import MODES, SearchSettings
from index.store.snapshot import Snapshot
from index.timings import Timings

PASSAGES = ["the red fox", "owl", "node support ends " * 30, "cats purr", "the owl ends a red fox", "support"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cross_encoder(tmp_path_factory.mktemp("reranker") / "model")


@pytest.fixture(scope="module")
def reranker(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker(folder)


class LongestFirst:
    """Prefers long passages and records what it read."""

    source = fingerprint = "longest-first"

    def __init__(self) -> None:
        self.read: list[tuple[str, tuple[str, ...]]] = []

    def scores(self, query: str, passages: Sequence[str]) -> RerankScores:
        self.read.append((query, tuple(passages)))
        return np.array([len(passage) for passage in passages], dtype=np.float64)


@pytest.fixture
def snapshot(tmp_path: Path, fake: HashEncoder) -> Snapshot:
    pages = [Document.of(f"{name}.md", f"# {name}\n\nnine {'word ' * name}\n") for name in range(1, 9)]
    secret = Document.of("secret.md", "# secret\n\nnine " + "long " * 30, labels=("staff",))
    return index_of(tmp_path / "index", [*pages, secret], encoder=fake)


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


@pytest.mark.parametrize("mode", MODES)
def test_the_best_candidates_are_reranked(snapshot: Snapshot, fake: HashEncoder, mode: str) -> None:
    judge = LongestFirst()
    (before,) = search(snapshot, fake, ["nine"], SearchSettings(k=5, mode=mode), labels=frozenset())
    (after,) = search(
        snapshot,
        fake,
        ["nine"],
        SearchSettings(k=3, mode=mode, rerank_candidates=5),
        labels=frozenset(),
        reranker=judge,
    )
    assert judge.read == [("nine", tuple(hit.passage for hit in before))]
    longest = sorted(before, key=lambda hit: -len(hit.passage))[:3]
    assert [hit.chunk_id for hit in after] == [hit.chunk_id for hit in longest]
    assert all(hit.score == hit.rerank_score == len(hit.passage) for hit in after)
    assert [hit.dense_score for hit in after] == [hit.dense_score for hit in longest]
    assert {hit.rerank_score for hit in before} == {None}


def test_at_least_as_many_are_read_as_are_asked_for(snapshot: Snapshot, fake: HashEncoder) -> None:
    judge = LongestFirst()
    (hits,) = search(
        snapshot, fake, ["nine"], SearchSettings(k=6, rerank_candidates=2), reranker=judge, labels=frozenset()
    )
    assert len(hits) == len(judge.read[0][1]) == 6


def test_the_reranker_never_reads_what_the_caller_may_not_see(snapshot: Snapshot, fake: HashEncoder) -> None:
    judge = LongestFirst()
    (hits,) = search(snapshot, fake, ["nine long"], SearchSettings(k=99), reranker=judge, labels=frozenset({"board"}))
    assert len(hits) == 8 and not any("long" in passage for passage in judge.read[0][1])
    (hits,) = search(snapshot, fake, ["nine long"], SearchSettings(k=1), reranker=judge, labels=frozenset({"staff"}))
    assert hits[0].document_id == "secret.md"


def test_queries_together_are_reranked_as_they_are_alone(
    snapshot: Snapshot, fake: HashEncoder, reranker: CrossEncoderReranker
) -> None:
    queries = ["red fox", "", "nine word"]
    together = search(snapshot, fake, queries, reranker=reranker)
    assert together == [search(snapshot, fake, [query], reranker=reranker)[0] for query in queries]


def test_reranking_is_timed(snapshot: Snapshot, fake: HashEncoder) -> None:
    timings = Timings()
    search(snapshot, fake, ["nine"], reranker=LongestFirst(), timings=timings)
    assert timings.milliseconds["rerank"] >= 0
