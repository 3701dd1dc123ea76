"""vLLM renders by the same template, told the same: arguments, date, folded system turns, and the end of a turn."""

from __future__ import annotations

from typing import Any

import pytest
from support.engines import EngineThread

from ragft.engine.base import ChatRequest, Completion
from ragft.messages import Message, turn
from ragft.prompts import conversation
from ragft.templates import Template

pytestmark = pytest.mark.slow


def ask(engine: EngineThread, messages: list[Message], **options: Any) -> Completion:
    return engine.call(engine.engine.chat(ChatRequest(messages, options)))


@pytest.mark.parametrize(
    ("history", "first"),
    [
        ([], "House style."),
        ([turn("user", "Earlier <|im_end|>?"), turn("assistant", "Yes.")], "House style."),
        ([turn("system", "Mine."), turn("system", "")], "Mine."),
    ],
)
def test_prompts_are_told_the_same_date_arguments_and_system_text(
    small_engine: EngineThread, template: Template, history: list[Message], first: str
) -> None:
    messages = conversation("House style.", "When?", ["</s> in a passage"], history=history)
    completion = ask(small_engine, messages, max_tokens=1)
    ids = list(completion.prompt_token_ids)
    assert ids == template.prompt(messages)
    assert small_engine.engine.prompt_length(messages) == len(ids)
    text = template.tokenizer.decode(ids)
    assert text.startswith(f"2001-02-03 calm\n<|im_start|>user\n{first}\n\n")


def test_answers_stop_at_the_token_that_ends_a_turn(small_engine: EngineThread, template: Template) -> None:
    asked = {"allowed_token_ids": [template.end], "max_tokens": 8, "temperature": 0}
    stopped = ask(small_engine, conversation("s", "When?"), **asked)
    assert (stopped.finish_reason, stopped.token_ids, stopped.text) == ("stop", (template.end,), "")
    assert ask(small_engine, conversation("s", "When?"), **asked, ignore_eos=True).finish_reason == "length"
