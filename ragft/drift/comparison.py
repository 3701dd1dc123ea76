"""Recent questions compared with the evaluation's and with those before them: what differs, and what of it has moved.

Where many questions are compared, everything differs by a little. So what has moved differs by more than chance
explains, after Holm's correction over all comparisons, and by no less than is declared here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ragft.data.audit.texts import LANGUAGE_NAMES
from ragft.drift.beginning import FAR, Kind, Nearness, nearness
from ragft.drift.permutation import Permutation
from ragft.drift.sample import Floats, Sample
from ragft.evaluate.statistics import ALPHA, Bounds, Clusters, Estimate, estimates, holm

What = Literal["questions", "retrieval", "refused", "ungrounded", "length", "language"]
Against = Literal["evaluation", "before"]

LEAST_UNITS = 20
"""Users or conversations, or evaluation questions, below which a group is not compared."""
LEAST_SHARE = 0.05
"""Difference of shares that counts as moved."""
LEAST_EFFECT = 0.2
"""Difference of means that does, in standard deviations of the group that is compared with: Cohen's small effect."""
_POWER = 2.8016
"""Standard errors of a difference that a test at 5 % detects with 80 % power: the quantiles 1.96 and 0.84."""


@dataclass(frozen=True)
class Compared:
    """One thing in which recent questions were compared with others.

    Attributes:
        what: questions: the share that lies far from the others, with the test of the distance of embeddings;
            retrieval: the mean best score; refused, ungrounded: shares of the answers; length: mean words; language:
            the share of the language whose share differs most.
        recent, reference: the figure in the two groups; of `questions`, `FAR` by definition in the second.
        low, high: 95 % interval of the difference, uncorrected; None where there is none.
        p_holm: corrected for all comparisons that were made.
        least: difference that counts as moved.
        n, n_reference: questions that have a value.
        distance: of embeddings, squared; None of all but `questions`.
        language: which one; empty of all but `language`.
    """

    what: What
    against: Against
    recent: float
    reference: float
    low: float | None
    high: float | None
    p: float
    p_holm: float
    least: float
    n: int
    n_reference: int
    distance: float | None = None
    language: str = ""

    @property
    def difference(self) -> float:
        return self.recent - self.reference

    @property
    def has_moved(self) -> bool:
        """Whether it differs by more than chance explains, and by enough to matter."""
        # More questions near what is evaluated than chance would have are no reason to do anything.
        size = self.difference if self.what == "questions" else abs(self.difference)
        return self.p_holm < ALPHA and size >= self.least

    @property
    def rose(self) -> bool:
        return self.has_moved and self.difference > 0

    @property
    def fell(self) -> bool:
        return self.has_moved and self.difference < 0


@dataclass(frozen=True)
class Drift:
    """What is known of drift in one domain.

    Attributes:
        days, days_before: length of the recent time and of the one before it.
        asked: questions of the recent time, of which a bounded sample was looked at.
        looked_at: of them.
        asked_before: of the time before it.
        units, units_before: users or conversations among those that were looked at.
        evaluated: evaluation questions among them.
        setup: the one whose answers are compared: that of most recent questions; empty where there is none.
        signal: the score of retrieval that is compared, see `abstention.SIGNALS`; empty where there is none.
        notes: what could not be compared and why, a sentence each.
        far: recent questions far from what is evaluated, one of each kind, those of many first; where there are no
            evaluation questions to compare with, far from what was asked before.
        failing: recent questions whose answers refuse or do not stand on what they cite, likewise.
    """

    days: float
    days_before: float
    asked: int
    looked_at: int
    asked_before: int
    units: int
    units_before: int
    evaluated: int
    setup: str
    signal: str
    compared: tuple[Compared, ...]
    notes: tuple[str, ...]
    far: tuple[Kind, ...]
    failing: tuple[Kind, ...]


