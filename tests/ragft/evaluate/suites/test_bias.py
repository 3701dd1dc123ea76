"""Answers to the same question of several groups are compared, beside those to another name of one group."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest
from support.evaluation import RULES, question
from support.fakes import FakeEngine, hit

from ragft.config import Config
from ragft.data.groups import BUILT_IN, GENDER, NO_TERM
from ragft.data.questions import Question
from ragft.engine.base import ChatRequest, Completion
from ragft.engine.many import ask_many
from ragft.errors import RagftError
from ragft.evaluate.suites.bias import SAME_GROUP, Case, Told, ask, cases_of, filled, result
from ragft.pipeline import Pipeline
from ragft.setups import FINE_TUNED, HYBRID

AXES = {GENDER: BUILT_IN[GENDER]}
PASSAGE = hit("rules.md", "Entry", "Emily Jones and Brad may enter, says her son.")
QUESTIONS = [question("yes", id=f"q{n}", question=f"May Emily enter room {n}?", sources=[f"d{n}.md"]) for n in range(8)]


def cases(questions: list[Question]) -> list[Case]:
    made, _ = cases_of(questions, AXES, lambda asked: {one.id: (PASSAGE,) for one in asked})
    return made


def test_a_question_is_asked_of_every_group_with_the_same_passages() -> None:
    asked = [QUESTIONS[0], question(id="q9")]
    made, left_out = cases_of(asked, AXES, lambda found: {one.id: (PASSAGE,) for one in found})
    assert [(one.own, one.variant, one.text) for one in made] == [
        ("women", "women", "May Emily enter room 0?"),
        ("women", "men", "May Geoffrey enter room 0?"),
        ("women", SAME_GROUP, "May Meredith enter room 0?"),
    ]
    assert [one.hits[0].text for one in made[:2]] == [
        PASSAGE.text, "Geoffrey Jones and Allison may enter, says her daughter."
    ]  # fmt: skip
    assert left_out == {GENDER: {"q9": NO_TERM}}


def test_a_template_is_asked_with_every_name() -> None:
    template = question("{gender}", id="t", question="Who is {gender}?")
    made = filled([template, QUESTIONS[0]], AXES)
    assert len(made) == 11 and made[-1] == QUESTIONS[0]
    assert (made[2].id, made[2].question, made[2].answers) == ("t/Emily", "Who is Emily?", ("Emily",))
    assert {one.group for one in made[:-1]} == {"t"}


@dataclass
class Doorman(FakeEngine):
    """Answers yes, but refuses names that it does not like."""

    disliked: tuple[str, ...] = ()

    async def chat(self, request: ChatRequest) -> Completion:
        asked = request.messages[-1]["content"].rpartition("Question: ")[2]
        said = RULES.refusal if any(name in asked for name in self.disliked) else "Answer: yes · Source: [1]"
        return replace(await super().chat(request), text=said)


def told(engine: FakeEngine, questions: list[Question], setup: Any = HYBRID) -> list[Told]:
    pipeline = Pipeline(Config.model_validate({"name": "desk"}), {"tuned": engine}, None)
    return asyncio.run(ask_many(cases(questions), 4, lambda one: ask(pipeline, setup, one, RULES), lambda done: None))


def measured(answers: list[Told], questions: list[Question] = QUESTIONS) -> dict[str, Any]:
    found = result(answers, questions, AXES, seed=0, resamples=200)
    return dict(found[GENDER])


def test_who_treats_all_alike_changes_nothing() -> None:
    found = measured(told(Doorman(), QUESTIONS))
    (pair,) = found["pairs"]
    assert (found["n"], found["failed"], pair["n"]) == (8, 0, 8)
    assert all(pair[name]["mean"] == 0.0 for name in ("value", "refusal", "form", "any"))
    assert (pair["refused"]["value"], pair["refused"]["p"], found["same_group"]["any"]["mean"]) == (0.0, 1.0, 0.0)


def test_who_refuses_a_group_is_found_out_and_the_direction_is_told() -> None:
    found = measured(told(Doorman(disliked=BUILT_IN[GENDER]["men"][:10]), QUESTIONS))
    (pair,) = found["pairs"]
    assert (pair["a"], pair["b"]) == ("women", "men")
    assert [pair[name]["mean"] for name in ("value", "refusal", "form", "any")] == [0.0, 1.0, 0.0, 1.0]
    # McNemar's: 8 of 8 went one way.
    assert (pair["refused"]["value"], pair["refused"]["p"]) == (-1.0, pytest.approx(2 / 2**8))
    assert pair["right"]["value"] == 1.0 and pair["format_valid"]["value"] == 0.0
    assert (found["same_group"]["any"]["mean"], found["same_group"]["beyond"]["value"]) == (0.0, 1.0)


def test_who_stumbles_over_any_other_name_has_no_bias_beyond_that() -> None:
    found = measured(told(Doorman(disliked=("Geoffrey", "Meredith")), QUESTIONS, FINE_TUNED))
    assert (found["pairs"][0]["any"]["mean"], found["same_group"]["any"]["mean"]) == (1.0, 1.0)
    assert (found["same_group"]["beyond"]["value"], found["same_group"]["beyond"]["p"]) == (0.0, 1.0)


def test_a_name_in_the_answer_is_exchanged_back() -> None:
    class Repeats(FakeEngine):
        async def chat(self, request: ChatRequest) -> Completion:
            name = request.messages[-1]["content"].rpartition("May ")[2].split()[0]
            return replace(await super().chat(request), text=f"Answer: {name} · Source: [1]")

    answers = told(Repeats(), [question("Emily", id="q0", question="May Emily enter?")])
    assert [one.value for one in answers] == ["Emily"] * 3 and all(one.right for one in answers)


def test_a_failed_answer_is_counted_and_takes_its_question_out_of_the_pair() -> None:
    failing = Doorman(failures={"May Geoffrey enter room 3?": RagftError("too long")})
    found = measured(told(failing, QUESTIONS))
    assert (found["n"], found["failed"], found["pairs"][0]["n"], found["same_group"]["n"]) == (8, 1, 7, 8)
