"""Measures of rankings, worked out by hand."""

from __future__ import annotations

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.evaluate.ranking import ndcg, recall, reciprocal_rank

ONE = [frozenset({"a"})]
TWO = [frozenset({"a", "b"}), frozenset({"c"})]


def test_figures_equal_those_worked_out_by_hand() -> None:
    assert ndcg(["x", "a", "y"], ONE, 10) == pytest.approx(1 / log2(3))
    assert ndcg(["x", "a", "y", "c"], TWO, 10) == pytest.approx((1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3)))
    assert reciprocal_rank(["x", "a", "c"], TWO, 10) == pytest.approx(1 / 2)
    assert recall(["x", "a", "y"], TWO, 10) == pytest.approx(1 / 2)
    assert ndcg(["x", "a"], ONE, 1) == reciprocal_rank(["x", "a"], ONE, 1) == recall(["x", "a"], ONE, 1) == 0


def test_second_chunk_of_a_section_earns_nothing_and_one_for_two_sources_is_ideal() -> None:
    assert ndcg(["a", "b", "c"], TWO, 10) == pytest.approx((1 + 1 / log2(4)) / (1 + 1 / log2(3)))
    assert ndcg(["a"], [frozenset({"a"}), frozenset({"a", "b"})], 10) == 1


@given(st.permutations(["a", "b", "c", "x", "y"]), st.integers(1, 6))
def test_measures_lie_between_0_and_1_and_are_1_for_the_ideal_ranking(ranking: list[str], k: int) -> None:
    for measure in (ndcg, reciprocal_rank, recall):
        assert 0 <= measure(ranking, TWO, k) <= 1
        assert measure(["a", "c", "x"], TWO, 2) == 1
