"""What is written for other tools: as their pages show it, refused where they would refuse it, the same on return."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from ragft.citations import parse_citations
from ragft.data.examples import Example, as_line, example_of
from ragft.data.formats import schemas
from ragft.data.formats.importing import import_rows
from ragft.data.formats.layouts import Unheld
from ragft.data.formats.lost import digest_of, lost_between
from ragft.data.formats.targets import TARGETS, Kind, Shown, Target
from ragft.data.sources import Source
from ragft.messages import Message, turn
from ragft.prompts import conversation

KINDS = [(target, kind) for target in TARGETS.values() for kind in (target.chat, target.pair) if kind]
CHAT = [turn("system", "Be brief."), turn("user", "Hi"), turn("assistant", "Hello"), turn("user", "When?")]
SHOWN = Shown([*CHAT, turn("assistant", "At ten.")], "Late.")
MARV: list[dict[str, Any]] = [
    {"role": "system", "content": "Marv is a factual chatbot that is also sarcastic."},
    {"role": "user", "content": "What's the capital of France?"},
    {"role": "assistant", "content": "Paris", "weight": 0},
    {"role": "user", "content": "Can you be more sarcastic?"},
    {"role": "assistant", "content": "Paris, as if everyone doesn't know that already.", "weight": 1},
]
PIRATE = {
    "systemInstruction": {"role": "system", "parts": [{"text": "You are a pirate dog."}]},
    "contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Argh!"}]}],
}


@pytest.mark.parametrize(
    ("schema", "sample"),
    [
        (schemas.OpenAIChat, {"messages": MARV}),
        (
            schemas.OpenAIPreference,
            {"input": {"messages": MARV[1:2]}, "preferred_output": [{"role": "assistant", "content": "a"}],
             "non_preferred_output": [{"role": "assistant", "content": "b"}]},
        ),
        (schemas.VertexChat, PIRATE),
        (schemas.AxolotlPreference, {"messages": [turn("system", "a"), turn("user", "b")],
                                     "chosen": turn("assistant", "c"), "rejected": turn("assistant", "d")}),
        (
            schemas.LlamaFactoryChat,
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "c"},
        ),
        (
            schemas.LlamaFactoryPreference,
            {"conversations": [{"from": "human", "value": "a"}], "chosen": {"from": "gpt", "value": "b"},
             "rejected": {"from": "gpt", "value": "c"}},
        ),
        (schemas.JumpStartPair, {"prompt": "a", "completion": "b"}),
    ],
)  # fmt: skip
def test_the_samples_of_the_published_pages_are_valid(schema: type[BaseModel], sample: dict[str, Any]) -> None:
    schema.model_validate(sample)


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        (schemas.OpenAIChat, {"messages": MARV[:4]}),
        (schemas.OpenAIChat, {"messages": MARV, "sources": ["a.md"]}),
        (schemas.OpenAIChat, {"messages": [{**MARV[1], "weight": 1}, MARV[4]]}),
        (schemas.OpenAIChat, {"messages": [MARV[1], {**MARV[4], "weight": 0.5}]}),
        (schemas.OpenAIChat, {"messages": [MARV[0], MARV[4]]}),
        (schemas.VertexChat, {"contents": PIRATE["contents"][:1]}),  # type: ignore[index]
        (schemas.VertexChat, {"contents": [PIRATE["contents"][0]] * 2}),  # type: ignore[index]
        (schemas.VertexChat, {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}] * 2}),
        (schemas.AxolotlChat, {"messages": [{**one, "train": False} for one in CHAT]}),
        (schemas.UnslothChat, {"conversations": [turn("assistant", "a"), turn("user", "b")]}),
        (schemas.LlamaFactoryChat, {"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}]}),
        (
            schemas.LlamaFactoryPreference,
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
             "chosen": {"from": "gpt", "value": "b"}, "rejected": {"from": "gpt", "value": "c"}},
        ),
        (schemas.JumpStartPair, {"prompt": "", "completion": "b"}),
    ],
)  # fmt: skip
def test_what_a_tool_would_refuse_is_refused(schema: type[BaseModel], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        schema.model_validate(wrong)


@pytest.mark.parametrize(("target", "kind"), KINDS, ids=[f"{t.name} {k.schema.__name__}" for t, k in KINDS])
def test_a_conversation_comes_back_as_it_was_from_every_tool(target: Target, kind: Kind) -> None:
    values, back = kind.row(SHOWN)
    if target.name == "sagemaker":  # its prompts are texts
        assert back == {"question": "Be brief.\n\nUser: Hi\nAssistant: Hello\nUser: When?", "answer": "At ten."}
        return
    pair = {"rejected": "Late."} if kind is target.pair else {}
    asked = {"question": "When?", "answer": "At ten.", "history": CHAT[1:3], "system": "Be brief."}
    assert back == {**asked, **pair}
    assert digest_of(values) == digest_of(json.loads(json.dumps(values)))


def test_earlier_answers_are_trained_only_where_they_are_here() -> None:
    def weights(shown: Shown) -> list[Any]:
        return [one.get("weight") for one in TARGETS["openai"].chat.row(shown)[0]["messages"]]

    def trained(shown: Shown) -> list[bool]:
        return [one["train"] for one in TARGETS["axolotl"].chat.row(shown)[0]["messages"]]

    assert weights(SHOWN) == [None, None, 0, None, None]
    assert trained(SHOWN) == [False, False, False, False, True]
    both = Shown(SHOWN.messages, all_answers=True)
    assert weights(both) == [None] * 5 and trained(both) == [False, False, True, False, True]


def test_turns_that_a_tool_cannot_hold_are_refused_with_the_place() -> None:
    middle = Shown([turn("user", "a"), turn("system", "b"), turn("user", "c"), turn("assistant", "d")])
    with pytest.raises(Unheld, match=r"contents.1.role"):
        TARGETS["vertex"].chat.row(middle)
    twice = Shown([turn("user", "a"), turn("user", "c"), turn("assistant", "d")])
    with pytest.raises(Unheld, match="human and gpt in turn"):
        TARGETS["llama-factory"].chat.row(twice)


def test_companions_name_the_files_and_the_fields_that_are_there() -> None:
    for pairs in (False, True):
        info = json.loads(TARGETS["llama-factory"].companions(pairs)["dataset_info.json"])
        kind = TARGETS["llama-factory"].pair if pairs else TARGETS["llama-factory"].chat
        assert kind is not None
        row = kind.row(SHOWN)[0]
        assert set(info["ragft_train"]["columns"].values()) == set(row)
        assert (
            info["ragft_validation"]["file_name"] == "validation.jsonl"
            and info["ragft_train"].get("ranking", False) == pairs
        )
        axolotl = yaml.safe_load(TARGETS["axolotl"].companions(pairs)["axolotl.yaml"])
        assert axolotl["datasets"][0]["path"] == "train.jsonl" and axolotl.get("rl") == ("dpo" if pairs else None)
        axolotl_kind = TARGETS["axolotl"].pair if pairs else TARGETS["axolotl"].chat
        assert axolotl_kind is not None
        named = {
            axolotl["datasets"][0][f"field_{name}"] for name in ("messages", *(("chosen", "rejected") if pairs else ()))
        }
        assert named == set(axolotl_kind.row(SHOWN)[0])
    template = json.loads(TARGETS["sagemaker"].companions(False)["train/template.json"])
    row = TARGETS["sagemaker"].chat.row(SHOWN)[0]
    assert {name: text.format(**row) for name, text in template.items()} == row


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(str.strip)
NAMES = st.lists(TEXTS, max_size=2)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    history: list[Message] = [turn("system", draw(TEXTS))] if draw(st.booleans()) else []
    if draw(st.booleans()):
        history += [turn("user", draw(TEXTS)), turn("assistant", draw(TEXTS))]
    answer, sources = draw(TEXTS), tuple(map(Source, draw(NAMES)))
    worse = draw(st.one_of(st.just(""), TEXTS))
    if sources and draw(st.booleans()):
        answer += " [1]"
    return Example(
        draw(TEXTS), draw(TEXTS), answer, sources, draw(TEXTS), tuple(draw(NAMES)), tuple(history),
        "" if worse.strip() == answer.strip() else worse, draw(st.one_of(st.just(""), TEXTS)),
    )  # fmt: skip


@pytest.mark.medium
@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
@settings(max_examples=25)
@given(st.lists(examples(), min_size=1, max_size=4, unique_by=lambda one: one.id))
def test_what_is_written_comes_back_the_same_with_what_the_tool_has_no_place_for(
    target: Target, made: Sequence[Example]
) -> None:
    """In any order: shuffled rows find what belongs to them."""
    # A drawn text may be a mark that cites beyond the sources.
    valid = [one for one in made if not one.sources or max(parse_citations(one.answer), default=0) <= len(one.sources)]
    assert [example_of(as_line(one), "f, line 1") for one in valid] == valid
    rows, lost = [], []
    for one in valid:
        messages = conversation("House.", one.question, None, history=one.history,
                                following=[turn("assistant", one.answer)])  # fmt: skip
        try:
            values, back = target.chat.row(Shown(messages, one.rejected))
        except Unheld as error:
            lost.append({"left_out": as_line(one), "reason": str(error)})
            continue
        rows.append(values)
        lost.append({"row": digest_of(values), "fields": lost_between(as_line(one), back)})
    if not rows:
        return
    with TemporaryDirectory() as folder:
        train, beside, out = (Path(folder, name) for name in ("train.jsonl", "x.lost.jsonl", "examples.jsonl"))
        train.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
        beside.write_text("".join(json.dumps(row) + "\n" for row in lost))
        told = import_rows(train, out, lost=beside)
        assert told.unheld == told.unclaimed == told.same_ids == 0
        back_again = [json.loads(line) for line in out.read_text("utf-8").split("\n") if line]
    by_id = {row["id"]: row for row in back_again}
    assert by_id == {one.id: as_line(one) for one in valid}
    assert [next(iter(row)) for row in back_again] == ["id"] * len(valid)
