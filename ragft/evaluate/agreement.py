"""How far raters agree beyond chance: Cohen's kappa for two, Krippendorff's alpha for any number.

Both compare an observed share of agreement with the one that chance would give. Both are computed from a table that is
a sum over clusters, so that their variance is found by leaving out one cluster after another.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragft.evaluate.shares import NO_RATE, Rate, rate, share_interval

Table = NDArray[np.float64]
_Shares = Callable[[Table], tuple[float, float]]
"""Of a table, the observed share of agreement and the one by chance."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of raters.

    Attributes:
        raw: share of pairs of ratings of one item that are the same.
        coefficient: agreement beyond chance: 1 is perfect, 0 is chance; None where all ratings are the same one.
        low, high: its 95 % interval; None where there is no coefficient, or one cluster.
    """

    raw: Rate
    coefficient: float | None
    low: float | None
    high: float | None


NO_AGREEMENT = Agreement(NO_RATE, None, None, None)


def cohen_kappa(
    pairs: Sequence[tuple[Hashable, Hashable]],
    clusters: Sequence[Hashable],
    categories: Sequence[Hashable],
    *,
    quadratic: bool = False,
) -> Agreement:
    """Cohen's kappa (1960) of two raters.

    Args:
        pairs: what both said of each item.
        categories: all that could be said, in their order.
        quadratic: weight disagreement by the square of the distance, as on a scale (Cohen, 1968).
    """
    if not pairs:
        return NO_AGREEMENT
    size = len(categories)
    place = {category: number for number, category in enumerate(categories)}
    tables = {cluster: np.zeros((size, size)) for cluster in clusters}
    for (one, other), cluster in zip(pairs, clusters, strict=True):
        tables[cluster][place[one], place[other]] += 1
    apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) / max(1, size - 1)
    weights = 1 - apart**2 if quadratic else np.eye(size)

    def shares(table: Table) -> tuple[float, float]:
        chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum() ** 2
        return float((weights * table).sum() / table.sum()), float((weights * chance).sum())

    raw = rate([float(one == other) for one, other in pairs], clusters)
    return _agreement(raw, list(tables.values()), shares)


def krippendorff_alpha(
    units: Sequence[Sequence[Hashable]], clusters: Sequence[Hashable], categories: Sequence[Hashable]
) -> Agreement:
    """Krippendorff's alpha (nominal) of any number of raters, each of whom may have left out items.

    Args:
        units: the ratings of each item; an item with fewer than two tells nothing and is left out.
    """
    place = {category: number for number, category in enumerate(categories)}
    size = len(categories)
    tables: dict[Hashable, Table] = {}
    same, of_clusters = list[float](), list[Hashable]()
    for unit, cluster in zip(units, clusters, strict=True):
        if len(unit) < 2:
            continue
        counts = np.bincount([place[rating] for rating in unit], minlength=size).astype(np.float64)
        pairs = (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
        tables[cluster] = tables.get(cluster, np.zeros((size, size))) + pairs
        same.append(float(np.trace(pairs) / len(unit)))
        of_clusters.append(cluster)
    if not tables:
        return NO_AGREEMENT

    def shares(table: Table) -> tuple[float, float]:
        totals, n = table.sum(axis=0), table.sum()
        return float(np.trace(table) / n), float((totals * (totals - 1)).sum() / (n * (n - 1)))

    return _agreement(rate(same, of_clusters), list(tables.values()), shares)


def _agreement(raw: Rate, tables: list[Table], shares: _Shares) -> Agreement:
    """The coefficient of tables that are summed, with its interval."""
    whole = np.sum(tables, axis=0)
    observed, chance = shares(whole)
    if chance > 1 - 1e-12:
        return Agreement(raw, None, None, None)
    coefficient = (observed - chance) / (1 - chance)
    left_out = []
    for table in tables if len(tables) > 1 else ():
        agreed, by_chance = shares(whole - table)
        if by_chance < 1 - 1e-12:
            left_out.append((agreed - by_chance) / (1 - by_chance))
    count = len(left_out)
    variance = (count - 1) / count * float(((np.array(left_out) - np.mean(left_out)) ** 2).sum()) if count else 0.0
    low, high = share_interval(observed, variance * (1 - chance) ** 2, len(tables))
    if low is None or high is None:
        return Agreement(raw, coefficient, None, None)
    ends = ((low - chance) / (1 - chance), (high - chance) / (1 - chance))
    return Agreement(raw, coefficient, min(coefficient, max(-1.0, ends[0])), ends[1])
