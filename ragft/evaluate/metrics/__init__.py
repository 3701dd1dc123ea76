"""Metrics: small registered functions of a question, a record and the rules.

To add one, decorate a function with `@metric` in the module of its axis; scoring, statistics and report pick it up. The
report lists the metrics of an axis in the order in which they are registered. One with `default=False` is computed
where `evaluate.metrics` names it.
"""

from ragft.evaluate.metrics.base import METRICS, OPTIONAL, Measure, Metric, Rules, Score, metric, tried

from ragft.evaluate.metrics import facts, citations, form, retrieval, cost  # isort: skip
from ragft.evaluate.metrics import choices, grounding, overlap, quantities, similarity  # isort: skip

__all__ = [
    "METRICS", "OPTIONAL", "Measure", "Metric", "Rules", "Score", "choices", "citations", "cost", "facts", "form",
    "grounding", "metric", "overlap", "quantities", "retrieval", "similarity", "tried",
]  # fmt: skip
