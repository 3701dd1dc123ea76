"""Two setups compared question by question: the difference, its interval, an exact test, and how many would decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragft.evaluate.statistics.clusters import Clusters
from ragft.evaluate.statistics.intervals import Bounds, Columns, Moments, interval_limits
from ragft.evaluate.statistics.planning import Design, detectable_difference, needed_questions

_CHUNK = 500  # arrangements at once: 500 x 5,000 clusters of float64 are 20 MB
_ENUMERATED = 12  # clusters up to which all arrangements of signs are tried


@dataclass(frozen=True)
class PairTest:
    """Two setups compared on one metric, over the questions that both have a score for; `difference` is a minus b.

    Attributes:
        low, high: the 95 % interval of the difference; None where there are too few clusters for one.
        p: two-sided, uncorrected.
        p_holm: corrected for the number of pairs that are compared on this metric.
        wins: questions on which a is better: higher, or lower where lower is better.
        detectable: smallest difference that this many questions detect with 80 % power after the correction; None where
            no difference could be detected.
        needed: number of questions, in documents of the same size, that would detect the observed difference with 80 %
            power after the correction; None where it is 0.
        clusters: of these questions.
        design_effect: how many times the variance of the difference is that of independent questions, at least 1.
    """

    a: str
    b: str
    metric: str
    difference: float
    low: float | None
    high: float | None
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int
    n: int
    detectable: float | None
    needed: int | None
    clusters: int = 0
    design_effect: float = 1.0

    def figures(self) -> dict[str, Any]:
        """The difference as suites tell it: `{value, low, high, p, p_holm, wins, losses, n, clusters}`."""
        names = ("low", "high", "p", "p_holm", "wins", "losses", "n", "clusters")
        return {"value": self.difference, **{name: getattr(self, name) for name in names}}

    def reversed(self) -> PairTest:
        """The same comparison as b minus a."""
        low, high = (None if limit is None else -limit for limit in (self.high, self.low))
        return replace(
            self, a=self.b, b=self.a, difference=-self.difference, low=low, high=high, wins=self.losses,
            losses=self.wins,
        )  # fmt: skip


def pair_tests(
    scores: Mapping[str, Columns], pairs: Sequence[tuple[str, str]], metrics: Sequence[str],
    clusters: Clusters | None = None, *, shares: frozenset[str] = frozenset(),
    lower_is_better: frozenset[str] = frozenset(), seed: int, resamples: int,
) -> list[PairTest]:  # fmt: skip
    """Compares every pair of setups on every metric, corrected for the number of pairs within each metric.

    Args:
        scores: per setup (questions, metrics), rows in the same order of questions.
        pairs: (a, b); the difference is a minus b.
        clusters: of the questions; None: each is its own.
        shares: metrics whose scores lie between 0 and 1.
        lower_is_better: metrics on which the lower score wins.
    """
    differences = {
        (a, b, metric): scores[a][:, at] - scores[b][:, at] for at, metric in enumerate(metrics) for a, b in pairs
    }
    differences = {key: column for key, column in differences.items() if not np.isnan(column).all()}
    if not differences:
        return []
    columns = np.stack(list(differences.values()), axis=1)
    clusters = clusters or Clusters.single(len(columns))
    bounds: list[Bounds] = [(-1.0, 1.0) if metric in shares else None for _, _, metric in differences]
    moments = Moments.of(columns, clusters)
    limits = interval_limits(columns, moments, bounds)
    p_values = sign_flip_p(clusters.sums(np.nan_to_num(columns, nan=0.0)), seed=seed, resamples=resamples)
    tests: dict[str, list[PairTest]] = {metric: [] for metric in metrics}
    for at, (a, b, metric) in enumerate(differences):
        deltas = columns[~np.isnan(columns[:, at]), at]
        n, above, below = len(deltas), int((deltas > 0).sum()), int((deltas < 0).sum())
        wins, losses = (below, above) if metric in lower_is_better else (above, below)
        yes_no = np.isin(deltas, (-1.0, 0.0, 1.0)).all()
        design = Design(
            len(pairs), _at_least_one(moments.design_effect[at]), n / int(moments.clusters[at]),
            (above + below) / n if yes_no else None,
        )  # fmt: skip
        mean, spread, p = float(moments.mean[at]), float(moments.spread[at]), float(p_values[at])
        test = PairTest(
            a, b, metric, mean, *limits[at], p, p, wins, n - above - below, losses, n,
            detectable_difference(spread, n, design, limited=metric in shares),
            needed_questions(mean, spread, design), int(moments.clusters[at]), design.design_effect,
        )  # fmt: skip
        tests[metric].append(test)
    return [
        replace(test, p_holm=p)
        for of_metric in tests.values()
        for test, p in zip(of_metric, holm([test.p for test in of_metric]), strict=True)
    ]


def sign_flip_p(sums: Columns, *, seed: int, resamples: int) -> Columns:
    """Two-sided p-value (Fisher, 1935) of every column of (clusters, columns) sums of differences.

    Where two setups are equally good, a cluster might as well show the opposite difference. The test is exact where the
    sums are few, or multiples of a half, as of yes and no; with a question a cluster it is McNemar's (1947). Elsewhere
    `resamples` arrangements are drawn, and the observed one counts as one of them (Phipson and Smyth, 2010).
    """
    found, sampled = np.ones(sums.shape[1]), list[int]()
    for at in range(sums.shape[1]):
        column = sums[sums[:, at] != 0, at]
        doubled = np.rint(2 * column)
        if len(column) <= _ENUMERATED:
            arrangements = np.arange(2 ** len(column))[:, None] >> np.arange(len(column)) & 1
            found[at] = (np.abs((2.0 * arrangements - 1) @ column) >= _threshold(column)).mean()
        elif np.abs(doubled - 2 * column).max(initial=0.0) < 1e-9:
            found[at] = _exact_p(doubled.astype(np.int64))
        else:
            sampled.append(at)
    if sampled:
        found[sampled] = _sampled_p(sums[:, sampled], seed, resamples)
    return found


def _exact_p(sums: NDArray[np.int64]) -> float:
    """The share of all arrangements of signs of whole numbers whose sum is no less extreme than this one.

    Numbers of equal size together are a binomial; the sum of different sizes is their convolution.
    """
    from scipy.special import gammaln

    if not sums.sum():  # nothing is less extreme
        return 1.0
    sizes, counts = np.unique(np.abs(sums), return_counts=True)
    unit = int(np.gcd.reduce(sizes))
    chances = np.ones(1)  # of the sums -reach, ..., reach, in steps of `unit`
    for size, count in sorted(zip(sizes // unit, counts, strict=True), key=lambda pair: -pair[1]):
        heads = np.arange(count + 1)
        tosses = np.exp(gammaln(count + 1) - gammaln(heads + 1) - gammaln(count - heads + 1) - count * np.log(2))
        longer = np.zeros(len(chances) + 2 * size * count)
        if len(chances) == 1:
            longer[:: 2 * size] = tosses
        else:
            for head, chance in enumerate(tosses):
                longer[2 * size * head : 2 * size * head + len(chances)] += chance * chances
        chances = longer
    reach = len(chances) // 2
    extreme = np.abs(np.arange(-reach, reach + 1)) >= abs(int(sums.sum())) // unit
    return float(min(1.0, chances[extreme].sum()))


def _sampled_p(sums: Columns, seed: int, resamples: int) -> Columns:
    observed, rng, extreme = _threshold(sums), np.random.default_rng(seed), np.zeros(sums.shape[1])
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        signs = rng.integers(0, 2, (size, len(sums))) * 2.0 - 1.0
        extreme += (np.abs(signs @ sums) >= observed).sum(axis=0)
    return np.asarray((extreme + 1) / (resamples + 1))


def _threshold(sums: Columns) -> Columns:
    """The observed sum, less what sums of floats in another order differ by: a tie must still count as one."""
    return np.asarray(np.abs(sums.sum(axis=0)) - 1e-9 * np.abs(sums).sum(axis=0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979): keeps the family-wise error below alpha, however the tests depend on each other."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    corrected, running = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        running = max(running, min(1.0, p_values[at] * (len(p_values) - rank)))
        corrected[at] = running
    return corrected


def _at_least_one(design_effect: float) -> float:
    return max(1.0, float(design_effect)) if np.isfinite(design_effect) else 1.0
