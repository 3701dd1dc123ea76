"""Permutation tests of two groups: were they one, any of their users or conversations might as well be of the other.

The distance of embeddings is the squared maximum mean discrepancy (Gretton, Borgwardt, Rasch, Schölkopf and Smola, "A
Kernel Two-Sample Test", JMLR 13, 2012): its unbiased estimate (their lemma 6) with a Gaussian kernel, as wide as the
median distance of all pairs (their section 8). It is about 0 for groups of one distribution, and may be below.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from ragft.drift.sample import Floats
from ragft.evaluate.statistics import Clusters

DRAWS = 999
"""Arrangements that are drawn; the observed one counts as one more (Phipson and Smyth, 2010), so that no p-value is
below 0.001, which twelve comparisons can still be corrected for."""
_AT_ONCE = 250  # arrangements at once: of 2,000 questions, float64, 4 MB


class Permutation:
    """Two groups, and the arrangements of their units that could have been.

    A unit that is in both groups counts as one of each.
    """

    def __init__(self, first: Sequence[Hashable], second: Sequence[Hashable], *, seed: int, draws: int = DRAWS) -> None:
        """
        Args:
            first, second: the unit of each question of the groups, in the order of all that is tested.
        """
        labels = Clusters.of([*((0, unit) for unit in first), *((1, unit) for unit in second)]).labels
        own = len(set(labels[: len(first)].tolist()))
        order = np.zeros((draws + 1, int(labels.max()) + 1), dtype=bool)
        order[:, :own] = True
        rng = np.random.default_rng(seed)
        order[1:] = rng.permuted(order[1:], axis=1)
        # (draws + 1, questions): which are of the first group; the observed arrangement comes first.
        self._first: NDArray[np.bool_] = order[:, labels]

    def distance(self, vectors: Floats) -> tuple[float, float]:
        """The squared maximum mean discrepancy, and the probability of one as large.

        Args:
            vectors: (questions, dimension) of both groups, the first one's first.
        """
        found = mmd2(gaussian_kernel(vectors), self._first)
        return float(found[0]), _p(found)

    def mean(self, values: Floats) -> tuple[float, float]:
        """The difference of means, the first group's minus the second's, and the probability of one as far from 0.

        Args:
            values: (questions,), NaN where there is none.
        """
        known = ~np.isnan(values)
        filled = np.where(known, values, 0.0)
        own, count = self._first @ filled, self._first @ known.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = own / count - (filled.sum() - own) / (known.sum() - count)
        # An arrangement in which one group has no value says nothing: it counts against a difference.
        return float(found[0]), _p(np.where(np.isnan(found), np.inf, np.abs(found)))

    def shares(self, kinds: NDArray[np.int64]) -> float:
        """The probability that the shares of kinds lie as far apart, by half the sum of their differences.

        Args:
            kinds: (questions,), negative where it is not known.
        """
        of = [kinds == kind for kind in np.unique(kinds[kinds >= 0])]
        if len(of) < 2:
            return 1.0
        known = (kinds >= 0).astype(np.float64)
        count = self._first @ known
        found = np.zeros(len(self._first))
        for one in of:
            own = self._first @ one.astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                found += np.abs(own / count - (one.sum() - own) / (known.sum() - count))
        return _p(np.where(np.isnan(found), np.inf, found))


def gaussian_kernel(vectors: Floats) -> Floats:
    """(n, n) similarities exp(-d^2 / (2 m^2)) of rows with distance d, where m is the median distance of two rows."""
    squares = (vectors**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * vectors @ vectors.T, 0.0)
    apart = distances[np.triu_indices(len(vectors), 1)]
    median = float(np.median(apart)) if len(apart) else 0.0
    # Where most questions are the same, the median is 0 and says nothing of how far the others are.
    width = median if median > 1e-12 else float(apart.mean()) if len(apart) and apart.max() > 1e-12 else 1.0
    kernel: Floats = np.exp(-distances / (2 * width))
    return kernel


def mmd2(kernel: Floats, first: NDArray[np.bool_]) -> Floats:
    """(arrangements,) the unbiased squared maximum mean discrepancy of two groups; NaN where one has fewer than two.

    Args:
        kernel: (n, n), symmetric.
        first: (arrangements, n) which rows are of the first group.
    """
    diagonal, total = np.diag(kernel), kernel.sum()
    found = []
    for start in range(0, len(first), _AT_ONCE):
        chosen = first[start : start + _AT_ONCE].astype(np.float64)
        rows = chosen @ kernel
        inner = (rows * chosen).sum(axis=1)
        between = rows.sum(axis=1) - inner
        outer = total - inner - 2 * between
        m = chosen.sum(axis=1)
        n = chosen.shape[1] - m
        own, theirs = inner - chosen @ diagonal, outer - (1 - chosen) @ diagonal
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(own / (m * (m - 1)) + theirs / (n * (n - 1)) - 2 * between / (m * n))
    return np.concatenate(found)


def _p(found: Floats) -> float:
    """The share of arrangements that are no less extreme than the first, which is the observed one."""
    # Sums of floats in another order differ in the last digits, and a tie must still count as one.
    least = found[0] - 1e-9 * max(1.0, abs(found[0]))
    return float((~(found < least)).mean())
