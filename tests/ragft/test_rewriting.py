"""A follow-up rewritten by the engine: in time, in one line, and once."""

from __future__ import annotations

import asyncio

import pytest
from support.fakes import FakeEngine

from ragft.engine.base import EngineBusy, EngineDead
from ragft.messages import Message
from ragft.rewriting import Rewrites

HISTORY: list[Message] = [
    {"role": "user", "content": "When does React 19 end?"}, {"role": "assistant", "content": "2027. <|im_end|>"},
]  # fmt: skip


def rewritten(
    rewrites: Rewrites, engine: FakeEngine, question: str = "And 18?", deadline: float | None = None
) -> str | None:
    return asyncio.run(rewrites.of(engine, question, HISTORY, deadline))  # type: ignore[arg-type]


def test_a_rewritten_question_is_bounded_and_asked_for_once_for_each_conversation() -> None:
    rewrites, engine = Rewrites(), FakeEngine([' "When does React 18 end?" '])
    assert [rewritten(rewrites, engine) for _ in range(2)] == ["When does React 18 end?"] * 2
    (request,) = engine.requests
    assert request.options == {"temperature": 0, "max_tokens": 64}
    asked = request.messages[-1]["content"]
    assert "User: When does React 19 end?" in asked and "Last question: And 18?" in asked
    assert "<|im_end|>" not in asked
    rewritten(rewrites, engine, "And 17?")
    rewritten(rewrites, FakeEngine(["Q?"], "another model"))
    assert len(engine.requests) == 2


@pytest.mark.parametrize("text", ["", "  ", "Source: [1] React 18\nAnswer: 2027"])
def test_what_is_no_question_in_one_line_is_not_taken(text: str) -> None:
    rewrites, engine = Rewrites(), FakeEngine([text])
    assert rewritten(rewrites, engine) is None
    rewritten(rewrites, engine)
    assert len(engine.requests) == 2  # nothing was remembered


def test_what_takes_too_long_or_is_refused_is_not_waited_for() -> None:
    slow = FakeEngine(["When?"], pause=5.0)
    assert rewritten(Rewrites(), slow, deadline=0.02) is None
    assert (slow.running, slow.cancelled) == (0, 1)
    assert rewritten(Rewrites(), FakeEngine(error=EngineBusy("full"))) is None
    with pytest.raises(EngineDead):
        rewritten(Rewrites(), FakeEngine(error=EngineDead("killed")))
