"""Asking what a suite varies, as many cases at once as the engine takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ragft.pipeline import Pipeline

Case = TypeVar("Case")
Told = TypeVar("Told")


async def in_batches(
    pipeline: Pipeline, cases: Sequence[Case], ask: Callable[[Case], Awaitable[Told]], answered: Callable[[int], None]
) -> list[Told]:
    """What `ask` tells of every case, in the order of the cases.

    Args:
        answered: called with the number of cases answered so far.
    """
    told: list[Told] = []
    size = pipeline.config.engine.max_num_seqs
    for start in range(0, len(cases), size):
        told += await asyncio.gather(*(ask(case) for case in cases[start : start + size]))
        answered(len(told))
    return told
