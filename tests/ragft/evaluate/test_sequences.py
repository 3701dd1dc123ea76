"""Intervals that hold whenever one looks: by simulation, looking after every single observation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

from ragft.evaluate.statistics.sequences import (
    Step,
    boundary,
    log_martingale,
    mismatch,
    needed_observations,
    paired,
    randomised,
    running,
)

ALPHA = 0.1
RUNS, LENGTH = 300, 500


def misses(step: Step, truth: float) -> float:
    """The share of experiments in which an interval misses the truth, at any moment."""
    moments = np.arange(1, step.effects.shape[-1] + 1)
    total = np.cumsum(step.effects, axis=-1) - truth * moments
    spread = np.cumsum(step.errors**2, axis=-1)
    missed = np.zeros(len(total), dtype=bool)
    for sign in (1, -1):
        evidence = log_martingale(sign * total, spread, step.scale, ALPHA / 2)
        missed |= (evidence >= math.log(2 / ALPHA)).any(axis=-1)
    return float(missed.mean())


def drawn(seed: int, share: float, control: float, arm: float, runs: int = RUNS, length: int = LENGTH) -> tuple:  # type: ignore[type-arg]
    random = np.random.default_rng(seed)
    treated = random.random((runs, length)) < share
    return (random.random((runs, length)) < np.where(treated, arm, control)).astype(float), treated


@pytest.mark.parametrize(
    ("share", "control", "arm"), [(0.5, 0.5, 0.5), (0.1, 0.9, 0.9), (0.5, 0.02, 0.02), (0.3, 0.2, 0.4), (0.9, 1.0, 0.0)]
)
def test_looking_after_every_observation_errs_no_more_often_than_alpha(
    share: float, control: float, arm: float
) -> None:
    values, treated = drawn(7, share, control, arm)
    assert misses(randomised(values, treated, share), arm - control) <= ALPHA


def test_traffic_that_drifts_changes_nothing_as_long_as_chance_chooses_the_arms() -> None:
    random = np.random.default_rng(3)
    treated = random.random((RUNS, LENGTH)) < 0.5
    base = np.linspace(0.1, 0.9, LENGTH)  # questions become easier, for both arms alike
    values = (random.random((RUNS, LENGTH)) < base).astype(float)
    assert misses(randomised(values, treated, 0.5), 0.0) <= ALPHA


def test_pairs_that_are_looked_at_after_every_observation_err_no_more_often_than_alpha() -> None:
    random = np.random.default_rng(5)
    differences = random.choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=(RUNS, LENGTH))
    assert misses(paired(differences), 0.2) <= ALPHA


def test_an_interval_for_a_fixed_number_errs_far_more_often_when_it_is_looked_at_so() -> None:
    """Otherwise the simulation would prove nothing."""
    values, treated = drawn(7, 0.5, 0.5, 0.5)
    step = randomised(values, treated, 0.5)
    moments = np.arange(1, LENGTH + 1)
    mean = np.cumsum(step.effects, axis=-1) / moments
    half = 1.645 * np.sqrt(np.cumsum(step.errors**2, axis=-1)) / moments
    assert (np.abs(mean)[:, 20:] > half[:, 20:]).any(axis=-1).mean() > 3 * ALPHA


@pytest.mark.parametrize("scale", [1.0, 2.0, 5.0])
@pytest.mark.parametrize(("total", "spread"), [(0.0, 0.0), (5.0, 3.0), (-3.0, 10.0), (40.0, 100.0)])
def test_the_closed_form_is_the_mixture_that_the_paper_defines(scale: float, total: float, spread: float) -> None:
    rho = 100 / (2 * math.log(40) + math.log(1 + 2 * math.log(40)))
    shape = rho / scale**2

    def density(rate: float) -> float:
        return (1 - scale * rate) ** (shape - 1) * math.exp(-shape * (1 - scale * rate))

    def process(rate: float) -> float:
        cumulant = (-math.log(1 - scale * rate) - scale * rate) / scale**2
        return math.exp(rate * total - cumulant * spread) * density(rate)

    expected = math.log(quad(process, 0, 1 / scale)[0] / quad(density, 0, 1 / scale)[0])
    assert log_martingale(total, spread, scale, 0.025) == pytest.approx(expected, abs=1e-6)


def test_the_boundary_is_where_the_mixture_reaches_its_limit() -> None:
    spread = np.array([0.0, 1.0, 50.0, 1e4, 1e8])
    for scale, alpha in ((1.0, 0.05), (10.0, 0.0001)):
        found = boundary(spread, scale, alpha)
        assert np.allclose(log_martingale(found, spread, scale, alpha), math.log(1 / alpha), atol=1e-6)


def test_a_difference_is_decided_about_when_it_was_said_to_be() -> None:
    values, treated = drawn(11, 0.5, 0.5, 0.65, runs=1, length=20_000)
    early = randomised(values[0, :300], treated[0, :300], 0.5)
    assert not running(early).is_decided
    needed = needed_observations(running(early))
    assert needed is not None and 300 < needed < 20_000
    late = running(randomised(values[0], treated[0], 0.5))
    assert late.is_decided and late.low < 0.15 < late.high
    assert late.low > 0 and late.difference == pytest.approx(0.15, abs=0.03)


def test_nothing_observed_is_any_difference_and_none_needs_no_number() -> None:
    nothing = running(randomised([], [], 0.5))
    assert (nothing.low, nothing.high, nothing.is_decided) == (-1.0, 1.0, False)
    assert needed_observations(nothing) is None
    assert needed_observations(running(paired([0.0] * 50))) is None


@pytest.mark.parametrize(
    ("counts", "suspicious"), [([0, 0], False), ([510, 490], False), ([600, 400], True), ([90, 10], True)]
)
def test_arms_that_do_not_get_their_shares_are_noticed(counts: list[int], suspicious: bool) -> None:
    assert (mismatch(counts, [0.5, 0.5]) < 0.001) == suspicious
    assert mismatch([910, 90], [0.9, 0.1]) > 0.5
