"""Many questions at once: never more than the engine takes, never fewer while some wait, and answers in their order."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.engine.many import ask_many, in_order


class Desk:
    """Answers a case after as many turns of the event loop as it says."""

    def __init__(self) -> None:
        self.open, self.most, self.begun = 0, 0, list[int]()

    async def ask(self, turns: int) -> int:
        self.open += 1
        self.most = max(self.most, self.open)
        self.begun.append(turns)
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
            return turns
        finally:
            self.open -= 1


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 5))
def test_answers_come_in_order_and_no_more_are_open_than_there_is_room_for(cases: list[int], size: int) -> None:
    desk, seen = Desk(), list[int]()
    assert asyncio.run(ask_many(cases, size, desk.ask, seen.append)) == cases
    assert desk.most == min(size, len(cases)) and desk.begun == cases
    assert seen == list(range(1, len(cases) + 1))


def test_a_long_answer_keeps_no_other_from_beginning() -> None:
    desk = Desk()

    async def first() -> list[int]:
        async with contextlib.aclosing(in_order([1000, 1, 1, 1, 1], 2, desk.ask)) as answers:
            async for _ in answers:
                return list(desk.begun)
        return []

    assert len(asyncio.run(first())) == 5


def test_what_is_open_is_cancelled_when_one_fails() -> None:
    desk = Desk()

    async def ask(turns: int) -> int:
        if turns == 3:
            raise ValueError("the third")
        return await desk.ask(turns)

    with pytest.raises(ValueError, match="the third"):
        asyncio.run(ask_many([1, 2, 3, 500, 500], 5, ask, lambda _: None))
    assert desk.open == 0 and desk.begun == [1, 2, 500, 500]
