"""Questions that lie far from others, and one of each kind of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragft.drift.sample import Floats, Sample

FAR = 0.05
"""Share of a group that is taken to lie far from the rest of it: what is farther than these lies far from the group."""


@dataclass(frozen=True)
class Nearness:
    """How near questions are to a group.

    Attributes:
        nearest: (n,) cosine with the nearest question of the group.
        least: cosine below which a question lies far from it; all but `FAR` of the group are nearer to another one.
    """

    nearest: Floats
    least: float

    @property
    def is_far(self) -> NDArray[np.bool_]:
        """(n,) which questions lie far."""
        return np.asarray(self.nearest < self.least - 1e-6)


def nearness(sample: Sample, group: Sample) -> Nearness | None:
    """How near questions are to a group; None where its questions are all kin, so that nothing is known of it."""
    if not len(group):
        return None
    own = group.vectors @ group.vectors.T
    own[_kin(group.kin)] = -np.inf
    apart = own.max(axis=1)
    if not np.isfinite(apart).any():
        return None
    least = float(np.quantile(apart[np.isfinite(apart)], FAR, method="lower"))
    return Nearness((sample.vectors @ group.vectors.T).max(axis=1), least)


def _kin(keys: Sequence[Hashable]) -> NDArray[np.bool_]:
    """(n, n) which questions are of one kin; each is of its own."""
    numbers: dict[Hashable, int] = {}
    labels = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
    return np.asarray(labels[:, None] == labels[None, :])


@dataclass(frozen=True)
class Kind:
    """A question that stands for those like it.

    Attributes:
        question: as it was asked.
        count: how many of the questions it stands for, itself among them.
    """

    question: str
    count: int


def kinds(questions: Sequence[str], vectors: Floats, least: float, most: int) -> list[Kind]:
    """Questions of which each stands for those that it is like, those of many first.

    Greedily: the one that is like most of those that none stands for yet, and among equals the first.

    Args:
        vectors: (n, dimension) of unit length.
        least: cosine from which two questions are alike.
        most: how many at most.
    """
    alike = vectors @ vectors.T >= least - 1e-6
    np.fill_diagonal(alike, True)
    left, found = np.ones(len(questions), dtype=bool), list[Kind]()
    while left.any() and len(found) < most:
        counts = np.where(left, (alike & left).sum(axis=1), 0)
        best = int(counts.argmax())
        found.append(Kind(questions[best], int(counts[best])))
        left &= ~alike[best]
    return found
