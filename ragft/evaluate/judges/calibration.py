"""A judge against people: how far they agree, and what people would have said of all answers.

A judge that errs, errs on every answer, so that more answers make its mean more certain and no more true. A few labels
by people show by how much; prediction-powered inference (Angelopoulos et al., 2023) corrects the mean by it and has an
interval that counts the uncertainty of the correction, too.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from ragft.evaluate.shares import Values, student, sums_by_cluster

FEWEST = 10
"""Labels below which nothing is corrected: an interval from fewer would be worthless or false."""


@dataclass(frozen=True)
class Corrected:
    """A judge's mean, corrected by labels.

    Attributes:
        mean: what people would have said on average, with its 95 % interval.
        power: from 0, the labels alone count, to 1, the judge's mean plus its mean error.
        labels, judged: how many values of people and of the judge it is from.
    """

    mean: float
    low: float
    high: float
    power: float
    labels: int
    judged: int


def corrected(
    judged: Sequence[float] | Values,
    clusters: Sequence[Hashable],
    labelled: Sequence[float] | Values,
    labels: Sequence[float] | Values,
    labelled_clusters: Sequence[Hashable],
) -> Corrected | None:
    """The mean of what people would say, from values between 0 and 1; None with too few labels.

    The share of the judge that counts is tuned so that the interval is shortest (Angelopoulos, Duchi and Zrnic, 2023):
    a judge that tells nothing does no harm. The labels must be of answers that were chosen by chance.

    Args:
        judged: the judge on answers without a label.
        labelled: the judge on those with one.
        labels: people on the same.
    """
    rest, seen, true = (np.asarray(values, dtype=np.float64) for values in (judged, labelled, labels))
    groups = len(set(labelled_clusters))
    if len(true) < FEWEST or groups < 3:
        return None
    power = _power(rest, seen, true)
    error = true - power * seen
    mean = float(error.mean()) + (power * float(rest.mean()) if power else 0.0)
    influence = [(error - error.mean()) / len(error), power * (rest - rest.mean()) / len(rest) if power else rest[:0]]
    where = [*labelled_clusters, *(clusters if power else ())]
    sums = sums_by_cluster(np.concatenate(influence), where)
    variance = float((sums**2).sum()) * groups / (groups - 1)
    if float(error.std()) < 1e-9:
        # No label differs in its error from the others; one in so many might, by the whole scale.
        variance += 1 / groups**2
    half = student(groups - 1) * float(np.sqrt(variance))
    # The estimate is unbiased and may lie beyond the scale; what is reported may not.
    low, mean, high = (min(1.0, max(0.0, value)) for value in (mean - half, mean, mean + half))
    return Corrected(mean, low, high, power, len(true), len(rest) + len(seen))


def _power(rest: Values, seen: Values, true: Values) -> float:
    """How much the judge's values count, from 0 to 1."""
    if len(rest) < 2:
        return 0.0
    spread = float(np.concatenate([rest, seen]).var())
    if spread < 1e-12:
        return 0.0
    covariance = float(((true - true.mean()) * (seen - seen.mean())).mean())
    return min(1.0, max(0.0, covariance / (spread * (1 + len(true) / len(rest)))))
