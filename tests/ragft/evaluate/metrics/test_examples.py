"""Every metric has a worked example in its docstring, which is run here."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import sys
from functools import partial
from typing import Any

import pytest

from ragft.data.sources import Source
from ragft.evaluate import metrics
from ragft.evaluate.metrics import METRICS, OPTIONAL, Metric, Rules, tried
from ragft.evaluate.records import PassageRef
from ragft.patterns import Bounded

MODULES = [f"{metrics.__name__}.{found.name}" for found in pkgutil.iter_modules(metrics.__path__)]


def shown(*passages: str | tuple[str, str]) -> tuple[PassageRef, ...]:
    """Passages of these documents; of a pair, the second is the text."""
    pairs = [(one, "") if isinstance(one, str) else one for one in passages]
    return tuple(PassageRef(document, document, document, 1.0, text=text) for document, text in pairs)


NAMES: dict[str, Any] = {"Bounded": Bounded, "Rules": Rules, "Source": Source, "shown": shown, "tried": tried}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name: str) -> None:
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=NAMES):
        said: list[str] = []
        runner.run(test, out=said.append)
        assert not said, "".join(said)


@pytest.mark.parametrize("metric", [*METRICS.values(), *OPTIONAL.values()], ids=lambda metric: metric.name)
def test_every_metric_has_an_example(metric: Metric) -> None:
    scorer = metric.scorer
    doc = sys.modules[metrics.cost.__name__].__doc__ if isinstance(scorer, partial) else scorer.__doc__
    assert doc is not None and ">>> " in doc
