from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ragft.evaluate.statistics import (
    Estimate,
    detectable_difference,
    estimates,
    holm,
    interaction_columns,
    mcnemar_p,
    needed_questions,
    pair_tests,
    permutation_p,
)

scores = st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=30)


@given(scores, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_an_interval_contains_its_mean(column: list[float], seed: int) -> None:
    (found,) = estimates(np.array(column)[:, None], seed=seed, resamples=200)
    kept = [value for value in column if value == value]
    assert found.n == len(kept)
    if not kept:
        assert found == Estimate(None, None, None, 0)
        return
    assert found.mean is not None and found.low is not None and found.high is not None
    assert found.mean == pytest.approx(np.mean(kept))
    assert found.low <= found.mean <= found.high


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng, covered, runs, truth = np.random.default_rng(7), 0, 300, 0.6
    for run in range(runs):
        # A paired difference of shares, as the comparison meets it.
        a, b = rng.random((120, 1)) < 0.8, rng.random((120, 1)) < 0.2
        (found,) = estimates(a.astype(float) - b, seed=run, resamples=500)
        assert found.low is not None and found.high is not None
        covered += found.low <= truth <= found.high
    assert 0.91 <= covered / runs <= 0.985


def test_an_interval_agrees_with_scipy() -> None:
    sample = np.random.default_rng(0).normal(5, 2, 80)
    (found,) = estimates(sample[:, None], seed=0, resamples=10_000)
    peer = stats.bootstrap((sample,), np.mean, method="percentile", rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=0.05)


def test_twenty_of_twenty_is_not_certain() -> None:
    all_right, all_wrong = estimates(np.array([[1.0, 0.0]] * 20), seed=0, resamples=200, shares=[True, True])
    # The share at which 20 of 20 has a probability of 2.5 %.
    bound = 0.025 ** (1 / 20)
    assert (all_right.low, all_right.high) == pytest.approx((bound, 1.0))
    assert (all_wrong.low, all_wrong.high) == pytest.approx((0.0, 1 - bound))


def test_all_columns_are_resampled_together() -> None:
    # b is a + 0.1 on every question: the difference has no spread, although both means have.
    a = np.random.default_rng(0).random(50)
    one, difference = estimates(np.stack([a, (a + 0.1) - a], axis=1), seed=0, resamples=300)
    assert one.high is not None and one.low is not None and one.high - one.low > 0.05
    assert (difference.low, difference.high) == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 5), (12, 3), (40, 70), (900, 800)])
def test_mcnemar_agrees_with_counting_coin_tosses(wins: int, losses: int) -> None:
    tosses = wins + losses
    as_rare = sum(math.comb(tosses, heads) for heads in range(min(wins, losses) + 1))
    assert mcnemar_p(wins, losses) == pytest.approx(min(1.0, 2 * as_rare / 2**tosses))


def test_permutation_p_agrees_with_all_sign_flips() -> None:
    differences = np.array([0.3, 0.1, -0.2, 0.4, 0.05, 0.25, -0.1, 0.3])
    flipped = [abs(np.dot(signs, differences)) for signs in itertools.product([1, -1], repeat=8)]
    exact = np.mean(np.array(flipped) >= abs(differences.sum()) - 1e-12)
    assert permutation_p(differences[:, None], seed=0, resamples=20_000)[0] == pytest.approx(exact, abs=0.01)
    assert permutation_p(np.zeros((5, 1)), seed=0, resamples=100)[0] == 1
    assert permutation_p(np.ones((60, 1)), seed=0, resamples=999)[0] == pytest.approx(0.001)


def test_holm_of_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_false_alarms_over_all_pairs_stay_below_five_percent() -> None:
    rng, alarms, names = np.random.default_rng(3), 0, ("a", "b", "c", "d")
    pairs = list(itertools.combinations(names, 2))
    for run in range(200):
        same = {name: (rng.random((60, 1)) < 0.5).astype(float) for name in names}
        alarms += any(test.p_holm < 0.05 for test in pair_tests(same, pairs, ["m"], seed=run, resamples=20))
    assert alarms / 200 <= 0.06


def test_needed_questions_is_where_the_difference_becomes_detectable() -> None:
    needed = needed_questions(0.08, 0.5)
    # (1.96 + 0.84)^2 * 0.25 / 0.0064
    assert needed == 307
    assert detectable_difference(0.5, needed) == pytest.approx(0.08, rel=0.01)
    assert needed_questions(0.0, 0.5) is None
    assert needed_questions(1e-17, 0.5) is None
    assert detectable_difference(0.5, 100, tests=6) > detectable_difference(0.5, 100)


def test_pairs_of_a_worked_example() -> None:
    nan = float("nan")
    columns = {
        "a": np.array([[1, 5.0], [1, 5.0], [1, nan], [0, 5.0]]),
        "b": np.array([[0, 9.0], [0, 4.0], [1, 7.0], [1, 5.0]]),
    }
    exact, time = pair_tests(
        columns, [("a", "b")], ["em", "ms"], lower_is_better=frozenset({"ms"}), seed=0, resamples=200
    )
    assert (exact.difference, exact.wins, exact.ties, exact.losses, exact.n) == (0.25, 2, 1, 1, 4)
    assert exact.p == exact.p_holm == 1.0
    assert (time.difference, time.wins, time.ties, time.losses, time.n) == (-1.0, 1, 1, 1, 3)


def test_a_metric_that_one_setup_lacks_has_no_pair() -> None:
    columns = {"a": np.array([[float("nan")]] * 3), "b": np.ones((3, 1))}
    assert pair_tests(columns, [("a", "b")], ["m"], seed=0, resamples=200) == []


def test_interaction_is_what_both_do_beyond_their_sum() -> None:
    cells = {"prompt-only": 0.1, "rag-only": 0.5, "fine-tuned": 0.2, "hybrid": 0.9}
    columns = {name: np.full((4, 1), value) for name, value in cells.items()}
    assert interaction_columns(columns)[0, 0] == pytest.approx(0.3)
