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

    def on_scale(self, lowest: float, width: float) -> Corrected:
        """The same on a scale that begins at `lowest` and is `width` wide."""
        mean, low, high = (lowest + width * value for value in (self.mean, self.low, self.high))
        return Corrected(mean, low, high, self.power, self.labels, self.judged)


@dataclass(frozen=True)
class Group:
    """Answers with what the judge says of them, from 0 to 1, and their clusters.

    Attributes:
        people: what people say of the same answers; None where nobody was asked.
    """

    judge: Sequence[float]
    clusters: Sequence[Hashable]
    people: Sequence[float] | None = None


NONE = Group((), ())


def corrected(labelled: Group, rest: Group, settled: Group = NONE) -> Corrected | None:
    """The mean of what people would say of all answers; None with too few labels.

    The share of the judge that counts is tuned so that the interval is shortest (Angelopoulos, Duchi and Zrnic, 2023):
    a judge that tells nothing does no harm.

    Args:
        labelled: answers that people judged, too, chosen by chance from those that the judge was asked about.
        rest: the others that it was asked about.
        settled: answers of which nobody needs to be asked; there the value is what it is.
    """
    clusters = len(set(labelled.clusters))
    if labelled.people is None or len(labelled.people) < FEWEST or clusters < 3:
        return None
    seen, unseen, known, true = map(_column, (labelled.judge, rest.judge, settled.judge, labelled.people))
    power = _power(unseen, seen, true)
    error, predicted = true - power * seen, power * unseen
    asked = len(true) + len(unseen)
    share = asked / (asked + len(known))
    of_asked = float(error.mean()) + (float(predicted.mean()) if power else 0.0)
    mean = share * of_asked + (1 - share) * (float(known.mean()) if len(known) else 0.0)
    # How far each answer moves the estimate: by its value, and by being one that is asked about or not.
    apart = (of_asked - mean) / (asked + len(known))
    influence = [
        share * (error - error.mean()) / len(error) + apart,
        share * (predicted - predicted.mean()) / len(predicted) + apart if len(predicted) else predicted,
        (known - mean) / (asked + len(known)),
    ]
    where = [*labelled.clusters, *rest.clusters, *settled.clusters]
    variance = float((sums_by_cluster(np.concatenate(influence), where) ** 2).sum()) * clusters / (clusters - 1)
    if float(error.std()) < 1e-9:
        # No label differs in its error from the others; one in so many might, by the whole scale.
        variance += (share / clusters) ** 2
    half = student(clusters - 1) * float(np.sqrt(variance))
    # The estimate is unbiased and may lie beyond the scale; what is reported may not.
    low, mean, high = (min(1.0, max(0.0, value)) for value in (mean - half, mean, mean + half))
    return Corrected(mean, low, high, power, len(true), asked + len(known))


def _column(values: Sequence[float]) -> Values:
    return np.asarray(values, dtype=np.float64)


def _power(rest: Values, seen: Values, true: Values) -> float:
    """How much the judge's values count, from 0 to 1."""
    if len(rest) < 2:
        return 0.0
    spread = float(np.concatenate([rest, seen]).var())
    if spread < 1e-12:
        return 0.0
    covariance = float(((true - true.mean()) * (seen - seen.mean())).mean())
    return min(1.0, max(0.0, covariance / (spread * (1 + len(true) / len(rest)))))
