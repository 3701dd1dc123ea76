"""Intervals that hold at every moment: whoever looks at them as often as they like errs no more often than `alpha`.

An interval of `intervals` holds for a number of observations that was fixed before. In traffic nobody fixes it: people
look every day and stop when they like what they see. What stands here is a *confidence sequence*: with probability
1 - alpha, all intervals from the first observation to the last hold at once.

The method is that of Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
sequences", Annals of Statistics 49(2), 2021: their empirical-Bernstein sequence (theorem 4) with the gamma-exponential
mixture boundary (proposition 9), applied to a randomised experiment as in their section 4.2. Nothing is assumed but
that outcomes are bounded and that chance alone chose the arms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragft.evaluate.statistics.intervals import ALPHA

Floats = NDArray[np.float64]

_TUNED_FOR = 100.0
"""The sum of squared errors at which intervals are narrowest. It must not depend on the data; 100 is reached after a
few hundred observations of shares around a half, and the mixture loses little for tens or thousands."""
_MOST = 10**9  # observations that `needed_observations` looks at


@dataclass(frozen=True)
class Step:
    """What single observations add, each foretold from those before it.

    Attributes:
        effects: (..., n) unbiased estimates of the difference, one for each observation.
        errors: (..., n) how far each lies from what was foretold; none is larger than `scale`.
        scale: the largest error that is possible.
    """

    effects: Floats
    errors: Floats
    scale: float


@dataclass(frozen=True)
class Running:
    """A difference as it is known after `n` observations, and between which bounds it lies.

    Attributes:
        spread: sum of the squared errors of what was foretold.
        scale: see `Step`.
        alpha: probability that any interval of this sequence, at whatever `n`, misses.
    """

    n: int
    difference: float
    low: float
    high: float
    spread: float
    scale: float
    alpha: float

    @property
    def is_decided(self) -> bool:
        """Whether the interval excludes that there is no difference."""
        return self.n > 0 and (self.low > 0 or self.high < 0)


def randomised(values: Any, treated: Any, share: float) -> Step:
    """Two arms of which chance chose one for each observation.

    Each observation estimates the difference alone: inverse probability weighting around what the arms were foretold to
    give, which is the mean of the observations before it (Howard et al., section 4.2). An error is at most the inverse
    of the smaller share, because an outcome and its forecast both lie in [0, 1].

    Args:
        values: (..., n) outcomes in [0, 1], in the order in which they were observed.
        treated: (..., n) whether the second arm was chosen.
        share: the probability of that, between 0 and 1.
    """
    values, treated = np.asarray(values, dtype=np.float64), np.asarray(treated, dtype=bool)
    first, second = _foretold(values, ~treated), _foretold(values, treated)
    errors = np.where(treated, (values - second) / share, (first - values) / (1 - share))
    return Step(second - first + errors, errors, 1 / min(share, 1 - share))


def paired(differences: Any) -> Step:
    """Two answers to each question: `differences` (..., n) lie in [-1, 1], in the order in which they were observed.

    The differences must not drift: what is estimated is their common mean.
    """
    differences = np.asarray(differences, dtype=np.float64)
    before = np.cumsum(differences, axis=-1) - differences
    foretold = before / (np.arange(differences.shape[-1]) + 1)
    return Step(differences, differences - foretold, 2.0)


def _foretold(values: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """For each observation the mean of the chosen ones before it, and of one more of 0.5."""
    counted = np.where(chosen, values, 0.0)
    before = np.cumsum(counted, axis=-1) - counted
    return np.asarray((before + 0.5) / (np.cumsum(chosen, axis=-1) - chosen + 1))


def running(step: Step, alpha: float = ALPHA) -> Running:
    """What all observations of one experiment, (n,), tell of the difference; [-1, 1] where there is none."""
    n = step.effects.shape[-1]
    spread = float(np.sum(step.errors**2))
    if n == 0:
        return Running(0, 0.0, -1.0, 1.0, 0.0, step.scale, alpha)
    mean = float(np.clip(np.mean(step.effects), -1.0, 1.0))
    half = float(boundary(spread, step.scale, alpha / 2)) / n
    return Running(n, mean, max(-1.0, mean - half), min(1.0, mean + half), spread, step.scale, alpha)


def needed_observations(found: Running) -> int | None:
    """Observations after which the interval excludes 0 if difference and spread stay as they are.

    Returns:
        None where no number is in sight: the difference is not even as large as its standard error.
    """
    if found.n == 0 or abs(found.difference) * found.n <= math.sqrt(found.spread):
        return None
    each = found.spread / found.n

    def decided(n: int) -> bool:
        return float(boundary(each * n, found.scale, found.alpha / 2)) < abs(found.difference) * n

    if not decided(_MOST):
        return None
    low, high = 1, _MOST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle + 1, high)
    return low


def boundary(spread: Any, scale: float, alpha: float) -> Floats:
    """What a sum of effects, less its expectation, never exceeds with probability 1 - alpha, at any spread.

    Args:
        spread: sums of squared errors, of any shape.
        scale: see `Step`.
        alpha: one-sided.
    """
    spread = np.asarray(spread, dtype=np.float64)
    low = np.zeros_like(spread)
    # Twice what the two parts of the boundary are, the normal one and the one of a few large errors.
    log = math.log(1 / alpha)
    high = 4 * (np.sqrt((spread + _TUNED_FOR) * log) + scale * log) + 10 * np.sqrt(np.log1p(spread) * (spread + 1))
    for _ in range(48):  # to 15 digits
        middle = (low + high) / 2
        inside = log_martingale(middle, spread, scale, alpha) < log
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.asarray(high)


def log_martingale(total: Any, spread: Any, scale: float, alpha: float) -> Floats:
    """The logarithm of the mixture (Howard et al., proposition 9), which exceeds log(1 / alpha) at any time with a
    probability of at most alpha.

    Args:
        total: sums of effects, less their expectation.
        spread, scale: see `boundary`.
        alpha: one-sided; decides what the mixture is tuned for.
    """
    from scipy.special import gammainc, gammaln

    rho = _TUNED_FOR / (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha)))
    square = scale**2
    weight = rho / square
    first = weight * math.log(weight) - gammaln(weight) - np.log(gammainc(weight, weight))
    shape = (np.asarray(spread) + rho) / square
    place = (scale * np.asarray(total) + np.asarray(spread)) / square
    # A total far below its expectation is no evidence at all: it must only not be the logarithm of a negative number.
    at = np.maximum(place + weight, 1e-12)
    with np.errstate(divide="ignore"):
        found = first + gammaln(shape) + np.log(gammainc(shape, at)) - shape * np.log(at) + place
    return np.asarray(found)


def mismatch(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The p-value, valid whenever one looks, of arms being chosen with these shares; a small one means that something
    loses or favours an arm, so that no difference can be believed.

    The test of Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022.
    """
    from scipy.special import gammaln

    strength = 100.0  # of the alternative around the shares: detects deviations of a tenth of a share
    prior, seen = strength * np.asarray(shares), np.asarray(counts)
    evidence = float(
        gammaln(strength) - gammaln(strength + seen.sum())
        + np.sum(gammaln(prior + seen) - gammaln(prior) - seen * np.log(shares))
    )  # fmt: skip
    return min(1.0, math.exp(-evidence)) if evidence > -700 else 1.0
