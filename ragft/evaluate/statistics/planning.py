"""How many questions a difference takes, and which difference so many questions detect: at 5 %, with 80 % power.

Questions of one document tell less than independent ones, by the design effect 1 + (m - 1) r of m questions a document
with the intra-class correlation r (Kish, 1965).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ragft.evaluate.statistics.intervals import ALPHA

POWER = 0.8
_TABLE = 256  # questions that differ, up to which power is summed exactly


@dataclass(frozen=True)
class Design:
    """How a comparison is made.

    Attributes:
        tests: pairs that are compared, for Holm's correction.
        design_effect: how many times the variance of a difference is that of independent questions, at least 1.
        size: questions a document.
        disagreement: share of the questions on which two setups differ, where scores are yes and no; None: they are
            not.
    """

    tests: int = 1
    design_effect: float = 1.0
    size: float = 1.0
    disagreement: float | None = None

    @property
    def alpha(self) -> float:
        """The level of one test, one-sided."""
        return ALPHA / self.tests / 2


ONE_PAIR = Design()
"""Two setups, and questions that are independent."""


@dataclass(frozen=True)
class Plan:
    """What it takes to detect a difference.

    Attributes:
        difference: as a share; two setups differ by it on average.
        disagreement: share of the questions that only one of the two answers rightly.
        correlation: intra-class correlation of the differences within a document.
        tests: pairs that are compared, for Holm's correction.
        questions, documents: how many of each.
    """

    difference: float
    disagreement: float
    questions_per_document: float
    correlation: float
    tests: int
    questions: int
    documents: int


def plan(
    difference: float,
    *,
    disagreement: float = 0.2,
    questions_per_document: float = 1.0,
    correlation: float = 0.1,
    tests: int = 6,
) -> Plan:
    """The questions and documents with which a paired comparison detects a difference of shares.

    Args:
        disagreement: share of the questions that only one of two setups answers rightly. It cannot be less than the
            difference, and is raised to it.
    """
    disagreement, size = max(disagreement, abs(difference)), max(1.0, questions_per_document)
    design = Design(tests, 1 + (size - 1) * correlation, size, disagreement)
    needed = needed_questions(difference, disagreement - difference**2, design)
    if needed is None:
        raise ValueError("no number of questions shows that two setups are equal")
    return Plan(difference, disagreement, size, correlation, tests, needed, math.ceil(needed / size))


def needed_questions(difference: float, spread: float, design: Design = ONE_PAIR) -> int | None:
    """Questions with which the test detects this difference; None where it is 0.

    Args:
        spread: variance of single differences.
    """
    # A sum of floats that should be 0 may end at 1e-17, which would ask for 1e30 questions.
    if abs(difference) < 1e-12:
        return None
    difference, decisive = abs(difference), decisive_clusters(design.tests)
    alpha, power = NormalDist().inv_cdf(1 - design.alpha), NormalDist().inv_cdf(POWER)
    if design.disagreement is None:
        questions = (alpha + power) ** 2 * spread / difference**2
    else:
        # Connor (1987), and the continuity that an exact test costs.
        differ = math.sqrt(max(0.0, design.disagreement - difference**2))
        root = alpha * math.sqrt(design.disagreement) + power * differ
        questions = (root / difference) ** 2 + 1 / difference
        if questions * design.disagreement < _TABLE / 2:
            questions = _exactly_needed(difference, design)
    questions *= design.design_effect
    if design.disagreement is None or design.design_effect > 1:
        questions = max(questions, design.size * _clusters_with_t(questions / design.size, design))
    return math.ceil(max(design.size * decisive, questions) - 1e-9)


def detectable_difference(spread: float, n: int, design: Design = ONE_PAIR, *, limited: bool = True) -> float | None:
    """Smallest difference that `n` questions detect; None where they detect none.

    Args:
        spread: variance of single differences.
        limited: scores lie between 0 and 1, so that the spread of a few equal differences is known to be above 0.
    """
    from scipy.special import betaincinv, stdtrit

    clusters, decisive = n / design.size, decisive_clusters(design.tests)
    if clusters < decisive or (spread <= 0 and not limited):
        return None
    if limited:
        spread = (spread * n + 2) / (n + 2)  # one win and one loss more, as in the interval
    factor = float(stdtrit(clusters - 1, 1 - design.alpha) + stdtrit(clusters - 1, POWER))
    found = factor * math.sqrt(spread * design.design_effect / n)
    if design.disagreement is not None:
        # Where all differences are wins, so many must be seen with 80 % probability.
        worth = max(float(decisive), n / design.design_effect)
        found = max(found, float(betaincinv(decisive, worth - decisive + 1, POWER)))
    return min(found, 1.0) if limited else found


def decisive_clusters(tests: int = 1) -> int:
    """Clusters that must all point one way for the smallest p-value to fall below 5 % / `tests`."""
    return 1 + math.ceil(math.log2(tests / ALPHA) - 1e-9)


def _exactly_needed(difference: float, design: Design) -> int:
    """Questions with which McNemar's exact test detects a difference, where few are expected to differ."""
    from scipy.special import bdtrc
    from scipy.stats import binom

    disagreement = min(1.0, max(design.disagreement or 0.0, difference))
    decided = np.arange(_TABLE)
    # The probability of significance where so many differ, in favour of the better setup.
    wins = min(1.0, (1 + difference / disagreement) / 2)
    critical = _critical(design.alpha)
    significant = np.where(critical <= decided, bdtrc(np.minimum(critical, decided) - 1, decided, wins), 0.0)
    low, high = 1, math.ceil(_TABLE / disagreement)
    while low < high:
        middle = (low + high) // 2
        if float(binom.pmf(decided, middle, disagreement) @ significant) >= POWER:
            high = middle
        else:
            low = middle + 1
    return low


@cache
def _critical(alpha: float) -> NDArray[np.int64]:
    """For 0, 1, ... tosses of a coin, the fewest heads whose chance is no more than alpha; above the tosses: none."""
    from scipy.special import bdtrc

    heads, tosses = np.arange(1, _TABLE + 1)[:, None], np.arange(_TABLE)
    chances = np.where(heads <= tosses, bdtrc(np.minimum(heads, tosses) - 1, tosses, 0.5), 0.0)
    rare = (chances <= alpha) & (heads <= tosses)
    return np.asarray(np.where(rare.any(axis=0), rare.argmax(axis=0) + 1, _TABLE + 1))


def _clusters_with_t(clusters: float, design: Design) -> float:
    """So many clusters, and what estimating the variance from few costs: Student's quantiles instead of the normal."""
    from scipy.special import stdtrit

    normal = NormalDist().inv_cdf(1 - design.alpha) + NormalDist().inv_cdf(POWER)
    found = max(2.0, clusters)
    for _ in range(20):
        df = max(1.0, found - 1)
        factor = float(stdtrit(df, 1 - design.alpha) + stdtrit(df, POWER)) / normal
        found = (found + max(2.0, clusters * factor**2)) / 2
    return found
