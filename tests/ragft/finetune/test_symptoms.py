"""Warnings about losses: worked examples, each beside one that must not be warned of."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.finetune.symptoms import Validation, divergence, overfitting, plateau, symptoms


def validated(*pairs: tuple[float, float]) -> list[Validation]:
    """Validations every ten steps, from pairs of training and validation loss."""
    return [Validation(10 * number, *pair) for number, pair in enumerate(pairs, start=1)]


def test_a_loss_that_rises_again_diverges_and_one_that_falls_does_not() -> None:
    falling = [2.0 * math.exp(-step / 30) + 0.5 for step in range(60)]
    rising = [falling[-1] + 0.05 * step for step in range(20)]
    assert divergence(falling, steps=100) is None
    found = divergence(falling + rising, steps=100)
    assert found is not None
    assert (found.kind, found.step) == ("divergence", 80)
    assert "0.799 around step 60" in found.text and "finetune.learning_rate" in found.text


def test_one_bad_batch_is_no_divergence() -> None:
    assert divergence([*[1.0] * 30, 1.8, *[1.0] * 4], steps=100) is None


def test_a_loss_near_zero_that_doubles_is_no_divergence() -> None:
    assert divergence([*[0.01] * 30, *[0.02] * 10], steps=100) is None


def test_a_training_of_few_steps_is_not_judged() -> None:
    assert divergence([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], steps=6) is None


def test_validation_that_rises_while_training_falls_is_overfitting() -> None:
    found = overfitting(validated((1.0, 1.1), (0.6, 0.9), (0.3, 1.2)))
    assert found is not None
    assert found.text.startswith(
        "The model learns its rows by heart: since step 20 the validation loss rose from 0.900 to 1.200 while the "
        "training loss fell from 0.600 to 0.300"
    )


@pytest.mark.parametrize(
    "pairs",
    [
        [(1.0, 1.1), (0.6, 0.9), (0.3, 0.8)],  # both fall
        [(1.0, 1.1), (0.6, 0.9), (0.8, 1.2)],  # both rise
        [(1.0, 1.1), (0.6, 0.9), (0.3, 0.91)],  # within the noise
        [(1.0, 1.1)],
    ],
)
def test_what_is_no_overfitting(pairs: list[tuple[float, float]]) -> None:
    assert overfitting(validated(*pairs)) is None


def test_a_validation_loss_that_no_longer_falls_is_a_plateau() -> None:
    found = plateau(validated((1.0, 1.1), (0.9, 0.9), (0.88, 0.899), (0.87, 0.898)))
    assert found is not None
    assert "0.900 at or before step 20, 0.898 since" in found.text


@pytest.mark.parametrize("last", [0.85, 1.0])
def test_a_loss_that_falls_or_rises_is_no_plateau(last: float) -> None:
    rising = last > 0.9
    assert plateau(validated((1.0, 1.1), (0.9, 0.9), (0.88, 0.95 if rising else 0.9), (0.87, last))) is None


@given(st.lists(st.floats(0.01, 10), max_size=60), st.lists(st.tuples(st.floats(0, 9), st.floats(0.01, 9)), max_size=9))
def test_a_kind_is_warned_of_at_most_once_and_never_a_rise_as_a_plateau(
    losses: list[float], pairs: list[tuple[float, float]]
) -> None:
    kinds = [symptom.kind for symptom in symptoms(losses, validated(*pairs), steps=60)]
    assert len(kinds) == len(set(kinds))
    if "plateau" in kinds:
        earlier = min(loss for _, loss in pairs[:-2])
        assert min(loss for _, loss in pairs[-2:]) <= 1.02 * earlier


@given(st.floats(0.5, 5), st.integers(20, 200))
def test_a_steadily_falling_loss_is_never_warned_of(start: float, steps: int) -> None:
    losses = [start * 0.99**step for step in range(steps)]
    found = [Validation(step, losses[step - 1], losses[step - 1]) for step in range(10, steps + 1, 10)]
    assert symptoms(losses, found, steps=steps) == []
