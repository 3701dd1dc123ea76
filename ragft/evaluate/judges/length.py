"""Win rates at equal length: what would be left of a preference if both answers were equally long.

As in length-controlled AlpacaEval (Dubois et al., 2024), a logistic regression explains preferences by a constant and
by the standardised difference in length, squeezed by tanh; the rate at equal length is the one where that is 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from ragft.evaluate.shares import Values, student
from ragft.evaluate.statistics import Clusters

_ITERATIONS = 100


@dataclass(frozen=True)
class AtEqualLength:
    """A win rate adjusted for length.

    Attributes:
        effect: logits by which a difference of many standard deviations in length moves the preference to the longer
            answer; 0 is no bias.
    """

    win_rate: float
    low: float
    high: float
    effect: float
    effect_low: float
    effect_high: float


def at_equal_length(
    outcomes: Sequence[float], longer_by: Sequence[int], clusters: Sequence[Hashable]
) -> AtEqualLength | None:
    """The win rate of a over b at equal length, with intervals by clusters.

    None where it cannot be told: fewer than ten outcomes or three clusters, or one setup's answers are so regularly the
    longer ones that length and setup are the same thing.

    Args:
        outcomes: 1 where a wins, 0 where b does, 0.5 for a tie.
        longer_by: characters by which the answer of a is longer.
    """
    y, difference = np.asarray(outcomes, dtype=np.float64), np.asarray(longer_by, dtype=np.float64)
    groups = Clusters.of(clusters)
    if len(y) < 10 or groups.count < 3 or difference.std() == 0:
        return None
    x = np.stack([np.ones_like(y), np.tanh(difference / difference.std())], axis=1)
    # With a mean far beyond the deviation the two columns say the same.
    if x[:, 1].std() < 0.1:
        return None
    coefficients, information = _fit(x, y)
    residuals = (y - _logistic(x @ coefficients))[:, None] * x
    sums = groups.sums(residuals)
    inverse = np.linalg.inv(information)
    robust = groups.count / (groups.count - 1) * inverse @ (sums.T @ sums) @ inverse
    # Where one side wins everything there are no residuals, which does not make the rate certain.
    half = student(groups.count - 2) * np.sqrt(np.maximum(np.diag(robust), np.diag(inverse)))
    low, high = coefficients - half, coefficients + half
    rates = [float(_logistic(np.array(logit))) for logit in (coefficients[0], low[0], high[0])]
    return AtEqualLength(rates[0], rates[1], rates[2], float(coefficients[1]), float(low[1]), float(high[1]))


def _fit(x: Values, y: Values) -> tuple[Values, Values]:
    """Coefficients of a logistic regression with Firth's penalty (1993), and their information.

    The penalty keeps the coefficients finite where one side wins everything.
    """
    coefficients = np.zeros(x.shape[1])
    for _ in range(_ITERATIONS):
        p = _logistic(x @ coefficients)
        weights = p * (1 - p)
        information = x.T @ (weights[:, None] * x)
        hat = weights * np.einsum("ij,jk,ik->i", x, np.linalg.inv(information), x)
        step = np.linalg.solve(information, x.T @ (y - p + hat * (0.5 - p)))
        step *= min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        coefficients = coefficients + step
        if float(np.abs(step).max()) < 1e-9:
            break
    p = _logistic(x @ coefficients)
    return coefficients, x.T @ ((p * (1 - p))[:, None] * x)


def _logistic(values: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-values)))
