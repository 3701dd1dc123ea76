"""The kernel two-sample test: by hand, by its definition, and by how often it errs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragft.drift.permutation import Permutation, gaussian_kernel, mmd2
from ragft.drift.sample import Floats

SEEDS = st.integers(0, 2**32 - 1)


def points(seed: int, count: int, shift: float = 0.0) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, 3)) + np.array([shift, 0.0, 0.0])


def by_definition(kernel: Floats, first: list[int], second: list[int]) -> float:
    """Gretton et al. (2012), lemma 6, sum by sum."""

    def mean(own: list[int]) -> float:
        return sum(kernel[i, j] for i, j in itertools.permutations(own, 2)) / (len(own) * (len(own) - 1))

    between = sum(kernel[i, j] for i in first for j in second) / (len(first) * len(second))
    return float(mean(first) + mean(second) - 2 * between)


def test_an_example_worked_out_by_hand() -> None:
    """On a line at 0, 0, 2 and 2, the median distance is 2: equal points are 1 alike, the others exp(-1/2)."""
    kernel = gaussian_kernel(np.array([[0.0], [0.0], [2.0], [2.0]]))
    far = math.exp(-0.5)
    assert kernel == pytest.approx(np.array([[1, 1, far, far], [1, 1, far, far], [far, far, 1, 1], [far, far, 1, 1]]))
    apart, mixed = mmd2(kernel, np.array([[True, True, False, False], [True, False, True, False]]))
    assert apart == pytest.approx(2 - 2 * far)
    assert mixed == pytest.approx(2 * far - (1 + far))
    # Two of the six arrangements are as far apart as this one.
    arranged = Permutation("ab", "cd", seed=0)
    assert arranged.distance(np.array([[0.0], [0.0], [2.0], [2.0]]))[1] == pytest.approx(1 / 3, abs=0.05)


@given(SEEDS, st.integers(2, 8), st.integers(2, 8))
@settings(max_examples=30)
def test_it_is_what_its_definition_says_and_symmetric_in_the_groups(seed: int, m: int, n: int) -> None:
    kernel = gaussian_kernel(points(seed, m + n))
    first = np.arange(m + n) < m
    expected = by_definition(kernel, list(range(m)), list(range(m, m + n)))
    assert mmd2(kernel, np.stack([first, ~first])) == pytest.approx([expected, expected], abs=1e-9)


@given(SEEDS, st.integers(4, 10), st.integers(4, 10))
@settings(max_examples=15)
def test_the_order_of_the_questions_of_a_group_does_not_matter(seed: int, m: int, n: int) -> None:
    rows = points(seed, m + n)
    order = np.random.default_rng(seed).permutation(m)
    arranged = Permutation(range(m), range(n), seed=1, draws=20)
    before, after = (arranged.distance(one)[0] for one in (rows, np.concatenate([rows[:m][order], rows[m:]])))
    assert before == pytest.approx(after, abs=1e-9)


def test_one_distribution_is_seldom_told_apart_and_another_one_is() -> None:
    same, shifted = [], []
    for seed in range(60):
        arranged = Permutation(range(30), range(30), seed=seed, draws=199)
        same.append(arranged.distance(points(seed, 60))[1])
        shifted.append(arranged.distance(np.concatenate([points(seed, 30), points(seed + 1000, 30, 1.5)]))[1])
    # Of 60 tests at 5 %, more than 8 err once in 200 times; their p-values are spread over the whole of [0, 1].
    assert sum(p < 0.05 for p in same) <= 8 and 0.35 < float(np.mean(same)) < 0.65
    assert max(shifted) <= 0.05


def test_many_questions_of_few_users_are_few_observations() -> None:
    """Each of six users asks 20 times the same; nobody knows from that what others ask."""
    rows = np.repeat(points(5, 6), 20, axis=0)
    rows[:60] += 0.5
    users = np.repeat(np.arange(3), 20).tolist()
    told = Permutation(users, users, seed=0).distance(rows)[1]
    apart = Permutation(range(60), range(60), seed=0).distance(rows)[1]
    assert apart <= 0.001 < 0.1 <= told


def test_means_and_shares_are_tested_and_what_is_not_known_is_left_out() -> None:
    arranged = Permutation(range(30), range(30), seed=0)
    values = np.concatenate([np.ones(30), np.zeros(30)])
    assert arranged.mean(values) == (1.0, 0.001)
    values[[0, 1, 40]] = np.nan
    assert arranged.mean(values)[0] == 1.0
    flat = np.tile([0.0, 1.0], 30)
    difference, p = arranged.mean(flat)
    assert difference == 0.0 and p == 1.0
    kinds = np.repeat([1, 2], 30)
    assert arranged.shares(kinds) == 0.001
    assert arranged.shares(np.where(np.arange(60) % 30 < 29, -1, kinds)) > 0.3  # one of each is known
    assert arranged.shares(np.ones(60, dtype=np.int64)) == 1.0


def test_questions_that_are_all_the_same_are_no_fault() -> None:
    assert Permutation(range(5), range(5), seed=0).distance(np.ones((10, 4))) == (pytest.approx(0.0), 1.0)
