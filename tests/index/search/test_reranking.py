"""A search with a reranker: which candidates it reads, and how their scores order the hits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.indexes import HashEncoder, index_of, make_cross_encoder

from index.documents.document import Document
from index.encoders.reranker import CrossEncoderReranker, RerankScores
from index.search.search import search
from index.search.settings import MODES, SearchSettings
from index.store.snapshot import Snapshot
from index.timings import Timings


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> CrossEncoderReranker:
    return CrossEncoderReranker(make_cross_encoder(tmp_path_factory.mktemp("reranker") / "model"))


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
