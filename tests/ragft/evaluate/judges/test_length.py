"""Win rates at equal length: a preference for length is taken out, a preference for quality stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.evaluate.judges.length import AtEqualLength, at_equal_length
from ragft.evaluate.shares import rate


def simulated(
    rng: np.random.Generator, better: float, verbose: float, count: int = 400
) -> tuple[list[float], list[int]]:
    """Outcomes of a judge with logits for quality and length; the answers of a are longer by and large."""
    longer = rng.normal(60, 100, count)
    logits = better + verbose * np.tanh(longer / longer.std())
    outcomes = (rng.random(count) < 1 / (1 + np.exp(-logits))).astype(float)
    return outcomes.tolist(), longer.astype(int).tolist()


def level(outcomes: list[float], longer: list[int]) -> AtEqualLength:
    found = at_equal_length(outcomes, longer, range(len(outcomes)))
    assert found is not None
    return found


def test_a_preference_for_length_alone_is_found_and_taken_out() -> None:
    outcomes, longer = simulated(np.random.default_rng(0), better=0.0, verbose=2.0)
    raw, found = rate(outcomes, range(400)), level(outcomes, longer)
    assert raw.low is not None and raw.low > 0.6
    assert found.low < 0.5 < found.high
    assert found.effect_low < 2.0 < found.effect_high and found.effect_low > 1.0


def test_a_preference_for_quality_stays() -> None:
    outcomes, longer = simulated(np.random.default_rng(1), better=1.0, verbose=0.0)
    found = level(outcomes, longer)
    assert found.low < 1 / (1 + np.exp(-1.0)) < found.high and found.low > 0.5
    assert found.effect_low < 0 < found.effect_high


def test_intervals_cover_the_rate_in_about_95_of_100_cases() -> None:
    rng, count = np.random.default_rng(2), 300
    true = 1 / (1 + np.exp(-0.5))
    covered = sum(
        found.low <= true <= found.high for found in (level(*simulated(rng, 0.5, 1.5, 150)) for _ in range(count))
    )
    assert 0.92 <= covered / count <= 0.98


def test_one_side_that_wins_everything_has_a_rate_that_is_not_certain() -> None:
    rng = np.random.default_rng(3)
    found = level([1.0] * 40, rng.normal(0, 50, 40).astype(int).tolist())
    assert 0.9 < found.win_rate < 1 and found.low < 0.95


@pytest.mark.parametrize(
    ("outcomes", "longer"),
    [([1.0] * 9, list(range(9))), ([0.0, 1.0] * 10, [50] * 20), ([0.0, 1.0] * 10, [1000, 1001] * 10)],
)
def test_where_length_and_setup_are_the_same_thing_nothing_is_claimed(outcomes: list[float], longer: list[int]) -> None:
    assert at_equal_length(outcomes, longer, range(len(outcomes))) is None


@pytest.mark.medium
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(-300, 300)), min_size=10, max_size=40))
def test_exchanging_the_sides_exchanges_the_rate(pairs: list[tuple[float, int]]) -> None:
    outcomes, longer = [outcome for outcome, _ in pairs], [by for _, by in pairs]
    one = at_equal_length(outcomes, longer, range(len(pairs)))
    other = at_equal_length([1 - outcome for outcome in outcomes], [-by for by in longer], range(len(pairs)))
    if one is None or other is None:
        assert one is other is None
        return
    assert one.win_rate == pytest.approx(1 - other.win_rate, abs=1e-4)
    assert one.low <= one.win_rate <= one.high
    assert one.effect == pytest.approx(other.effect, abs=1e-2)
