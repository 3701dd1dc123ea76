"""Means with 95 % intervals that hold for clustered questions, few of them, and shares near 0 and 1.

The variance of a mean is taken between clusters, with the small-sample correction CR2 and Satterthwaite's degrees of
freedom (Bell and McCaffrey, 2002). From it follows the number of independent questions that would be worth as much,
the effective sample (Korn and Graubard, 1998), and from that an interval that does not collapse where all agree.
`benchmarks/intervals.py` simulates what they cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ragft.evaluate.statistics.clusters import Clusters

Columns = NDArray[np.float64]
Bounds = tuple[float, float] | None
"""Lowest and highest value that a score can have; None where there is no such limit."""

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
MIN_CLUSTERS = 3
"""Fewer clusters give no interval: two say nothing of how clusters vary that would hold."""

_Z = NormalDist().inv_cdf(1 - ALPHA / 2)
# The intra-class correlation that unequal clusters are weighted by, and that is assumed where too few clusters differ
# to estimate it. Chosen by the simulation: with 0.2 shares of 2 % are covered 92.5 % of the time, 0.5 only widens.
_ASSUMED_CORRELATION = 0.3


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval.

    Attributes:
        mean: None where no question has a score.
        low, high: None where too few clusters, or values without limits that never differ, allow no interval.
        n: questions with a score.
        clusters: clusters that these belong to.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int = 0


@dataclass(frozen=True)
class Moments:
    """What intervals, tests and plans need of columns; each (columns,).

    Attributes:
        spread: variance of single scores around the mean.
        variance: of the mean, between clusters; NaN with fewer than two clusters.
        df: Satterthwaite's degrees of freedom of `variance`.
        size: mean number of questions in the cluster of a question.
        telling: clusters with a score other than the commonest; only these say how scores vary between clusters.
    """

    n: NDArray[np.int64]
    clusters: NDArray[np.int64]
    mean: Columns
    spread: Columns
    variance: Columns
    df: Columns
    size: Columns
    telling: NDArray[np.int64]

    @classmethod
    def of(cls, columns: Columns, clusters: Clusters) -> Moments:
        """The moments of (questions, columns); a column without a score has mean 0."""
        present = ~np.isnan(columns)
        filled = np.where(present, columns, 0.0)
        n = present.sum(axis=0)
        whole = np.maximum(n, 1)
        mean = filled.sum(axis=0) / whole
        residuals = np.where(present, columns - mean, 0.0)
        sizes, sums = clusters.sums(present.astype(np.float64)), clusters.sums(residuals)
        count = (sizes > 0).sum(axis=0)
        share = np.where(count > 1, sizes / whole, 0.0)
        variance = np.where(count > 1, (sums**2 / (1 - share)).sum(axis=0) / whole**2, np.nan)
        different = present & (filled != _commonest(columns))
        telling = (clusters.sums(different.astype(np.int64)) > 0).sum(axis=0)
        spread = (residuals**2).sum(axis=0) / whole
        size = (sizes**2).sum(axis=0) / whole
        return cls(n, count, mean, spread, variance, _degrees_of_freedom(sizes, share, count), size, telling)

    @property
    def design_effect(self) -> Columns:
        """How many times the variance of the mean is that of independent questions; NaN where all scores are equal."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(self.spread > 0, self.variance * self.n / self.spread, np.nan))

    def effective(self, signed: NDArray[np.bool_]) -> Columns:
        """The number of independent questions that tell as much, with what few clusters cost taken off.

        Where hardly any cluster tells how scores vary, the design effect is an accident (one wrong answer of a hundred
        always looks independent), so an intra-class correlation is assumed instead.

        Args:
            signed: columns of differences. Where few clusters differ their sums are skewed, so half of them count; the
                simulation covers 89 % without that, at ten documents and shares of 90 and 98 %.
        """
        from scipy.special import stdtrit

        assumed = 1 + (self.size - 1) * _ASSUMED_CORRELATION
        effect = np.where(np.isnan(self.design_effect), self.size, self.design_effect)
        telling = np.where(signed, self.telling // 2, self.telling)
        few, fewer = (
            np.where(df > 0, (_Z / stdtrit(np.maximum(df, 0.5), 1 - ALPHA / 2)) ** 2, 0.0)
            for df in (self.df, np.minimum(self.df, telling))
        )
        seen = self.n / np.maximum(effect, 1e-9) * fewer
        least = self.n / np.maximum(np.maximum(effect, 1.0), assumed) * few
        return np.asarray(np.minimum(self.n, np.maximum(seen, least)))


def estimates(
    columns: Columns, clusters: Clusters | None = None, *, bounds: Sequence[Bounds] | None = None
) -> list[Estimate]:
    """Mean and 95 % interval of every column.

    Shares of yes and no get Wilson's interval (1927), other scores with limits the adjusted one of `bounded_interval`,
    both over the effective sample; scores without limits get Student's.

    Args:
        clusters: of the questions; None: each is its own.
        bounds: of each column; None: no column has limits.
    """
    if clusters is None:
        clusters = Clusters.single(len(columns))
    moments = Moments.of(columns, clusters)
    return [
        Estimate(float(mean), *limits, int(n), int(count)) if n else Estimate(None, None, None, 0)
        for mean, n, count, limits in zip(
            moments.mean, moments.n, moments.clusters,
            interval_limits(columns, moments, bounds or [None] * columns.shape[1]), strict=True,
        )
    ]  # fmt: skip


def interval_limits(
    columns: Columns, moments: Moments, bounds: Sequence[Bounds]
) -> list[tuple[float | None, float | None]]:
    """Lower and upper end of the interval of every column; None, None where there is none."""
    yes_no = np.where(np.isnan(columns), True, np.isin(columns, (0.0, 1.0))).all(axis=0)
    shares = yes_no & np.array([limit == (0.0, 1.0) for limit in bounds])
    limited = np.array([limit is not None for limit in bounds])
    lowest, highest = np.array([limit or (0.0, 0.0) for limit in bounds], dtype=np.float64).T
    effective = moments.effective(lowest < 0)
    wilson = _wilson(moments.mean, effective)
    bounded = bounded_interval(moments.mean, moments.spread, effective, lowest, highest)
    student = _student(moments)
    low, high = (
        np.where(shares, one, np.where(limited, two, three))
        for one, two, three in zip(wilson, bounded, student, strict=True)
    )
    known = (moments.clusters >= MIN_CLUSTERS) & (limited | (moments.spread > 1e-20 * moments.mean**2))
    # Sums of floats in another order differ in the last digits, so a mean may lie just outside.
    low, high = np.minimum(low, moments.mean), np.maximum(high, moments.mean)
    return [(float(low[at]), float(high[at])) if known[at] else (None, None) for at in range(len(known))]


def bounded_interval(
    mean: Columns, spread: Columns, effective: Columns, lowest: Columns, highest: Columns
) -> tuple[Columns, Columns]:
    """The interval of Bonett and Price (2012) for paired differences, for any score with limits.

    One observation more at each limit keeps it from collapsing: three wins of three are +100 points, -94 to +100.
    """
    total = effective + 2
    second = (spread + mean**2) * effective + lowest**2 + highest**2
    middle = (mean * effective + lowest + highest) / total
    half = _Z * np.sqrt(np.maximum(second / total - middle**2, 0.0) / total)
    return np.maximum(lowest, middle - half), np.minimum(highest, middle + half)


def wilson_interval(count: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share of independent values (Wilson, 1927): it holds at 0, at 1 and for few.

    >>> "{:.3f} {:.3f}".format(*wilson_interval(8, 10))
    '0.490 0.943'
    """
    from scipy.stats import binomtest

    interval = binomtest(count, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def _wilson(share: Columns, n: Columns) -> tuple[Columns, Columns]:
    n = np.maximum(n, 1e-9)
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(np.maximum(share * (1 - share) / n + (_Z / (2 * n)) ** 2, 0.0))
    return np.maximum(0.0, middle - half), np.minimum(1.0, middle + half)


def _student(moments: Moments) -> tuple[Columns, Columns]:
    from scipy.special import stdtrit

    half = stdtrit(np.maximum(moments.df, 0.5), 1 - ALPHA / 2) * np.sqrt(moments.variance)
    return moments.mean - half, moments.mean + half


def _degrees_of_freedom(sizes: Columns, share: Columns, count: NDArray[np.int64]) -> Columns:
    """Satterthwaite's degrees of freedom of the variance between clusters, which unequal clusters lower.

    The adjusted sums of residuals have the covariance D - p q' - q p' + t p p', so its trace and its norm need no
    matrix. `sizes`, `share`: (clusters, columns).
    """
    scale = 1 / (1 - share)
    variances = sizes * (1 - _ASSUMED_CORRELATION) + sizes**2 * _ASSUMED_CORRELATION
    p, q, diagonal = np.sqrt(scale) * share, np.sqrt(scale) * variances, scale * variances
    total = variances.sum(axis=0)
    low_rank = total * p**2 - 2 * p * q
    pp, qq, pq = (p * p).sum(axis=0), (q * q).sum(axis=0), (p * q).sum(axis=0)
    norm = (diagonal**2).sum(axis=0) + 2 * (diagonal * low_rank).sum(axis=0)
    norm += 2 * pp * qq + 2 * pq**2 + (total * pp) ** 2 - 4 * total * pq * pp
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (diagonal + low_rank).sum(axis=0) ** 2 / norm
    return np.asarray(np.where(count > 1, df, 0.0))


def _commonest(columns: Columns) -> Columns:
    """The commonest score of every column; 0 where there is none."""
    found = np.zeros(columns.shape[1])
    for at in range(columns.shape[1]):
        values, counts = np.unique(columns[:, at], return_counts=True)
        counts = np.where(np.isnan(values), 0, counts)
        if counts.any():
            found[at] = values[counts.argmax()]
    return found
