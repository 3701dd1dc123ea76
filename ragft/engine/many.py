"""Many questions to an engine: as many at once as it takes, and the answers in the order of the questions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

Case = TypeVar("Case")
T = TypeVar("T")


async def in_order(
    cases: Sequence[Case], size: int, ask: Callable[[Case], Awaitable[T]]
) -> AsyncGenerator[T, None]:  # fmt: skip
    """What `ask` tells of every case, in the order of the cases; `size` of them are in progress all the time.

    A case begins when an earlier one ends, wherever it stands: if all of a batch had to end before the next one began,
    an engine would idle while the longest answer is written. What has not ended when the generator is closed, or when
    `ask` raises, is cancelled.
    """
    room = asyncio.Semaphore(size)

    async def one(case: Case) -> T:
        async with room:
            return await ask(case)

    tasks = [asyncio.create_task(one(case)) for case in cases]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ask_many(
    cases: Sequence[Case], size: int, ask: Callable[[Case], Awaitable[T]], answered: Callable[[int], None]
) -> list[T]:
    """The same as a list.

    Args:
        answered: called with the number of cases answered so far.
    """
    told: list[T] = []
    async with contextlib.aclosing(in_order(cases, size, ask)) as answers:
        async for answer in answers:
            told.append(answer)
            answered(len(told))
    return told
