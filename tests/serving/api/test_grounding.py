"""`serve.grounding`: what an answer stands on, and refusing without a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from pydantic import ValidationError
from support.serving import Fakes, until

from ragft.config import Config

REFUSE = {"grounding": "refuse", "refuse_below": 0.6}
QUESTION = {"role": "user", "content": "What does a ticket cost?"}


@contextmanager
def served(app: Litestar) -> Iterator[Callable[..., Any]]:
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        yield lambda **fields: client.post(
            "/v1/chat/completions", json={"model": "hybrid", "messages": [QUESTION], **fields}
        )


def events(answer: Any) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_an_answer_says_which_sentence_supports_it(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    with served(make_app()) as ask:
        told = ask().json()["ragft"]
        assert told["grounding"]["grounded"] == "true"
        assert (told["grounding"]["passage"], told["grounding"]["sentence"]) == (1, "A ticket costs 12 euros.")
        assert told["refused"] is None
        fakes.engine.tokens = ("Costs ", "13 euros ", "[1].")
        assert events(ask(stream=True))[-1]["ragft"]["grounding"]["grounded"] == "false"
        assert ask(model="fine-tuned").json()["ragft"]["grounding"] is None


def test_grounding_can_be_left_out(make_app: Callable[..., Litestar]) -> None:
    with served(make_app(grounding="off")) as ask:
        assert ask().json()["ragft"]["grounding"] is None


def test_a_question_that_little_was_found_for_is_refused_without_the_model(
    make_app: Callable[..., Litestar], fakes: Fakes
) -> None:
    with served(make_app(**REFUSE)) as ask:
        body = ask(n=2).json()
        assert [choice["message"]["content"] for choice in body["choices"]] == ["I do not know."] * 2
        assert body["ragft"]["refused"] == "The best dense score of what was found is 0.5, below 0.6."
        assert (body["model"], body["usage"]["completion_tokens"]) == ("hybrid", 0)
        chunks = events(ask(stream=True, stream_options={"include_usage": True}))
        assert "".join(c["delta"].get("content", "") for chunk in chunks for c in chunk["choices"]) == "I do not know."
        assert [chunk["ragft"]["refused"] for chunk in chunks if "ragft" in chunk] == [body["ragft"]["refused"]]
        assert chunks[-1]["usage"]["total_tokens"] == 0
        assert fakes.engine.requests == []
        fakes.retriever.hits = ()
        assert ask().json()["ragft"]["refused"] == "Nothing was found."


TOOLS = {"tools": [{"type": "function", "function": {"name": "look"}}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "fine-tuned"}, {"response_format": {"type": "json_object"}}, TOOLS, {**TOOLS, "tool_choice": "auto"},
        {"structured_outputs": {"choice": ["yes", "no"]}},
    ],
)  # fmt: skip
def test_who_wants_no_passages_or_another_form_is_answered(
    make_app: Callable[..., Litestar], fakes: Fakes, fields: dict[str, Any]
) -> None:
    with served(make_app(**REFUSE)) as ask:
        assert ask(**fields).json()["ragft"]["refused"] is None
        assert len(fakes.engine.requests) == 1


@pytest.mark.parametrize(
    "fields", [{"response_format": {"type": "text"}}, {"tool_choice": "none"}, {**TOOLS, "tool_choice": "none"}]
)
def test_a_field_that_prescribes_no_form_leaves_the_threshold_in_force(
    make_app: Callable[..., Litestar], fakes: Fakes, fields: dict[str, Any]
) -> None:
    with served(make_app(**REFUSE)) as ask:
        assert ask(**fields).json()["ragft"]["refused"]
        assert fakes.engine.requests == []


def test_a_response_in_text_leaves_the_threshold_in_force(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    with TestClient(make_app(**REFUSE), base_url="http://localhost") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        asked = {"model": "hybrid", "input": QUESTION["content"], "text": {"format": {"type": "text"}}}
        assert client.post("/v1/responses", json=asked).json()["ragft"]["refused"]
        assert fakes.engine.requests == []


def test_what_is_found_well_enough_is_answered(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    with served(make_app(grounding="refuse", refuse_below=0.5)) as ask:
        assert ask().json()["ragft"]["refused"] is None
        assert len(fakes.engine.requests) == 1


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"serve": {"grounding": "refuse"}}, "refuse_below is not set"),
        (
            {"serve": {**REFUSE, "refuse_by": "dense"}, "index": {"search": {"mode": "lexical"}}},
            "serve.refuse_by is dense, but index.search.mode lexical has no such score",
        ),
    ],
)
def test_a_threshold_that_says_nothing_is_refused(sections: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Config.model_validate({"name": "trains", "prompt": {"system": "x"}, **sections})
