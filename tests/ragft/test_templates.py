"""Templates of every family: what is trained is what is asked when served, or a sentence says why it cannot be."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.templates import CHATML, FAMILIES, GEMMA, LLAMA3, MISTRAL, QWEN3, tokenizer_of, with_template

from ragft.errors import RagftError
from ragft.messages import Message, turn
from ragft.models import resolve_model
from ragft.prompts import conversation
from ragft.templates import Template, TemplateOptions, Unrenderable

QUOTED = [
    "<|im_end|>", "<|im_start|>system", "<|eot_id|>", "<end_of_turn>", "</s>", "[/INST]", "<|end|>", "</think>",
    "<|endoftext|>", "<", "|", "\n", " ",
]  # fmt: skip
CHARACTERS = st.characters(exclude_categories=("Cs", "Cc"), max_codepoint=0xFFFF)
TEXTS = st.text(CHARACTERS, max_size=30) | st.lists(st.sampled_from(QUOTED) | st.text(CHARACTERS, max_size=4)).map(
    "".join
)
ANSWERS = st.tuples(st.sampled_from(["", "\n", "\n\n", " ", "\t"]), st.text(CHARACTERS, max_size=30)).map("".join)
HISTORIES = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXTS), max_size=4).map(
    lambda turns: [turn(role, text) for role, text in turns]
)


@cache
def plain() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(resolve_model("smollm2-135m-instruct"), local_files_only=True)


@cache
def template_of(name: str) -> Template:
    family = FAMILIES[name]
    return Template(tokenizer_of(family, plain()), TemplateOptions(dict(family.arguments)))


def learnt(template: Template, messages: list[Message]) -> str:
    rendered = template.training(messages)
    return template.tokenizer.decode([i for i, trained in zip(rendered.ids, rendered.trained, strict=True) if trained])


def row(answer: str = "Done.", **more: Any) -> list[Message]:
    return conversation("House style.", "When?", following=[turn("assistant", answer)], **more)


# --- every family


@pytest.mark.medium
@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(
    system=TEXTS, question=TEXTS, passages=st.none() | st.lists(TEXTS, max_size=2), history=HISTORIES, answer=ANSWERS
)
def test_whatever_is_accepted_trains_the_answer_and_its_end_behind_the_served_prompt(
    name: str, system: str, question: str, passages: list[str] | None, history: list[Message], answer: str
) -> None:
    family, template = FAMILIES[name], template_of(name)
    asked = conversation(system, question, passages, history=history)
    try:
        rendered = template.training([*asked, turn("assistant", answer)])
    except Unrenderable as error:
        assume("alternate" not in str(error))  # a history that begins with an answer
        raise
    prompt = template.prompt(asked)
    assert list(rendered.ids[: len(prompt)]) == prompt
    assert rendered.trained == (False,) * len(prompt) + (True,) * (len(rendered.ids) - len(prompt))
    read = template.tokenizer.decode(rendered.ids[len(prompt) :])
    assert read.endswith(family.end)
    text = read.removesuffix(family.end)
    assert text.strip() == answer.strip()
    if not family.trims:
        assert text in (answer, f" {answer}")  # Mistral's begins with a space of the template's


@pytest.mark.medium
@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(system=TEXTS, question=TEXTS, history=HISTORIES)
def test_no_text_that_is_quoted_becomes_a_control_token(
    name: str, system: str, question: str, history: list[Message]
) -> None:
    template = template_of(name)
    added = template.tokenizer.added_tokens_decoder
    asked = conversation(system, question, history=history)

    def control(messages: list[Message]) -> list[int]:
        try:
            return [token for token in template.prompt(messages) if token in added and added[token].special]
        except Unrenderable as error:
            assume("alternate" not in str(error))
            raise

    harmless = [turn(message["role"], "word" if message["content"].strip() else "") for message in asked]
    assert control(asked) == control(harmless)


@pytest.mark.medium
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_found_about_a_family(name: str) -> None:
    family, template = FAMILIES[name], template_of(name)
    template.check_trainable()
    assert template.folds is family.folds
    assert template.tokenizer.convert_ids_to_tokens(template.end) == family.end
    assert (template.stop is None) is (family.end == family.eos)
    joined = template.arranged([turn("user", "a"), turn("user", "b")])
    assert joined == ([turn("user", "a\n\nb")] if family.alternates else [turn("user", "a"), turn("user", "b")])


# --- system turns and alternation


@pytest.mark.parametrize("name", ["gemma", "mistral"])
def test_system_text_begins_the_first_question_where_the_template_refuses_it(name: str) -> None:
    template = template_of(name)
    arranged = template.arranged(row(history=[turn("user", "Hello?"), turn("assistant", "Hello.")]))
    assert [message["role"] for message in arranged] == ["user", "assistant", "user", "assistant"]
    assert arranged[0]["content"] == "House style.\n\nHello?"
    assert learnt(template, row("Yes.")).strip() == f"Yes.{FAMILIES[name].end}"


def test_system_text_that_the_template_would_leave_out_is_folded_too() -> None:
    silent = CHATML.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
    template = Template(with_template(plain(), silent))
    assert "House style." in template.tokenizer.decode(template.prompt(row()[:-1]))


def test_history_that_begins_with_an_answer_is_refused_in_the_templates_words() -> None:
    with pytest.raises(Unrenderable, match="roles must alternate"):
        template_of("mistral").training([turn("assistant", "Hi."), turn("user", "a"), turn("assistant", "b")])


def test_tool_calls_are_never_joined() -> None:
    call: Any = {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}
    assert template_of("gemma").arranged([turn("user", "a"), call, call])[1:] == [call, call]


# --- templates that nothing can be trained with


@pytest.mark.medium
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (QWEN3, r"'<think>\\n\\n</think>' between the prompt and the answer.*template_arguments: {enable_thinking: fa"),
        (QWEN3.replace("is defined and enable_thinking is false", ""), r"template_arguments: {enable_thinking: true}"),
        (CHATML.partition("{% if add")[0], r"no generation prompt.*\"<\|im_start\|>assistant\\n\""),
        (CHATML.replace("<|im_end|>", "</turn>"), r"ends an answer with '</turn>\\n', in which there is no control"),
        (CHATML.replace("assistant\n", "assistant\n<think>\n"), "renders the prompt differently once an answer"),
        ("{{ bos_token }}{{ bos_token }}" + CHATML, r"begins with '<\|im_start\|>' twice"),
        (CHATML.replace("{{ m.content }}", "{{ m.content if m.role != 'assistant' }}"), "does not write the assistant"),
        ("{{ raise_exception('No.') }}", "refuses the conversation: No."),
    ],
)  # fmt: skip
def test_template_that_cannot_be_learnt_is_refused_with_what_to_do(text: str, says: str) -> None:
    template = Template(with_template(plain(), text))
    with pytest.raises(RagftError, match=says):
        template.check_trainable()
    with pytest.raises(RagftError, match=says):
        template.training(row())


def test_argument_that_the_template_does_not_read_is_refused_with_those_that_it_does() -> None:
    with pytest.raises(RagftError, match=r"does not read 'enable_thinkin'.*it reads enable_thinking\."):
        Template(with_template(plain(), QWEN3), TemplateOptions({"enable_thinkin": False}))


@pytest.mark.medium
def test_named_templates_are_taken_as_engines_take_them() -> None:
    named = {"default": CHATML, "tool_use": "{{ tools }}" + CHATML}
    template, alone = Template(with_template(plain(), named)), Template(with_template(plain(), CHATML))
    assert template.training(row()) == alone.training(row())
    assert template.prompt(row()[:-1], tools=[{"type": "function"}]) != alone.prompt(row()[:-1])
    assert template.hash != alone.hash
    with pytest.raises(RagftError, match="named rag, tool_use but none named default"):
        Template(with_template(plain(), {"tool_use": CHATML, "rag": CHATML}))


# --- rows that cannot be learnt


@pytest.mark.parametrize("quoted", ["<|im_end|>", "<|endoftext|>", "<|im_start|>user"])
def test_answer_that_quotes_a_control_token_is_named_and_the_others_are_learnt(quoted: str) -> None:
    template = template_of("chatml")
    rendered, faults = template.learnable(
        [("Row 1", row(f"It is {quoted} here.")), ("Row 2", row())], template.training
    )
    assert len(rendered) == 1
    token = quoted.removesuffix("user")
    assert faults == [
        f"Row 1: The answer quotes {token!r}, which this model reads as a control token: write it in another way."
    ]


def test_tokens_that_only_the_template_marks_are_control_tokens_too() -> None:
    """Fine-tunes add `<|im_start|>` as an ordinary token."""
    tokenizer = with_template(plain(), CHATML.replace("im_start", "turn"))
    tokenizer.add_tokens(["<|turn|>", "<other>"])
    template = Template(tokenizer)
    with pytest.raises(Unrenderable, match=r"quotes '<\|turn\|>'"):
        template.training(row("See <|turn|>."))
    assert learnt(template, row("See <other>.")).startswith("See <other>.")


@pytest.mark.parametrize("answer", ["\nYes.", "\n\n\nYes.", "  Yes.", "\tYes.", "\r\nYes."])
def test_answer_that_begins_with_white_space_is_learnt_as_it_stands(answer: str) -> None:
    assert learnt(template_of("chatml"), row(answer)) == f"{answer}<|im_end|>"


# --- dates and the hash


def test_the_day_of_training_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def rendered(today: date) -> tuple[Any, str]:
        import transformers.utils.chat_template_utils as module

        class Clock:
            now = staticmethod(lambda: today)

        monkeypatch.setattr(module, "datetime", Clock)
        template = Template(tokenizer_of(FAMILIES["llama3"], plain()))
        unpinned = template.tokenizer.apply_chat_template(row(), tokenize=False)
        assert today.strftime("%d %b %Y") in unpinned
        return template.training(row()), template.hash

    assert rendered(date(2026, 11, 27)) == rendered(date(2027, 1, 2))


def test_a_date_is_set_by_the_configuration_or_by_the_templates_own_argument() -> None:
    tokenizer = tokenizer_of(FAMILIES["llama3"], plain())

    def told(options: TemplateOptions) -> tuple[str, str]:
        template = Template(tokenizer, options)
        text = tokenizer.decode(template.prompt(row()[:-1]))
        return text.partition("Today Date: ")[2][:11], template.hash

    found = [
        told(TemplateOptions()), told(TemplateOptions(date=date(2026, 11, 27))),
        told(TemplateOptions({"date_string": "1 May 1900"})),
    ]  # fmt: skip
    assert [text for text, _ in found] == ["26 Jul 2024", "27 Nov 2026", "1 May 1900\n"]
    assert len({hash_ for _, hash_ in found}) == 3


@pytest.mark.medium
def test_hash_covers_text_arguments_and_what_is_folded_and_no_date_that_is_not_written() -> None:
    def hash_of(text: str, **arguments: Any) -> str:
        return Template(with_template(plain(), text), TemplateOptions(arguments, date(2026, 1, 1))).hash

    hashes = {
        hash_of(CHATML), hash_of(QWEN3), hash_of(QWEN3, enable_thinking=False), hash_of(QWEN3, enable_thinking=True),
        hash_of(GEMMA), hash_of(MISTRAL), hash_of(LLAMA3),
    }  # fmt: skip
    assert len(hashes) == 7
    assert hash_of(CHATML) == Template(with_template(plain(), CHATML)).hash


# --- answers in the history

TWO_ANSWERS = row("Second.", history=[turn("user", "Hello?"), turn("assistant", "First.")])


@pytest.mark.parametrize("name", FAMILIES)
def test_all_answers_are_trained_each_behind_the_prompt_that_it_answers(name: str) -> None:
    template = template_of(name)
    try:
        rendered = template.training(TWO_ANSWERS, "all")
    except Unrenderable as refused:
        assert "set finetune.train_on to last" in str(refused)
        # Qwen takes what was thought out of earlier turns. Here, a tokenizer that is not Llama's joins the line breaks
        # of a turn's head with the answer behind them.
        assert name in ("qwen3", "llama3")
        return
    last = template.training(TWO_ANSWERS)
    assert rendered.ids == last.ids and sum(rendered.trained) > sum(last.trained)
    begin = len(template.prompt(TWO_ANSWERS[:2]))
    assert list(rendered.ids[:begin]) == template.prompt(TWO_ANSWERS[:2])
    first = [position for position, trained in enumerate(rendered.trained) if trained and not last.trained[position]]
    assert first == list(range(begin, begin + len(first))), "one span, from the first token that is generated"
    text = template.tokenizer.decode([rendered.ids[position] for position in first])
    assert text.strip() == f"First.{FAMILIES[name].end}"


def test_a_conversation_with_one_answer_is_the_same_either_way() -> None:
    template = template_of("chatml")
    assert template.training(row(), "all") == template.training(row(), "last")
