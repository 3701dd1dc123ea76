"""Forgetting: paired intervals that hold, and a verdict that goes by them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.evaluate.suites.forgetting import (
    Forgotten,
    compared,
    forgetting_table,
    paired_interval,
    sentence,
    together,
    wilson,
)

counts = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 200)).map(lambda c: (c[0], c[1], sum(c)))


def compare(gained: int, lost: int, n: int, margin: float = 0.02) -> Forgotten:
    base = [False] * gained + [True] * lost + [True] * (n - gained - lost)
    tuned = [True] * gained + [False] * lost + [True] * (n - gained - lost)
    return compared("task", "acc_norm", base, tuned, margin=margin)


@given(counts)
def test_the_interval_holds_the_difference_and_mirrors_itself(found: tuple[int, int, int]) -> None:
    gained, lost, n = found
    low, high = paired_interval(gained, lost, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert low < high
    mirrored = paired_interval(lost, gained, n)
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)


@given(counts)
def test_the_interval_holds_zero_exactly_where_mcnemars_score_test_does_not_reject(found: tuple[int, int, int]) -> None:
    gained, lost, n = found
    low, high = paired_interval(gained, lost, n)
    score = abs(gained - lost) / math.sqrt(gained + lost) if gained + lost else 0.0
    if abs(score - 1.959964) > 1e-3:
        assert (low <= 0 <= high) == (score < 1.959964)


@pytest.mark.parametrize("n", [50, 400])
@pytest.mark.parametrize(("gains", "losses"), [(0.01, 0.03), (0.05, 0.05), (0.1, 0.2)])
def test_intervals_cover_the_true_difference(n: int, gains: float, losses: float) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(n, [gains, losses, 1 - gains - losses], size=2_000)
    covered = 0
    for (gained, lost), times in zip(*np.unique(drawn[:, :2], axis=0, return_counts=True), strict=True):
        low, high = paired_interval(int(gained), int(lost), n)
        covered += int(times) * (low <= gains - losses <= high)
    assert 0.93 <= covered / len(drawn) <= 0.985


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_the_share_and_never_collapses(found: tuple[int, int]) -> None:
    right, n = found
    share = wilson(right, n)
    assert 0 <= share.low <= share.share <= share.high <= 1
    assert share.low < share.high


def test_few_questions_without_a_difference_show_nothing() -> None:
    assert compare(0, 0, 50).verdict == "not shown"
    assert compare(0, 0, 1_000).verdict == "shown"


def test_a_small_loss_that_is_significant_is_still_not_worse_than_the_margin() -> None:
    found = compare(0, 20, 4_000)
    assert found.p < 0.001
    assert found.verdict == "shown"


def test_a_large_loss_is_worse_and_a_gain_is_not() -> None:
    assert compare(0, 100, 1_000).verdict == "worse"
    assert compare(100, 0, 1_000).verdict == "shown"


def test_more_questions_are_asked_for_only_where_they_could_show_it() -> None:
    undecided = compare(20, 22, 400)
    assert undecided.verdict == "not shown" and undecided.needed is not None
    more = undecided.needed / 400
    assert compare(round(20 * more), round(22 * more), undecided.needed + 50).verdict == "shown"
    assert compare(0, 20, 400).needed is None, "the difference itself is beyond the margin"
    assert compare(0, 0, 1_000).needed is None


def test_questions_of_all_tasks_count_the_same_together() -> None:
    one, other = ([True] * 90, [False] * 3 + [True] * 87), ([True] * 10, [True] * 10)
    found = together({"large": one, "small": other}, "acc_norm", margin=0.02)
    assert (found.base.n, found.lost, found.gained) == (100, 3, 0)
    assert found.difference == pytest.approx(-0.03)


def test_a_sentence_says_figures_interval_and_claim() -> None:
    said = sentence(compare(20, 22, 400), 0.02)
    assert "94.5% before" not in said
    assert "of 400 questions; not worse than -2.0 points: not shown; about" in said
    assert "worse than -2.0 points." in sentence(compare(0, 100, 1_000), 0.02)
    assert forgetting_table([compare(1, 2, 50)], 0.02).row_count == 1
