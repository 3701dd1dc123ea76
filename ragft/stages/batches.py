"""Many questions to an engine, so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Case = TypeVar("Case")
T = TypeVar("T")


async def in_batches(
    cases: Sequence[Case], size: int, ask: Callable[[Case], Awaitable[T]], answered: Callable[[int], None]
) -> list[T]:
    """What `ask` tells of every case, so many at once, in the order of the cases.

    Args:
        answered: called with the number of cases answered so far.
    """
    told: list[T] = []
    for start in range(0, len(cases), size):
        told += await asyncio.gather(*(ask(case) for case in cases[start : start + size]))
        answered(len(told))
    return told
