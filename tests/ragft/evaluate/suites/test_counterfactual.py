"""The value in a passage is changed to another of its kind, and an answer is judged by which of the two it gives."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evaluation import RULES, question
from support.fakes import FakeEngine, hit

from ragft.config import Config
from ragft.engine.base import ChatRequest, Completion
from ragft.engine.many import ask_many
from ragft.errors import RagftError
from ragft.evaluate.suites.counterfactual import Case, ask, changed, judged, result
from ragft.pipeline import Pipeline
from ragft.setups import HYBRID

OWN = hit("django.md", "4.2", "Ends 2026-04-30, released 2023-04-03.")
OTHER = hit("django.md", "4.1", "Ends 2026-04-30, too.")


def case(answer: str, text: str, **more: object) -> Case | None:
    return changed(question(answer, **more), [hit("django.md", "4.2", text), OTHER], 0)


@pytest.mark.parametrize(
    ("answer", "text", "kind", "form"),
    [
        ("2026-04-30", "Ends 2026-04-30.", "date", r"Ends 20\d\d-\d\d-\d\d\."),
        ("30 April 2026", "Ends 30 April 2026.", "date", r"Ends \d+ [A-Z][a-z]+ 20\d\d\."),
        ("4.2.11", "Latest: 4.2.11 (4.2.1 before)", "version", r"Latest: 4\.2\.\d+ \(4\.2\.1 before\)"),
        ("1,250", "It costs 1,250 euros.", "number", r"It costs \d,\d{3} euros\."),
        ("42", "It has 42 rooms.", "number", r"It has \d\d rooms\."),
        ("yes", "Long-term support: yes", "choice", r"Long-term support: no"),
    ],
)
def test_a_value_is_changed_to_another_of_its_kind(answer: str, text: str, kind: str, form: str) -> None:
    asked = "Does Django 4.2 have long-term support?" if answer == "yes" else "When does it end?"
    made = case(answer, text, question=asked)
    assert made is not None and made.kind == kind and made.new != made.old == answer
    assert re.fullmatch(form, made.hits[0].text), made.hits[0].text
    assert made.hits[0].passage == f"Django > 4.2\n{made.hits[0].text}"
    assert made == case(answer, text, question=asked)


def test_other_passages_and_the_heading_stay_as_they_are() -> None:
    made = changed(question("2026-04-30"), [OWN, OTHER], 0)
    assert made is not None and made.hits[1] == OTHER and "2026-04-30" not in made.hits[0].passage
    assert "released 2023-04-03" in made.hits[0].text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("2026-04-30", "Ends 2026-05-31."),  # the passage does not say it
        ("4.2", "Latest: 4.2.11"),  # it is a part of another value
        ("Ann Lee", "Led by Ann Lee."),  # no kind that another one can be made of
        ("yes", "Long-term support: yes"),  # of another fact than the one asked for
        ("yes", "Django end: yes\nDjango end: yes"),  # which of the two is not known
        ("4.2", "Django 4.2 is the latest."),  # the question says it
    ],
)
def test_what_cannot_be_changed_is_left_out(answer: str, text: str) -> None:
    assert case(answer, text) is None
    assert changed(question(None), [OWN], 0) is None


@given(st.dates(date(1990, 1, 1), date(2090, 1, 1)), st.integers(0, 99))
def test_the_new_value_stands_in_no_passage_before(day: date, seed: int) -> None:
    text = f"Ends {day.isoformat()}, released 2023-04-03."
    made = changed(question(day.isoformat()), [hit("django.md", "4.2", text), OTHER], seed)
    assert made is not None
    assert made.new not in text + OTHER.text and date.fromisoformat(made.new) != day
    assert made.hits[0].text == text.replace(day.isoformat(), made.new)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("Answer: {new} · Source: [1]", "followed"),
        ("Answer: {old} · Source: [1]", "stuck"),
        ("Answer: 1999-01-01 · Source: [1]", "other"),
        ("Answer: 1999-01-01 · Source: {new}", "other"),
        ("It ends on {new}.", "followed"),
        ("It ends on {old}.", "stuck"),
        ("It ends on {old}, or on {new}.", "other"),
        (RULES.refusal, "refused"),
    ],
)
def test_an_answer_is_judged_by_the_value_it_gives(answer: str, outcome: str) -> None:
    made = changed(question("2026-04-30"), [OWN], 0)
    assert made is not None
    assert judged(made, answer.format(new=made.new, old=made.old), RULES) == outcome


class Reader(FakeEngine):
    """Reads the first date after `Ends`, or says what it remembers."""

    remembers: tuple[str, ...] = ()

    async def chat(self, request: ChatRequest) -> Completion:
        turn = request.messages[-1]["content"]
        name = turn.rpartition("Question: ")[2]
        date_read = re.search(r"Ends (\S+),", turn)
        said = "2026-04-30" if name in self.remembers or not date_read else date_read[1]
        return replace(await super().chat(request), text=said)


def asked(engine: FakeEngine, count: int) -> list[Case]:
    made = [changed(question("2026-04-30", id=f"q{n}", question=f"When {n}?"), [OWN, OTHER], 0) for n in range(count)]
    return [one for one in made if one is not None]


def test_a_setup_is_asked_and_the_shares_have_intervals() -> None:
    engine = Reader(failures={"When 7?": RagftError("too long")})
    engine.remembers = ("When 0?", "When 1?")
    cases = asked(engine, 10)
    seen: list[int] = []
    config = Config.model_validate({"name": "desk", "engine": {"max_num_seqs": 4}})
    pipeline = Pipeline(config, {"tuned": engine}, None)
    told = asyncio.run(ask_many(cases, 4, lambda one: ask(pipeline, HYBRID, one, RULES), seen.append))
    assert [one.outcome for one in told] == ["stuck"] * 2 + ["followed"] * 5 + ["failed"] + ["followed"] * 2
    assert seen == list(range(1, 11)) and told[7].error == "too long"
    found = result(told, questions=12, right_before={"q0", "q2", "q7"})
    assert (found["questions"], found["cases"], found["n"], found["failed"]) == (12, 10, 9, 1)
    # Wilson's interval of 7 of 9.
    assert found["followed"] == pytest.approx({"count": 7, "share": 7 / 9, "low": 0.4526, "high": 0.9368}, abs=1e-4)
    assert (found["where_right"]["n"], found["where_right"]["stuck"]["count"]) == (2, 1)


def test_without_answers_there_are_no_shares() -> None:
    found = result([], questions=3)
    assert (found["n"], found["followed"]["share"], found["where_right"]) == (0, None, None)
