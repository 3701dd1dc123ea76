"""Metrics: small registered functions of a question, a record and the rules.

To add one, decorate a function with `@metric` in the module of its axis; scoring, statistics and report pick it up. The
report lists the metrics of an axis in the order in which they are registered.
"""

from ragft.evaluate.metrics.base import METRICS, Metric, Rules, Score, metric

from ragft.evaluate.metrics import facts, citations, form, retrieval, cost  # isort: skip

__all__ = ["METRICS", "Metric", "Rules", "Score", "citations", "cost", "facts", "form", "metric", "retrieval"]
