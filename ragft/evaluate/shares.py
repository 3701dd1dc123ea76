"""Intervals of means between 0 and 1 whose values come in clusters: rates of wins, agreement, scores on a scale.

Questions about one document are not independent, so variances are those of sums by cluster. Values are `(n,)` float64
from 0 to 1; clusters are `(n,)` of anything hashable, as `clusters_of` names them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragft.data.questions import Question
from ragft.evaluate import statistics
from ragft.evaluate.statistics import CONFIDENCE, Clusters, Estimate, cluster_questions, estimates

Values = NDArray[np.float64]
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Rate(Estimate):
    """A mean of values from 0 to 1 with its 95 % interval, as a comparison has it."""

    def on_scale(self, lowest: float, width: float) -> Rate:
        """The same on a scale that begins at `lowest` and is `width` wide."""
        mean, low, high = (None if v is None else lowest + width * v for v in (self.mean, self.low, self.high))
        return Rate(mean, low, high, self.n, self.clusters)


NO_RATE = Rate(None, None, None, 0, 0)


def in_words(share: Mapping[str, Any] | None) -> str:
    """A share `{mean, low, high}` in percent, with its interval where it has one; empty where it is not known.

    >>> in_words({"mean": 0.5, "low": 0.25, "high": 0.75})
    '50% (25% to 75%)'
    """
    if share is None or share["mean"] is None:
        return ""
    between = "" if share["low"] is None else f" ({share['low']:.0%} to {share['high']:.0%})"
    return f"{share['mean']:.0%}{between}"


def clusters_of(questions: Sequence[Question]) -> dict[str, str]:
    """The name of the cluster of each question by its id, as `cluster_questions` tells."""
    labels = cluster_questions(questions).labels.tolist()
    return {question.id: f"cluster {label}" for question, label in zip(questions, labels, strict=True)}


def rate(values: Sequence[float] | Values, clusters: Sequence[Hashable]) -> Rate:
    """The mean of values from 0 to 1, with its interval by clusters."""
    column = np.asarray(values, dtype=np.float64)
    if not len(column):
        return NO_RATE
    (found,) = estimates(column[:, None], Clusters.of(clusters), bounds=[(0.0, 1.0)])
    return Rate(**vars(found))


def sums_by_cluster(values: Values, clusters: Sequence[Hashable]) -> Values:
    """The sum of the values of each cluster, `(clusters,)`."""
    return np.asarray(Clusters.of(clusters).sums(values))


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
    """Two-sided p-value that the deviations have mean 0, see `ragft.evaluate.statistics.sign_flip_p`."""
    if not len(deviations):
        return 1.0
    sums = sums_by_cluster(np.asarray(deviations, dtype=np.float64), clusters)
    return float(statistics.sign_flip_p(sums[:, None], seed=seed, resamples=_RESAMPLES)[0])
