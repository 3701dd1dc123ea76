"""How good a ranking is, against the passages that a question is known to need.

A question needs sources, and each source is a set of chunks of which any will do: a section that was cut in three is
found when one of the three is. Relevance is yes or no.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Gold = Sequence[frozenset[str]]
"""For each source of a question the ids that count as having found it."""


def ndcg(ranking: Sequence[str], gold: Gold, k: int) -> float:
    """Normalised discounted cumulative gain of the first `k` (Järvelin and Kekäläinen, 2002), 0 to 1.

    An id gains 1 where it brings a source that none before it brought. Sources that one id brings together count as
    one in the ideal ranking too.
    """
    gains = _gains(ranking[:k], gold)
    shared = sum(count - 1 for count in gains if count > 1)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(gold) - shared, k) + 1))
    return sum(1 / math.log2(rank + 1) for rank, count in enumerate(gains, start=1) if count) / ideal


def reciprocal_rank(ranking: Sequence[str], gold: Gold, k: int) -> float:
    """1 / rank of the first id that brings a source, 0 where none of the first `k` does."""
    return next((1 / rank for rank, count in enumerate(_gains(ranking[:k], gold), start=1) if count), 0.0)


def recall(ranking: Sequence[str], gold: Gold, k: int) -> float:
    """Share of the sources that the first `k` bring."""
    return sum(_gains(ranking[:k], gold)) / len(gold)


def _gains(ranking: Sequence[str], gold: Gold) -> list[int]:
    """For each rank, how many sources it brings that were not there before."""
    missing = list(gold)
    gains = []
    for found in ranking:
        left = [ids for ids in missing if found not in ids]
        gains.append(len(missing) - len(left))
        missing = left
    return gains
