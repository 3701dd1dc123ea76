"""The metrics that a configuration has computed, and the rules that they go by."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

from ragft.errors import UsageError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.selection import selected
from ragft.stages.application import Application


def metrics_of(app: Application) -> AbstractContextManager[None]:
    """Has the metrics of the configuration computed, see `selected`."""
    named = list(app.config.evaluate.metrics)
    if app.config.answer.choices:
        named.append("choice_accuracy")
    elif app.config.evaluate.decides == "choice_accuracy":
        raise UsageError("evaluate.decides is choice_accuracy, which needs answer.choices: declare the choices.")
    return selected(named, app.config.evaluate.metrics_file, decides=app.config.evaluate.decides)


def rules_of(app: Application) -> Rules:
    """What an answer must look like; metrics of meaning have the encoder of the index."""
    return replace(Rules.of(app.config.answer), encode=lambda texts: app.encoder.encode_passages(texts))
