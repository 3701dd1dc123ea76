"""Corrected answers as examples and questions: with their origin, once, and never on both sides."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from ragft.data.examples import Example, example_of
from ragft.data.questions import Question, question_of
from ragft.evaluate.metrics.base import Rules
from ragft.feedback.promotion import LeftOut, decided, to_examples, to_golden, to_pairs, to_questions
from ragft.feedback.reviewing import items_of
from ragft.feedback.store import Feedback
from ragft.patterns import Bounded
from ragft.review.board import standings
from ragft.review.decisions import Decision

RULES = Rules(format=Bounded("Answer: .+", "answer.format"), value=Bounded("Answer: (.+?)\\.", "answer.value"))
GIVEN = Feedback(
    id="f1", time=1.0, caller="me", answer_id="a1", setup="hybrid", model_version="m", thumb="bad",
    question="When does the desk open on Sundays?", answer="Answer: nine [1].", corrected_answer="Answer: ten [3].",
    passages=("hours.md#Week", "prices.md", "hours.md#Hours > Sundays"),
)  # fmt: skip
CALLS = {"examples": to_examples, "questions": to_questions}


def example(identity: str, question: str, answer: str = "Answer: x.") -> Example:
    made = example_of({"id": identity, "question": question, "answer": answer}, "here")
    assert made is not None
    return made


def question(identity: str, text: str) -> Question:
    return question_of({"id": identity, "question": text, "answers": ["x"]}, "here")


def test_a_correction_becomes_an_example_whose_worse_answer_is_rejected() -> None:
    made = to_examples([GIVEN], (), (), RULES)
    assert made.rows == [
        {
            "id": "feedback-f1", "question": GIVEN.question, "answer": "Answer: ten [1].",
            # What it cited wrongly is no source of the example, and must not become one by its number.
            "sources": ["hours.md#Hours > Sundays"], "rejected": "Answer: nine [2].",
            "tags": ["feedback"], "origin": "feedback f1",
        }
    ]  # fmt: skip
    assert example_of(made.rows[0], "here") is not None and made.left_out == []


def test_a_correction_becomes_a_question_with_its_value_as_gold_answer() -> None:
    turns: Any = ({"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes?"})
    given = replace(GIVEN, source="notice.md", history=turns)
    assert to_questions([given], (), (), RULES).rows == [
        {
            "id": "feedback-f1", "question": GIVEN.question, "history": list(turns), "answers": ["ten"],
            "sources": ["hours.md#Hours > Sundays", "notice.md"], "tags": ["feedback"], "origin": "feedback f1",
        }
    ]  # fmt: skip
    refused = to_questions([replace(GIVEN, corrected_answer="I do not know.")], (), (), RULES)
    assert refused.rows[0]["answerable"] is False and "answers" not in refused.rows[0]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"corrected_answer": None}, "no correction"),
        ({"question": None, "answer": None}, "no question"),
        ({"corrected_answer": "answer: NINE [1]"}, "unchanged"),
        ({"corrected_answer": "It is ten."}, "format"),
        ({"corrected_answer": "Answer: ten [4]."}, "invalid"),
        ({"history": ({"role": "assistant", "content": "I begin."},)}, "invalid"),
    ],
)
def test_feedback_that_makes_no_example_is_told_with_its_reason(changed: dict[str, Any], why: str) -> None:
    made = to_examples([replace(GIVEN, **changed)], (), (), RULES)
    assert made.rows == [] and [(one.id, one.why) for one in made.left_out] == [("f1", why)]
    assert made.counts == {why: 1}


def test_a_question_is_never_on_both_sides() -> None:
    asked = question("q7", "On Sundays, when does the desk open?")
    assert to_examples([GIVEN], (), [asked], RULES).left_out == [LeftOut("f1", "other side", "q7")]
    taught = example("e7", "When does the desk open on Sundays")
    assert to_questions([GIVEN], [taught], (), RULES).left_out == [LeftOut("f1", "other side", "e7")]
    # Nor after one of the two was promoted.
    row = to_examples([GIVEN], (), (), RULES).rows[0]
    made = example_of(row, "here")
    assert made is not None
    assert to_questions([GIVEN], [made], (), RULES).left_out == [LeftOut("f1", "other side", "feedback-f1")]


@pytest.mark.parametrize("to", CALLS)
def test_nothing_is_promoted_twice_and_the_newest_of_several_counts(to: str) -> None:
    again = replace(GIVEN, id="f2", time=2.0, corrected_answer="Answer: eleven [3].")
    other = replace(GIVEN, id="f3", question="What does a locker cost?", corrected_answer="Answer: two euros [2].")
    made = CALLS[to]([GIVEN, again, other], (), (), RULES)
    assert [row["id"] for row in made.rows] == ["feedback-f2", "feedback-f3"]
    assert made.left_out == [LeftOut("f1", "repeated", "feedback-f2")]
    there: Any = [(example if to == "examples" else question)("old", "when does the desk open, on Sundays")]
    sides: Any = (there, ()) if to == "examples" else ((), there)
    assert {one.detail for one in CALLS[to]([GIVEN, again], *sides, RULES).left_out} == {"old"}


def test_a_row_that_was_edited_in_its_file_is_not_promoted_anew() -> None:
    edited = example("feedback-f1", "Something else entirely?")
    assert to_examples([GIVEN], [edited], (), RULES).left_out == [LeftOut("f1", "repeated", "feedback-f1")]


def test_sources_of_a_setup_without_passages_are_those_that_the_user_named() -> None:
    given = replace(GIVEN, passages=(), source="hours.md", corrected_answer="Answer: ten [1].")
    (row,) = to_examples([given], (), (), RULES).rows
    assert (row["sources"], row["answer"]) == (["hours.md"], "Answer: ten [1].")
    assert re.search(r"\[2\]", row["rejected"])


def test_a_good_and_a_bad_answer_to_one_question_are_a_pair() -> None:
    good = replace(
        GIVEN, id="g", thumb="good", answer="Answer: ten [2].", corrected_answer=None,
        passages=("prices.md", "hours.md"),
    )  # fmt: skip
    bad = replace(
        GIVEN, id="b", question="On Sundays, when does the desk open?", answer="Answer: nine [2], not ten [1].",
        corrected_answer=None, passages=("hours.md", "week.md"),
    )  # fmt: skip
    alone = replace(bad, id="c", question="What does a locker cost?")
    made = to_pairs([good, bad, alone], (), (), RULES)
    assert made.rows == [
        {
            "id": "feedback-g", "question": GIVEN.question, "answer": "Answer: ten [1].", "sources": ["hours.md"],
            # Both cite hours.md, which is the first source; week.md is none.
            "rejected": "Answer: nine [5], not ten [1].", "tags": ["feedback"], "origin": "feedback g and b",
        }
    ]  # fmt: skip
    assert example_of(made.rows[0], "here") is not None
    assert [(one.id, one.why) for one in made.left_out] == [("b", "no worse answer"), ("c", "no worse answer")]
    corrected = to_pairs([GIVEN], (), (), RULES)
    assert corrected.rows == to_examples([GIVEN], (), (), RULES).rows
    asked = question("q7", "When does the desk open on Sundays?")
    assert LeftOut("g", "other side", "q7") in to_pairs([good, bad, alone], (), [asked], RULES).left_out


def test_golden_questions_need_a_source_and_no_answer() -> None:
    named = replace(GIVEN, id="n", corrected_answer=None, source="hours.md#Sundays")
    turns: Any = ({"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes?"})
    assert to_golden([named], (), (), RULES).rows == [
        {"id": "feedback-n", "question": GIVEN.question, "sources": ["hours.md#Sundays"], "tags": ["feedback"],
         "origin": "feedback n"}
    ]  # fmt: skip
    assert to_golden([GIVEN], (), (), RULES).rows[0]["answers"] == ["ten"]
    for changed, why in (
        ({"source": None}, "no source"), ({"history": turns}, "follow-up"), ({"question": None}, "no question")
    ):  # fmt: skip
        assert [one.why for one in to_golden([replace(named, **changed)], (), (), RULES).left_out] == [why]
    taught = example("e7", "When does the desk open on Sundays")
    assert to_golden([named], [taught], (), RULES).left_out == [LeftOut("n", "other side", "e7")]


def test_a_review_decides_what_is_left() -> None:
    found = [replace(GIVEN, id=name) for name in ("f1", "f2", "f3", "f4")]
    items = {item.name: item for item in items_of(found)}
    assert [item.repeats for item in items.values()] == ["", "feedback f1", "feedback f1", "feedback f1"]

    def said(name: str, reviewer: str, verdict: Any, **edited: str) -> Decision:
        return Decision(reviewer=reviewer, row=items[name].key, name=name, verdict=verdict, edited=edited)

    decisions = [
        said("f1", "Anna", "edit", corrected_answer="Answer: eleven [3].", source=""), said("f2", "Anna", "reject"),
        said("f3", "Anna", "reject"), said("f3", "Ben", "accept"),
    ]  # fmt: skip
    board = {one.item.name: one for one in standings(list(items.values()), decisions)[0]}
    kept, left_out = decided(found, board, reviewed_only=True)
    assert kept == [replace(found[0], corrected_answer="Answer: eleven [3].")]
    assert [(one.id, one.why) for one in left_out] == [("f2", "rejected"), ("f3", "conflict"), ("f4", "undecided")]
    assert [one.id for one in decided(found, board, reviewed_only=False)[0]] == ["f1", "f4"]
