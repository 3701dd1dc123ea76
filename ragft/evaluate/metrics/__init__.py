"""Metrics: small registered functions of a question, a record and the rules.

To add one, decorate a function with `@metric` in the module of its axis; scoring, statistics and report pick
it up.
"""

from ragft.evaluate.metrics import citations, cost, form, retrieval
from ragft.evaluate.metrics.base import METRICS, Metric, Rules, Score, metric
from ragft.evaluate.metrics.facts import freshness
from ragft.evaluate.metrics.text import is_refusal, tokens, value_of

__all__ = [
    "METRICS",
    "Metric",
    "Rules",
    "Score",
    "citations",
    "cost",
    "form",
    "freshness",
    "is_refusal",
    "metric",
    "retrieval",
    "tokens",
    "value_of",
]
