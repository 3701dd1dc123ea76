"""Kappa and alpha: published examples, and intervals that never collapse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.evaluate.agreement import cohen_kappa, krippendorff_alpha

SAID = st.sampled_from(["a", "tie", "b"])


def test_kappa_of_a_table_worked_out_by_hand() -> None:
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    found = cohen_kappa(pairs, range(50), ["yes", "no"])
    assert found.raw.mean == pytest.approx(0.7)  # and 0.5 by chance
    assert found.coefficient == pytest.approx(0.4)
    assert found.low is not None and found.high is not None
    assert 0.1 < found.low < 0.2 and 0.6 < found.high < 0.7


def test_quadratic_weights_forgive_near_misses() -> None:
    near, far = [(n, min(n + 1, 5)) for n in (1, 2, 3, 4, 5) * 4], [(n, 6 - n) for n in (1, 2, 3, 4, 5) * 4]
    scale = range(1, 6)
    forgiving = [cohen_kappa(pairs, range(20), scale, quadratic=True).coefficient for pairs in (near, far)]
    assert forgiving[0] is not None and forgiving[0] > 0.75
    assert forgiving[1] == pytest.approx(-1.0)
    strict = cohen_kappa(near, range(20), scale).coefficient
    assert strict is not None and strict < 0.1


# The two examples of Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011).
TWO = ["aabbdcccedda", "babbbccceddd"]
FOUR = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]


@pytest.mark.parametrize(("rows", "alpha"), [(TWO, 0.692), (FOUR, 0.743)])
def test_alpha_of_published_examples(rows: list[str], alpha: float) -> None:
    units = [[said for said in column if said != "."] for column in zip(*rows, strict=True)]
    found = krippendorff_alpha(units, range(len(units)), sorted({said for unit in units for said in unit}))
    assert found.coefficient == pytest.approx(alpha, abs=0.0005)


@given(st.lists(st.tuples(SAID, SAID), min_size=2, max_size=30))
def test_the_interval_holds_the_coefficient(pairs: list[tuple[str, str]]) -> None:
    for found in (
        cohen_kappa(pairs, range(len(pairs)), ["a", "tie", "b"]),
        krippendorff_alpha(pairs, range(len(pairs)), ["a", "tie", "b"]),
    ):
        if found.coefficient is None:
            assert len({said for pair in pairs for said in pair}) <= 2
        else:
            assert found.low is not None and found.high is not None
            assert found.low <= found.coefficient + 1e-9 and found.coefficient <= found.high + 1e-9
            assert found.low < found.high


def test_raters_who_all_say_one_thing_have_no_coefficient() -> None:
    found = cohen_kappa([("a", "a")] * 9, range(9), ["a", "b"])
    assert found.coefficient is None and found.raw.mean == 1.0


def test_items_of_one_rater_tell_nothing_of_agreement() -> None:
    assert krippendorff_alpha([["a"], ["b"], []], range(3), ["a", "b"]).raw.n == 0
