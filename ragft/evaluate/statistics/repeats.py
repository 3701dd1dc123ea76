"""Several runs of one recipe, each with another seed: what they reach on average, and how far two of them differ.

A figure of one run is as certain as its questions allow. Whether another training, or another draw of the answers,
would give it again, only repeated runs can tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ragft.evaluate.statistics.clusters import Clusters
from ragft.evaluate.statistics.intervals import ALPHA, Bounds, Columns, Estimate, Moments, estimates


@dataclass(frozen=True)
class Repeated:
    """What several runs of one recipe reach on the same questions.

    Attributes:
        estimate: the mean over runs, with an interval for other questions *and* other runs.
        runs: the mean of each run.
        between: variance of the mean of a run that other answers to single questions do not explain, 0 or more.
        noise_floor: two runs of this recipe differ by less, 19 times of 20; None with one run. A difference between two
            setups that is no larger may be one of seeds.
    """

    estimate: Estimate
    runs: tuple[float, ...]
    between: float
    noise_floor: float | None


def repeated(scores: Columns, clusters: Clusters | None = None, *, bounds: Bounds = None) -> Repeated:
    """Runs of one recipe.

    Args:
        scores: (questions, runs) of one metric; a question that one of the runs has no score for is left out.
        bounds: lowest and highest value of a score.

    Raises:
        ValueError: no question has a score in all runs.
    """
    from scipy.special import stdtrit

    clusters = clusters or Clusters.single(len(scores))
    kept = ~np.isnan(scores).any(axis=1)
    if not kept.any():
        raise ValueError("no question has a score in all runs")
    scores, clusters = scores[kept], Clusters.of(clusters.labels[kept].tolist())
    of_question, count = scores.mean(axis=1, keepdims=True), scores.shape[1]
    means = scores.mean(axis=0)
    (estimate,) = estimates(of_question, clusters, bounds=[bounds])
    if count == 1:
        return Repeated(estimate, (float(means[0]),), 0.0, None)
    observed = float(means.var(ddof=1))
    # What answers that change from run to run, question by question, make the mean of a run vary by.
    residuals = (scores - of_question - means + means.mean()) * math.sqrt(count / (count - 1))
    explained = float(np.nan_to_num(Moments.of(residuals, clusters).variance, nan=0.0).mean())
    between = max(0.0, observed - explained)
    quantile = float(stdtrit(count - 1, 1 - ALPHA / 2))
    floor = quantile * math.sqrt(2 * max(observed, explained))
    return Repeated(
        _widened(estimate, quantile * math.sqrt(between / count), bounds), tuple(map(float, means)), between, floor
    )


def _widened(estimate: Estimate, half: float, bounds: Bounds) -> Estimate:
    """An interval with a second, independent source of variance, half of whose interval is `half`."""
    if estimate.mean is None or estimate.low is None or estimate.high is None:
        return estimate
    low = estimate.mean - math.hypot(estimate.mean - estimate.low, half)
    high = estimate.mean + math.hypot(estimate.high - estimate.mean, half)
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Estimate(estimate.mean, low, high, estimate.n, estimate.clusters)
