"""Measures of a ranking against the sources of a question, with binary relevance.

Each source is a set of ids, any of which finds it: a section that was cut into three chunks is found with one of them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

Ranking = Sequence[Hashable]
"""Ids of what was found, best first."""

Gold = Sequence[frozenset[Hashable]]
"""For each source of a question, the ids that count as having found it."""


def ndcg(ranking: Ranking, gold: Gold, k: int) -> float:
    """Normalised discounted cumulative gain of the first `k` (Järvelin and Kekäläinen, 2002), 0 to 1.

    An id gains 1 where it brings a source that none above it brought, so a second chunk of a section earns nothing.
    Sources that one id brings together count as one in the ideal ranking.
    """
    gains = _gains(ranking[:k], gold)
    shared = sum(count - 1 for count in gains if count > 1)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(gold) - shared, k) + 1))
    return sum(1 / math.log2(rank + 1) for rank, count in enumerate(gains, start=1) if count) / ideal


def reciprocal_rank(ranking: Ranking, gold: Gold, k: int) -> float:
    """1 / rank of the first id that brings a source, 0 where none of the first `k` does."""
    return next((1 / rank for rank, count in enumerate(_gains(ranking[:k], gold), start=1) if count), 0.0)


def recall(ranking: Ranking, gold: Gold, k: int) -> float:
    """Share of the sources that the first `k` bring."""
    return sum(_gains(ranking[:k], gold)) / len(gold)


def _gains(ranking: Ranking, gold: Gold) -> list[int]:
    """For each rank, how many sources it brings that no rank above it brought."""
    missing = list(gold)
    gains = []
    for found in ranking:
        left = [ids for ids in missing if found not in ids]
        gains.append(len(missing) - len(left))
        missing = left
    return gains
