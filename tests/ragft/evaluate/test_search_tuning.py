"""Settings of the search are chosen on one part of the questions, and recommended only where the rest shows a gain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ragft.config.tune import TuneSearchSection
from ragft.data.questions import Question
from ragft.data.sources import Source
from ragft.errors import UsageError
from ragft.evaluate.records import PassageRef
from ragft.evaluate.search_tuning import (
    ANY,
    MEASURES,
    NOW,
    SAME,
    Candidate,
    Compared,
    chosen_and_held_out,
    compared,
    measured,
    rankings,
    with_k,
)
from ragft.evaluate.search_words import changes_block, conclusion, overrides
from ragft.evaluate.statistics import Clusters, Columns

PRESENT = Candidate(4, "hybrid", 1.0, 1.0)
LEXICAL = replace(PRESENT, mode="lexical")
LONGER = replace(PRESENT, top_k=8)
SPACE = TuneSearchSection()
CLUSTERS = Clusters.of(number // 4 for number in range(240))


def scored(found: Columns, tokens: float) -> Columns:
    """(questions, measures) where all sources are found or not, at rank 1."""
    return np.stack([found, found, found, np.full(len(found), tokens)], axis=1)


def tried(scores: dict[Candidate, Columns]) -> Compared:
    return compared(scores, PRESENT, CLUSTERS, SPACE, seed=0, resamples=500)


def some_found(share: float, seed: int) -> Columns:
    return (np.random.default_rng(seed).random(240) < share).astype(np.float64)


def test_present_settings_are_tried_first_and_nothing_twice() -> None:
    found = rankings(PRESENT, SPACE, reranker=False, seed=0)
    assert found[0] == PRESENT
    assert len(found) == 6 and len(set(found)) == 6  # three other weights, dense, lexical
    twice = replace(PRESENT, dense_weight=2.0, lexical_weight=2.0)
    assert len(rankings(twice, SPACE, reranker=False, seed=0)) == 6  # 2:2 ranks as 1:1
    assert {one.rerank for one in rankings(replace(PRESENT, rerank=True), SPACE, reranker=True, seed=0)} == {
        True,
        False,
    }


def test_more_settings_than_allowed_are_a_seeded_sample() -> None:
    space = TuneSearchSection(chunk_tokens=(64, 128), searches=5)
    found = rankings(PRESENT, space, reranker=False, seed=1)
    assert len(found) == 5 and found[0] == PRESENT
    assert found == rankings(PRESENT, space, reranker=False, seed=1)


@given(st.lists(st.integers(0, 8), min_size=2, max_size=40), st.floats(0.05, 0.95), st.integers(0, 5))
def test_questions_of_one_document_are_never_in_both_parts(keys: list[int], share: float, seed: int) -> None:
    clusters = Clusters.of(keys)
    if clusters.count == 1:
        with pytest.raises(UsageError, match="about one document"):
            chosen_and_held_out(clusters, share, seed)
        return
    chosen, held_out = chosen_and_held_out(clusters, share, seed)
    assert sorted([*chosen, *held_out]) == list(range(len(keys)))
    assert len(chosen) and len(held_out)
    assert not set(clusters.labels[chosen]) & set(clusters.labels[held_out])


def test_a_gain_that_the_held_out_questions_show_is_recommended() -> None:
    found = tried({PRESENT: scored(some_found(0.6, 1), 300), LEXICAL: scored(some_found(0.9, 2), 300)})
    assert found.candidates == {NOW: PRESENT, SAME: LEXICAL} and found.recommended == SAME
    low = found.test(SAME).low
    assert low is not None and low > 0
    assert (found.chosen_by, found.questions, found.clusters) == (120, 120, 30)
    assert "Take lexical, top 4" in conclusion(found)[-1]


def test_more_passages_are_told_apart_from_better_ones() -> None:
    found = tried({
        PRESENT: scored(some_found(0.5, 1), 300),
        LEXICAL: scored(some_found(0.8, 2), 310),
        LONGER: scored(np.ones(240), 600),
    })  # fmt: skip
    assert found.candidates == {NOW: PRESENT, SAME: LEXICAL, ANY: LONGER}
    assert found.recommended == SAME  # the other one is shown with the tokens that it costs
    assert found.test(ANY, "tokens").difference == 300
    assert "+300 tokens a prompt" in conclusion(found)[1]


def test_the_luck_of_the_best_of_many_is_seldom_recommended() -> None:
    """All settings are equally good: whatever is chosen was lucky on the questions that it was chosen by."""
    others = [replace(PRESENT, dense_weight=weight) for weight in (2.0, 3.0, 4.0, 5.0, 6.0)]
    recommended = sum(
        tried({one: scored(some_found(0.7, 100 * draw + at), 300) for at, one in enumerate([PRESENT, *others])})
        .recommended is not None
        for draw in range(60)
    )  # fmt: skip
    assert recommended <= 5  # 2.5 % of 60 are 1.5


def test_nothing_better_keeps_the_present_settings() -> None:
    same = scored(some_found(0.9, 1), 300)
    found = tried({PRESENT: same, LEXICAL: same, LONGER: np.where(np.arange(4) == 3, 600.0, same)})
    assert found.candidates == {NOW: PRESENT} and found.recommended is None
    assert conclusion(found) == [
        "Nothing that was tried did better on the questions for choosing: keep the present settings."
    ]


def test_two_documents_allow_no_recommendation() -> None:
    clusters = Clusters.of([0] * 20 + [1] * 20)
    scores = {PRESENT: scored(np.zeros(40), 300), LEXICAL: scored(np.ones(40), 300)}
    found = compared(scores, PRESENT, clusters, SPACE, seed=0, resamples=500)
    assert found.recommended is None and found.test(SAME).low is None
    assert conclusion(found)[-1].startswith("Too few documents")


def test_measures_are_those_of_the_evaluation() -> None:
    question = Question("q", "?", ("x",), (Source("a.md"), Source("b.md")), True)
    passages = [PassageRef(f"{name}#0-1", name, "H", 0.0) for name in ("c.md", "a.md", "b.md")]
    assert dict(zip(MEASURES, measured(question, passages[:2], 20), strict=True)) == pytest.approx(
        {"all_sources": 0.0, "mrr": 0.5, "ndcg": 0.3869, "tokens": 20.0}, abs=1e-4
    )
    assert measured(question, passages, 30)[0] == 1.0
    assert measured(question, [], 0) == (0.0, 0.0, 0.0, 0.0)


def test_changes_are_the_keys_that_differ() -> None:
    changes = replace(LEXICAL, top_k=2, chunk_tokens=128).changes(replace(PRESENT, rerank=True))
    assert yaml.safe_load(changes_block(changes)) == {
        "index": {"search": {"mode": "lexical", "top_k": 2, "reranker": None}, "chunking": {"max_tokens": 128}}
    }
    assert overrides(changes) == (
        "--set index.search.top_k=2 --set index.search.mode=lexical --set index.chunking.max_tokens=128 "
        "--set index.search.reranker=null"
    )
    assert with_k(PRESENT, [4, 8, 4]) == [PRESENT, LONGER] and PRESENT.changes(PRESENT) == {}