def compare(recent: Sample, others: Mapping[Against, Sample], *, seed: int) -> list[Compared]:
    """Compares recent questions with other groups; what too few questions have is left out."""
    found = [one for against, other in others.items() for one in _with(recent, other, against, seed)]
    return [replace(one, p_holm=p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]


def detectable(units: int, others: int) -> float:
    """Standard deviations by which means of so many units must differ to be told apart four times in five."""
    return _POWER * math.sqrt(1 / units + 1 / others)


def _with(recent: Sample, other: Sample, against: Against, seed: int) -> list[Compared]:
    if recent.unit_count < LEAST_UNITS or other.unit_count < LEAST_UNITS:
        return []
    arranged = Permutation(recent.units, other.units, seed=seed)
    near = nearness(recent, other)
    found = [] if near is None else [_questions(recent, other, against, arranged, near)]
    columns: list[tuple[What, Floats, Floats, Bounds]] = [
        ("retrieval", recent.scores, other.scores, None),
        ("refused", recent.refused, other.refused, (0.0, 1.0)),
        ("ungrounded", recent.ungrounded, other.ungrounded, (0.0, 1.0)),
        ("length", recent.lengths(), other.lengths(), None),
    ]
    for what, own, theirs, bounds in columns:
        if _units_with(own, recent) < LEAST_UNITS or _units_with(theirs, other) < LEAST_UNITS:
            continue
        _, p = arranged.mean(np.concatenate([own, theirs]))
        (mean,), (reference,) = (
            estimates(values[:, None], Clusters.of(sample.units), bounds=[bounds])
            for values, sample in ((own, recent), (theirs, other))
        )
        least = LEAST_SHARE if bounds is not None else LEAST_EFFECT * float(np.nanstd(theirs))
        found.append(_compared(what, against, mean, reference, p, least))
    return [*found, *_language(recent, other, against, arranged)]


def _questions(recent: Sample, other: Sample, against: Against, arranged: Permutation, near: Nearness) -> Compared:
    distance, p = arranged.distance(np.concatenate([recent.vectors, other.vectors]))
    (far,) = estimates(near.is_far.astype(np.float64)[:, None], Clusters.of(recent.units), bounds=[(0.0, 1.0)])
    expected = Estimate(FAR, FAR, FAR, len(other))
    return _compared("questions", against, far, expected, p, LEAST_SHARE, distance=distance)


def _language(recent: Sample, other: Sample, against: Against, arranged: Permutation) -> list[Compared]:
    own, theirs = recent.languages(), other.languages()
    if (own > 0).sum() < LEAST_UNITS or (theirs > 0).sum() < LEAST_UNITS:
        return []
    codes = np.concatenate([own, theirs])
    p = arranged.shares(np.where(codes > 0, codes, -1))
    shares = {int(code): (_share(own, code), _share(theirs, code)) for code in np.unique(codes[codes > 0])}
    code = max(shares, key=lambda one: abs(shares[one][0] - shares[one][1]))
    mean, reference = shares[code]
    return [
        Compared(
            "language", against, mean, reference, None, None, p, p, LEAST_SHARE, int((own > 0).sum()),
            int((theirs > 0).sum()), language=LANGUAGE_NAMES[code],
        )
    ]  # fmt: skip


def _share(codes: NDArray[np.int64], code: int) -> float:
    return float((codes == code).sum() / (codes > 0).sum())


def _units_with(values: Floats, sample: Sample) -> int:
    return len({unit for unit, value in zip(sample.units, values.tolist(), strict=True) if not math.isnan(value)})


def _compared(
    what: What, against: Against, mean: Estimate, reference: Estimate, p: float, least: float,
    distance: float | None = None,
) -> Compared:  # fmt: skip
    low, high = _interval(mean, reference)
    if mean.mean is None or reference.mean is None:
        raise ValueError(f"there is nothing to compare {what} by")
    return Compared(
        what, against, mean.mean, reference.mean, low, high, p, p, least, mean.n, reference.n, distance=distance
    )


def _interval(one: Estimate, other: Estimate) -> tuple[float | None, float | None]:
    """The 95 % interval of the difference of two independent figures from an interval of each (Zou and Donner, 2008);
    of shares with Wilson's intervals it is Newcombe's (1998).
    """
    figures = (one.mean, one.low, one.high, other.mean, other.low, other.high)
    if any(figure is None for figure in figures):
        return None, None
    mean, low, high, reference, lowest, highest = (float(figure) for figure in figures if figure is not None)
    difference = mean - reference
    return (
        difference - math.hypot(mean - low, highest - reference),
        difference + math.hypot(high - mean, reference - lowest),
    )


def moved(found: Sequence[Compared], what: What) -> list[Compared]:
    """The comparisons of one thing in which it has moved."""
    return [one for one in found if one.what == what and one.has_moved]
