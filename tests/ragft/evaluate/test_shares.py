"""Intervals of shares: they hold at 0, 1 and small n, and count clusters, not values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evaluation import question

from ragft.evaluate.shares import clusters_of, rate, share_interval, sign_flip_p
from ragft.evaluate.statistics import MIN_CLUSTERS

VALUES = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 5)), min_size=1, max_size=40)


@given(VALUES)
def test_an_interval_holds_the_mean_and_lies_between_0_and_1(pairs: list[tuple[float, int]]) -> None:
    values, clusters = [value for value, _ in pairs], [cluster for _, cluster in pairs]
    found = rate(values, clusters)
    assert found.mean == pytest.approx(np.mean(values))
    if found.clusters < MIN_CLUSTERS:
        assert found.low is found.high is None
    else:
        assert found.low is not None and found.high is not None
        assert 0 <= found.low <= found.mean <= found.high <= 1
        assert found.low < found.high


def test_values_that_all_agree_prove_no_certainty() -> None:
    found = rate([1.0] * 20, range(20))
    assert found.low is not None and 0.75 < found.low < 0.9 and found.high == 1.0


def test_copies_of_a_value_in_its_cluster_make_nothing_more_certain() -> None:
    values = [float(n % 2) for n in range(20)]
    once, often = rate(values, range(20)), rate(np.repeat(values, 9), np.repeat(np.arange(20), 9).tolist())
    assert (once.low, once.high) == pytest.approx((often.low, often.high))
    assert (once.n, often.n, often.clusters) == (20, 180, 20)


def test_one_cluster_has_no_interval() -> None:
    assert share_interval(0.5, 0.0, 1) == (None, None)


@pytest.mark.medium
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_intervals_cover_the_share_in_about_95_of_100_cases_though_values_come_in_clusters(share: float) -> None:
    rng, covered, count = np.random.default_rng(0), 0, 1000
    clusters = np.repeat(np.arange(40), 5).tolist()
    for _ in range(count):
        # Each cluster copies one of its values with probability a half: an intra-class correlation of 0.25.
        own, common = rng.random((40, 5)) < share, (rng.random(40) < share)[:, None]
        found = rate(np.where(rng.random((40, 5)) < 0.5, common, own).reshape(-1).astype(float), clusters)
        covered += found.low is not None and found.high is not None and found.low <= share <= found.high
    assert 0.92 <= covered / count <= 0.99


def test_questions_on_one_document_are_a_cluster() -> None:
    asked = [
        question("x", id="1", sources=["a.md#One"]), question("x", id="2", sources=["a.md#Two"]),
        question("x", id="3", sources=["b.md"]), question(None, id="4"), question(None, id="5"),
    ]  # fmt: skip
    found = clusters_of(asked)
    assert found["1"] == found["2"]
    assert len(set(found.values())) == 4


def test_flipping_signs_finds_what_is_there_and_nothing_else() -> None:
    assert sign_flip_p([0.5] * 8, range(8), seed=0) == 2 / 2**8
    assert sign_flip_p([0.5, -0.5] * 20, range(40), seed=0) == 1.0
    assert sign_flip_p([0.5] * 40, range(40), seed=0) < 0.001
    assert sign_flip_p([0.5] * 40, [0] * 40, seed=0) == 1.0
    assert sign_flip_p([], [], seed=0) == 1.0
