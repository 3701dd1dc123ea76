"""How pytest-xdist shares the tests among its workers: by whole files, and the one real engine in one worker."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ENGINE = (
    "tests/ragft/engine/test_vllm.py",
    "tests/serving/test_page_with_real_engine.py",
    "tests/serving/test_real_vllm.py",
)
"""The files of the session's engine, which would otherwise be started once in each worker."""


def unit_of(nodeid: str) -> str:
    """What is run by one worker in one go, so that fixtures of a module are made once."""
    file = nodeid.partition("::")[0]
    return "engine" if file in ENGINE else file


def slow_first(items: list[pytest.Item]) -> None:
    """Sorts units by how many slow tests they hold: begun last, a long one would leave the other workers idle."""
    slow = Counter(unit_of(item.nodeid) for item in items if item.get_closest_marker("slow"))
    units = {unit: number for number, unit in enumerate(dict.fromkeys(unit_of(item.nodeid) for item in items))}
    items.sort(key=lambda item: (-slow[unit := unit_of(item.nodeid)], units[unit]))


class WholeUnits(LoadScopeScheduling):
    """Gives a worker unit after unit, in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def sendable(value: Any) -> Any:
    """A report's values without lone surrogates, which a worker cannot send: names of files that are no UTF-8, say."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {sendable(key): sendable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(sendable(one) for one in value)
    return value
