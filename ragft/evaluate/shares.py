"""Intervals of means between 0 and 1 whose values come in clusters: rates of wins, agreement, scores on a scale.

Questions about one document are not independent, so variances are those of sums by cluster. Values are `(n,)` float64
from 0 to 1; clusters are `(n,)` of anything hashable, as `clusters_of` names them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragft.data.questions import Question
from ragft.evaluate.statistics import CONFIDENCE

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Rate:
    """A mean with its 95 % interval.

    Attributes:
        mean: None where there is no value.
        low, high: None where there are fewer than two clusters, which tell nothing of others.
        n, clusters: how many values and clusters it is from.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int

    def on_scale(self, lowest: float, width: float) -> Rate:
        """The same on a scale that begins at `lowest` and is `width` wide."""
        mean, low, high = (None if v is None else lowest + width * v for v in (self.mean, self.low, self.high))
        return Rate(mean, low, high, self.n, self.clusters)


NO_RATE = Rate(None, None, None, 0, 0)


def clusters_of(questions: Iterable[Question]) -> dict[str, str]:
    """The cluster of each question by its id: the document of its first source, or itself where it has none."""
    return {
        question.id: f"document {question.sources[0].documents[0]}" if question.sources else f"question {question.id}"
        for question in questions
    }


def rate(values: Sequence[float] | Values, clusters: Sequence[Hashable]) -> Rate:
    """The mean of values from 0 to 1, with its interval by clusters."""
    column = np.asarray(values, dtype=np.float64)
    if not len(column):
        return NO_RATE
    mean, count = float(column.mean()), len(set(clusters))
    # By chance, sums by cluster may seem less scattered than independent values; that is not to be relied upon.
    variance = max(variance_of_mean(column - mean, clusters), float(column.var()) / len(column))
    low, high = share_interval(mean, variance, count)
    return Rate(mean, low, high, len(column), count)


def variance_of_mean(deviations: Values, clusters: Sequence[Hashable]) -> float:
    """Variance of a mean from the deviations of its values, summed by cluster; 0 for a single cluster."""
    sums = sums_by_cluster(deviations, clusters)
    if len(sums) < 2:
        return 0.0
    return float(len(sums) / (len(sums) - 1) * (sums**2).sum() / len(deviations) ** 2)


def sums_by_cluster(values: Values, clusters: Sequence[Hashable]) -> Values:
    """The sum of the values of each cluster, `(clusters,)`."""
    order = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    member = [order[cluster] for cluster in clusters]
    return np.bincount(member, weights=values, minlength=len(order)).astype(np.float64)


def share_interval(share: float, variance: float, clusters: int) -> tuple[float | None, float | None]:
    """95 % interval of a share with this variance: Wilson's (1927) for as many values as would have that variance.

    The quantile is Student's with one degree of freedom less than there are clusters. Where all values agree, each
    cluster counts as one value: twenty of twenty do not prove that all are.
    """
    if clusters < 2:
        return None, None
    t = student(clusters - 1)
    spread = share * (1 - share)
    n = spread / variance if variance > 1e-15 and spread > 0 else float(clusters)
    center = (share + t * t / (2 * n)) / (1 + t * t / n)
    half = t / (1 + t * t / n) * math.sqrt(spread / n + (t / (2 * n)) ** 2)
    # At 0 and 1 rounding leaves the last digit on the wrong side.
    return max(0.0, min(share, center - half)), min(1.0, max(share, center + half))


def student(freedom: float) -> float:
    """The two-sided 95 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def sign_flip_p(deviations: Sequence[float] | Values, clusters: Sequence[Hashable], *, seed: int) -> float:
    """Two-sided p-value that the deviations have mean 0, by flipping the signs of whole clusters (Fisher, 1935)."""
    if not len(deviations):
        return 1.0
    sums = sums_by_cluster(np.asarray(deviations, dtype=np.float64), clusters)
    observed = abs(sums.sum()) * (1 - 1e-9)
    count = len(sums)
    if count <= 12:
        places = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return float((np.abs((2.0 * places - 1) @ sums) >= observed).mean())
    signs = np.random.default_rng(seed).integers(0, 2, (10_000, count)) * 2.0 - 1.0
    # The observed arrangement is one of the permutations (Phipson and Smyth, 2010).
    return float(((np.abs(signs @ sums) >= observed).sum() + 1) / (len(signs) + 1))
