"""Correction by labels: honest where the judge's own interval is not, and never worse than the labels alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.evaluate.judges.calibration import FEWEST, Corrected, Group, corrected
from ragft.evaluate.shares import rate

DOCUMENTS = 80
TRUE, FOOLED = 0.55, 0.4
"""What people would say, and how often the judge calls bad answers good."""


def simulated(rng: np.random.Generator, labels: int, each: int = 5) -> tuple[Corrected, tuple[float, float]]:
    """The corrected mean, and the uncorrected interval, of a judge that takes many bad answers for good ones."""
    clusters = np.repeat(np.arange(DOCUMENTS), each)
    # Answers on one document are alike.
    hard = rng.beta(4 * TRUE, 4 * (1 - TRUE), DOCUMENTS)[clusters]
    people = (rng.random(len(clusters)) < hard).astype(float)
    judge = np.where(rng.random(len(clusters)) < FOOLED, 1.0, people)
    chosen = np.zeros(len(clusters), dtype=bool)
    chosen[rng.choice(len(clusters), labels, replace=False)] = True
    found = corrected(
        Group(judge[chosen].tolist(), clusters[chosen].tolist(), people[chosen].tolist()),
        Group(judge[~chosen].tolist(), clusters[~chosen].tolist()),
    )
    assert found is not None
    own = rate(judge, clusters.tolist())
    assert own.low is not None and own.high is not None
    return found, (own.low, own.high)


@pytest.mark.medium
@pytest.mark.parametrize("labels", [20, 40, 120])
def test_intervals_cover_the_truth_where_the_judge_is_biased_and_its_own_do_not(labels: int) -> None:
    rng, count = np.random.default_rng(labels), 600
    runs = [simulated(rng, labels) for _ in range(count)]
    covered = sum(found.low <= TRUE <= found.high for found, _ in runs) / count
    uncorrected = sum(low <= TRUE <= high for _, (low, high) in runs) / count
    assert 0.93 <= covered <= 0.975
    assert uncorrected < 0.05
    assert np.mean([found.mean for found, _ in runs]) == pytest.approx(TRUE, abs=0.01)


def test_a_good_judge_makes_the_interval_of_few_labels_shorter() -> None:
    rng = np.random.default_rng(1)
    people = (rng.random(1000) < 0.5).astype(float)
    judge = np.where(rng.random(1000) < 0.1, 1 - people, people)
    labelled = Group(judge[:60].tolist(), range(60), people[:60].tolist())
    found = corrected(labelled, Group(judge[60:].tolist(), range(60, 1000)))
    alone = corrected(labelled, Group((), ()))
    assert found is not None and alone is not None and alone.power == 0
    assert found.high - found.low < 0.7 * (alone.high - alone.low)
    assert (found.labels, found.judged) == (60, 1000)


def test_a_judge_that_tosses_coins_does_no_harm() -> None:
    rng = np.random.default_rng(2)
    people, judge = (rng.random(500) < 0.3).astype(float), (rng.random(500) < 0.5).astype(float)
    labelled = Group(judge[:100].tolist(), range(100), people[:100].tolist())
    found, alone = corrected(labelled, Group(judge[100:].tolist(), range(100, 500))), corrected(labelled, Group((), ()))
    assert found is not None and alone is not None
    assert found.high - found.low < 1.1 * (alone.high - alone.low)


def test_labels_that_never_differ_do_not_prove_that_none_would() -> None:
    labelled = Group([1.0] * 12, range(12), [1.0] * 12)
    found = corrected(labelled, Group([1.0] * 200, range(12, 212)))
    assert found is not None and found.low < 0.9


def test_what_needed_no_opinion_is_not_corrected() -> None:
    # The judge is wrong on every answer that it was asked about; half of all answers are identical, which is a tie.
    labelled, rest = Group([1.0] * 20, range(20), [0.0] * 20), Group([1.0] * 80, range(20, 100))
    found = corrected(labelled, rest, Group([0.5] * 100, range(100, 200)))
    assert found is not None and found.mean == pytest.approx(0.25)


@pytest.mark.parametrize(("labels", "clusters"), [(FEWEST - 1, 20), (20, 2)])
def test_too_few_labels_correct_nothing(labels: int, clusters: int) -> None:
    where = [n % clusters for n in range(labels)]
    assert corrected(Group([1.0] * labels, where, [0.0] * labels), Group([1.0] * 50, range(50))) is None


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=FEWEST, max_size=30),
    st.lists(st.floats(0, 1), max_size=30),
)
def test_the_result_lies_on_the_scale(labelled: list[tuple[float, float]], rest: list[float]) -> None:
    judge, people = zip(*labelled, strict=True)
    found = corrected(Group(judge, range(len(judge)), people), Group(rest, range(100, 100 + len(rest))))
    assert found is not None
    assert 0 <= found.low <= found.mean <= found.high <= 1 and 0 <= found.power <= 1
