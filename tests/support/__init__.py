"""What tests of several rooms share: stand-ins, makers of inputs, and `ragft` as a process."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
PYTHONPATH = os.pathsep.join([str(ROOT), str(TESTS)])
"""For processes that import the packages or this one."""


def in_order(parameter: object) -> str:
    """The id of a parameter, the same in each worker of pytest-xdist: a set has another order in each process."""
    return str(sorted(parameter)) if isinstance(parameter, (set, frozenset)) else str(parameter)
