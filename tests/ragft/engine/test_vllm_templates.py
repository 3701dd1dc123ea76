"""vLLM renders by the same template, told the same: arguments, date, folded system turns, and the end of a turn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support.engines import EngineThread, start_engine
from support.templates import CHATML, with_template

from ragft.engine.base import ChatRequest, Completion
from ragft.messages import Message, turn
from ragft.prompts import conversation
from ragft.templates import Template, TemplateOptions

pytestmark = pytest.mark.slow

OPTIONS = TemplateOptions({"mood": "calm"}, date(2001, 2, 3))
TEXT = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('No system.') }}{% endif %}"
    "{{ strftime_now('%Y-%m-%d') }} {{ mood }}\n" + CHATML
)


@pytest.fixture(scope="module")
def template(chat_tokenizer: Any) -> Template:
    """Texts end with `</s>`, turns with `<|im_end|>`."""
    tokenizer = with_template(chat_tokenizer, TEXT, ["</s>"])
    tokenizer.eos_token = "</s>"
    return Template(tokenizer, OPTIONS)


@pytest.fixture(scope="module")
def engine(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineThread]:
    """A random model, which names no end of a turn."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder: Path = tmp_path_factory.mktemp("model")
    config = LlamaConfig(
        vocab_size=len(template.tokenizer), hidden_size=128, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True,
        eos_token_id=template.tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    template.tokenizer.save_pretrained(folder)
    thread = start_engine(folder, template=OPTIONS)
    yield thread
    thread.close()


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
    engine: EngineThread, template: Template, history: list[Message], first: str
) -> None:
    messages = conversation("House style.", "When?", ["</s> in a passage"], history=history)
    completion = ask(engine, messages, max_tokens=1)
    ids = list(completion.prompt_token_ids)
    assert ids == template.prompt(messages)
    assert engine.engine.prompt_length(messages) == len(ids)
    text = template.tokenizer.decode(ids)
    assert text.startswith(f"2001-02-03 calm\n<|im_start|>user\n{first}\n\n")


def test_answers_stop_at_the_token_that_ends_a_turn(engine: EngineThread, template: Template) -> None:
    asked = {"allowed_token_ids": [template.end], "max_tokens": 8, "temperature": 0}
    stopped = ask(engine, conversation("s", "When?"), **asked)
    assert (stopped.finish_reason, stopped.token_ids, stopped.text) == ("stop", (template.end,), "")
    assert ask(engine, conversation("s", "When?"), **asked, ignore_eos=True).finish_reason == "length"
