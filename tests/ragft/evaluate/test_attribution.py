"""Each wrong answer has one cause; every cause has an example worked out by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evaluation import RULES, question, record

from ragft.config import Config
from ragft.data.gold import Located
from ragft.data.questions import Question
from ragft.evaluate.attribution import Finding, attribute, summary
from ragft.evaluate.causes import CAUSES, Cause, repeats
from ragft.evaluate.records import PassageRef, Record
from ragft.evaluate.score import score

REFUSAL = RULES.refusal
GOLD = "Support for 4.2 ends 2026-04-30. It was released 2023-04-03."
OTHER = "Support for 4.1 ends 2023-12-01."


def says(value: str, source: str = "[1]") -> str:
    return f"Answer: {value} · Source: {source}"


def passage(text: str, heading: str = "4.2") -> PassageRef:
    return PassageRef(f"django.md:{heading}", "django.md", heading, 0.5, "Django", (), ("Django", heading), text)


BOTH = (passage(GOLD), passage(OTHER, "4.1"))


def causes(
    asked: Sequence[Question], answers: Sequence[Record], *, sources: tuple[str, ...] = (GOLD,), **looked_up: Any
) -> dict[tuple[str, str], Finding]:
    """The findings by question and setup, after scoring as the evaluation does."""
    setups = list(dict.fromkeys(one.setup for one in answers))
    rows, _ = score(asked, answers, RULES, setups=setups, seed=0, resamples=200, max_failed=1.0)
    where = Located(tuple(asked), {one.id: tuple(sources for _ in one.sources) for one in asked}, **looked_up)
    findings = attribute(where, answers, rows, RULES)
    assert findings == attribute(where, answers, rows, RULES)
    return {(one.question_id, one.setup): one for one in findings}


def cause(answer: Record, asked: Question | None = None, *others: Record, **more: Any) -> str:
    """The cause of one wrong answer, beside what other setups said."""
    one = asked or question()
    return causes([one], [answer, *others], **more)[one.id, answer.setup].cause


def hybrid(answer: str, passages: tuple[PassageRef, ...] = BOTH, **more: Any) -> Record:
    return record(answer, passages=passages, **more)


def tuned(answer: str, **more: Any) -> Record:
    return record(answer, setup="fine-tuned", index_version=None, **more)


def base(answer: str, **more: Any) -> Record:
    return record(answer, setup="prompt-only", index_version=None, model_version="m0", **more)


def test_failed() -> None:
    assert cause(hybrid("", error="the engine said no")) == "failed"


def test_several_setups_agree_on_what_the_source_says_instead_of_the_gold_answer() -> None:
    asked, said = question("2027-01-01"), says("2026-04-30")
    assert cause(hybrid(said), asked, record(said, setup="rag-only", passages=BOTH)) == "doubtful"
    # The source holds the gold answer, too: two that read the same passages may have read the same wrong line.
    wrong = says("2023-04-03")
    assert cause(hybrid(wrong), None, record(wrong, setup="rag-only", passages=BOTH)) == "misread"
    assert cause(hybrid(wrong), None, record(wrong, setup="rag-only", passages=BOTH), base(wrong)) == "doubtful"
    # One setup was right, so the question can be answered.
    assert cause(hybrid(wrong), None, tuned(wrong), base(wrong), record(says("2026-04-30"), setup="x")) != "doubtful"


def test_an_answer_where_there_is_none_should_have_been_refused() -> None:
    assert cause(hybrid(says("2026-04-30")), question(None)) == "should-refuse"


@pytest.mark.parametrize("answer", ["It ends on 2026-04-30.", "It ends 30 April 2026 [1], I think.\n2026-04-30"])
def test_right_fact_in_wrong_form(answer: str) -> None:
    assert cause(hybrid(answer)) == "form"
    assert cause(base(answer)) == "form"


def test_an_answer_that_names_both_choices_is_not_right_in_another_form() -> None:
    pair = [question("yes", id="a"), question("no", id="b"), question("yes", id="c"), question("no", id="d")]
    said = {"a": "yes or no", "b": "No, 4.2 is not.", "c": says("no"), "d": "Yes."}
    found = causes(pair, [hybrid(text, question_id=name) for name, text in said.items()])
    assert [found[name, "hybrid"].cause for name in said] == ["ignored", "form", "misread", "misread"]


def test_of_two_that_were_asked_about_the_answer_must_name_the_right_one_alone() -> None:
    asked = question("4.2", question="Django 4.2 or Django 4.1: which is supported longer?")
    assert cause(hybrid("Longer: 4.2"), asked) == "form"
    assert cause(hybrid("4.2 and 4.1"), asked) != "form"
    assert cause(hybrid(says("4.1")), asked) == "misread"


def test_not_indexed() -> None:
    absent = {"q1": question().sources}
    assert cause(hybrid(REFUSAL, ()), absent=absent) == "not-indexed"
    assert cause(tuned(REFUSAL), absent=absent) == "unknown"
    asked = question(stale_answers=("2025-01-01",))
    old = "Support for 4.2 ends 2025-01-01."
    assert cause(hybrid(says("2025-01-01"), (passage(old),)), asked, sources=(old,)) == "not-indexed"


def test_not_retrieved() -> None:
    assert cause(hybrid(says("2023-12-01"), BOTH[1:])) == "not-retrieved"
    assert cause(hybrid(REFUSAL, BOTH[1:])) == "not-retrieved"
    # A part of the right section, without the answer.
    released = "4.2 was released 2023-04-03."
    shown = (passage(released),)
    assert cause(hybrid(REFUSAL, shown), sources=(released, GOLD)) == "not-retrieved"
    assert cause(hybrid(REFUSAL, BOTH[1:]), question(sources=())) == "not-retrieved"


def test_cut_off_before_the_right_fact() -> None:
    asked = [question()]
    long = "We look at the passages one by one, and the first of them says that"
    (found,) = causes(asked, [hybrid(long, finish_reason="length")]).values()
    assert found.cause == "cut-off" and "repeats" not in found.why
    loop = "".join(f"[{n}] 2024-05-31\n" for n in range(20))
    (found,) = causes(asked, [hybrid(loop, finish_reason="length")]).values()
    assert found.cause == "cut-off" and found.why.endswith("It repeats itself.")
    assert repeats("1.16" + ".0" * 40) and not repeats(long)


def test_an_answer_that_had_concluded_before_it_was_cut_off_is_wrong_for_another_reason() -> None:
    asked = [question()]
    looping = "The answer is: 2022-04-11.\n" + "The passage is: 2022-04-11.\n" * 20
    (found,) = causes(asked, [hybrid(looping, finish_reason="length")]).values()
    assert found.cause != "cut-off"
    reckoning = "The passages say 2022-04-11 first. Then they say that"
    (found,) = causes(asked, [hybrid(reckoning, finish_reason="length")]).values()
    assert found.cause == "cut-off"


def test_refused_though_answerable() -> None:
    assert cause(hybrid(REFUSAL)) == "refused"
    asked = question(question="When does Django 4.2 end?")
    said = hybrid("I do not know. Django 4.2 is a web framework for Python programs.")
    assert causes([asked], [said])[asked.id, "hybrid"].cause == "refused", "as the scores say"


def test_a_refusal_claims_only_what_was_looked_up() -> None:
    unknown = question("yes", question="Are bananas blue?", sources=())
    found = causes([unknown], [hybrid(REFUSAL, (passage("Bananas are yellow."),))], sources=())
    assert "cannot be looked up" in found[unknown.id, "hybrid"].why
    assert "hold the answer" in causes([question()], [hybrid(REFUSAL)])[question().id, "hybrid"].why


def test_answered_from_memory_against_the_passage() -> None:
    said = says("2024-12-24")
    assert cause(hybrid(said), None, tuned(said)) == "memory"
    assert cause(hybrid(said), question(stale_answers=("2024-12-24",))) == "memory"
    # Another model's memory is none of its own, and what a passage says may have been read there.
    assert cause(hybrid(said), None, base(said)) == "ignored"
    assert cause(hybrid(says("2023-12-01")), None, tuned(says("2023-12-01"))) == "misread"


def test_read_wrongly() -> None:
    found = causes([question()], [hybrid(says("2023-04-03"))])["q1", "hybrid"]
    assert (found.cause, found.why) == ("misread", '"2023-04-03" is from another fact of the right passage [1].')
    found = causes([question()], [hybrid(says("2023-12-01"))])["q1", "hybrid"]
    assert (found.cause, found.why) == ("misread", '"2023-12-01" is from passage [2], which is not the source.')
    assert "slip" in causes([question()], [hybrid(says("2026-04-39"))])["q1", "hybrid"].why


def test_retrieved_but_ignored() -> None:
    assert cause(hybrid(says("1999-01-01"))) == "ignored"


def test_without_passages_a_fact_is_not_known() -> None:
    assert cause(tuned(says("1999-01-01"))) == cause(tuned(REFUSAL)) == "unknown"


def test_records_of_old_versions_lack_texts_and_still_have_a_cause() -> None:
    bare = tuple(dataclasses.replace(one, text="") for one in BOTH)
    assert cause(hybrid(says("2023-12-01"), bare)) == "ignored"


SAID = st.sampled_from(
    [says("2026-04-30"), says("2023-04-03"), says("1999-01-01"), REFUSAL, "2026-04-30", "yes", "", "no idea " * 40]
)
ANSWER = st.tuples(SAID, st.sampled_from(["stop", "length"]), st.sampled_from([None, None, "it died"]))


@pytest.mark.slow
@given(
    st.lists(st.tuples(ANSWER, ANSWER, ANSWER, ANSWER), min_size=1, max_size=6),
    st.sampled_from(["2026-04-30", "yes", None]),
    st.sampled_from([(), BOTH, BOTH[1:]]),
)
def test_every_wrong_answer_has_exactly_one_cause_and_a_right_one_none(
    answered: list[tuple[tuple[str, str, str | None], ...]], gold: str | None, passages: tuple[PassageRef, ...]
) -> None:
    asked = [question(gold, id=f"q{number}") for number in range(len(answered))]
    answers = [
        record(
            text, question_id=f"q{number}", setup=setup, finish_reason=reason, error=error,
            passages=passages if setup in ("rag-only", "hybrid") else (),
        )
        for number, row in enumerate(answered)
        for setup, (text, reason, error) in zip(("prompt-only", "rag-only", "fine-tuned", "hybrid"), row, strict=True)
    ]  # fmt: skip
    setups = ("prompt-only", "rag-only", "fine-tuned", "hybrid")
    rows, _ = score(asked, answers, RULES, setups=setups, seed=0, resamples=200, max_failed=1.0)
    findings = attribute(Located(tuple(asked)), answers, rows, RULES)
    wrong = [(row["question_id"], row["setup"]) for row in rows if row["scores"].get("exact_match") != 1.0]
    assert [(one.question_id, one.setup) for one in findings] == wrong
    assert all(one.cause in CAUSES and one.why for one in findings)
    told = summary(findings, rows)
    assert {setup: sum(one["count"] for one in causes) for setup, causes in told.items()} == {
        setup: sum(name == setup for _, name in wrong) for setup in setups
    }


def test_summary_says_what_to_mend_first_and_what_that_gains_at_most() -> None:
    asked = [question(id=f"q{number}") for number in range(4)]
    texts = [says("2026-04-30"), REFUSAL, REFUSAL, says("1999-01-01")]
    answers = [hybrid(text, question_id=f"q{number}") for number, text in enumerate(texts)]
    rows, _ = score(asked, answers, RULES, setups=["hybrid"], seed=0, resamples=200, max_failed=1.0)
    (first, second) = summary(attribute(Located(tuple(asked)), answers, rows, RULES), rows)["hybrid"]
    assert (first["cause"], first["count"], first["of"], first["gain"]) == ("refused", 2, 4, 50.0)
    assert first["text"].startswith("2 of 4: refused though answerable: raise data.mix.gold_share")
    assert first["text"].endswith("gains at most 50.0 points of exact match.")
    assert second["cause"] == "ignored"


@pytest.mark.parametrize("cause", [cause for cause in CAUSES.values() if cause.spent], ids=lambda cause: cause.name)
def test_nothing_is_advised_that_is_done_already(cause: Cause) -> None:
    assert cause.spent
    key, end = cause.spent
    default = reduce(getattr, key.split("."), Config(name="a"))
    assert key in cause.advice(is_tuned=True, setting=lambda _: default)
    assert key not in cause.advice(is_tuned=True, setting=lambda _: end)
    assert cause.advice(is_tuned=False, setting=lambda _: end) == cause.untuned
