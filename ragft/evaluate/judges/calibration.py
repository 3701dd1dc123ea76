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
from ragft.evaluate.statistics import Clusters

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
    powers = _powers(unseen, seen, true, labelled.clusters)
    power = float(powers.mean())
    error, predicted = true - powers * seen, power * unseen
    asked = len(true) + len(unseen)
    share = asked / (asked + len(known))
    of_asked = float(error.mean()) + (float(predicted.mean()) if len(predicted) else 0.0)
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
    # Errors of a judge are rare and large: as if one more label differed by the whole scale. Without this, 40 labels
    # covered 93 % in simulations, 20 covered 92 %, and labels that never differ left no doubt.
    variance += (share / clusters) ** 2
    half = student(clusters - 1) * float(np.sqrt(variance))
    # The estimate is unbiased and may lie beyond the scale; what is reported may not.
    low, mean, high = (min(1.0, max(0.0, value)) for value in (mean - half, mean, mean + half))
    return Corrected(mean, low, high, power, len(true), asked + len(known))


def _column(values: Sequence[float]) -> Values:
    return np.asarray(values, dtype=np.float64)


def _powers(unseen: Values, seen: Values, true: Values, clusters: Sequence[Hashable]) -> Values:
    """How much the judge's value counts for each label, from 0 to 1.

    Found from the labels of the other clusters, because what is tuned to a label explains its error too well.
    """
    spread = float(np.concatenate([unseen, seen]).var())
    if len(unseen) < 2 or spread < 1e-12:
        return np.zeros_like(true)
    groups = Clusters.of(clusters)
    # Sums of 1, seen, true and their product over all clusters but one give the covariance without it.
    columns = np.stack([np.ones_like(true), seen, true, seen * true], axis=1)
    n, sum_seen, sum_true, products = (columns.sum(axis=0) - groups.sums(columns)).T
    covariance = products / n - sum_seen * sum_true / n**2
    tuned = np.clip(covariance / (spread * (1 + len(true) / len(unseen))), 0.0, 1.0)
    return np.asarray(tuned[groups.labels])
