"""Intervals and tests for the differences between setups, from scores of the same questions.

All setups answer the same questions, so differences are taken question by question. Questions about one document are
easy or hard together, so whatever is said of uncertainty counts clusters of questions: see `clusters`. Columns of
scores are `(questions, columns)` float64; NaN marks a missing score.

- `clusters`: which questions belong together.
- `intervals`: a mean and its 95 % interval.
- `pairs`: two setups compared: difference, exact test, Holm's correction.
- `factors`: what tuning and retrieval do on average, and whether they reinforce each other.
- `planning`: how many questions a difference takes.
- `repeats`: several runs of one recipe, and the difference that two of them show.
"""

from ragft.evaluate.statistics.clusters import Clusters, cluster_questions
from ragft.evaluate.statistics.factors import Effect, factor_effects
from ragft.evaluate.statistics.intervals import (
    ALPHA,
    CONFIDENCE,
    MIN_CLUSTERS,
    Bounds,
    Columns,
    Estimate,
    estimates,
    wilson_interval,
)
from ragft.evaluate.statistics.pairs import PairTest, holm, pair_tests, sign_flip_p
from ragft.evaluate.statistics.planning import POWER, Plan, decisive_clusters, plan
from ragft.evaluate.statistics.repeats import Repeated, repeated

STATISTICS_VERSION = 4
"""Raised whenever the same scores would give other intervals, tests or words."""

__all__ = [
    "ALPHA", "CONFIDENCE", "MIN_CLUSTERS", "POWER", "STATISTICS_VERSION", "Bounds", "Clusters", "Columns", "Effect",
    "Estimate", "PairTest", "Plan", "Repeated", "cluster_questions", "decisive_clusters", "estimates",
    "factor_effects", "holm", "pair_tests", "plan", "repeated", "sign_flip_p",
    "wilson_interval",
]  # fmt: skip
