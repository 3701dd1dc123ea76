"""Candidates: how they are worded, what comparisons and unanswerable questions rest on, and what is verified."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from ragft.config import load_config
from ragft.config.answer import AnswerSection
from ragft.data.answers import run_of
from ragft.data.examples import Example
from ragft.data.generate.candidates import Candidate, Place, from_structure
from ragft.data.generate.days import worked
from ragft.data.generate.facts import facts_in
from ragft.data.generate.model import Ask, check_fault, read_reply
from ragft.data.generate.sections import Section
from ragft.data.generate.verify import Checks, stated_by, without_copies
from ragft.data.generate.wording import Wording, first_wording, house_answer, read_wording, to_yaml
from ragft.data.jsonl import to_lines
from ragft.errors import UsageError
from ragft.messages import turn

HOUSE = AnswerSection(
    refusal="Answer: unknown\nSource: none",
    format=r"\AAnswer: \S[^\n]*\nSource: ?(?:none|(?:\[\d+\])*)\Z",
    value="(?m)^Answer: (.+)$",
)
WORDING = Wording(answer="Answer: {value}\nSource: {citations}")


def page(version: str, **lines: str) -> Section:
    text = "\n".join(f"- {key.replace('_', ' ')}: {value}" for key, value in lines.items())
    return Section(
        "django.md", "Django", ("Django", f"Django {version}"), text, (f"Django > Django {version}\n{text}",)
    )


PAGES = (
    page("4.2", released="2023-04-03", end_of_life="2026-04-30", price="12 EUR"),
    page("5.0", released="2023-12-04", end_of_life="2025-04-02", price="9 EUR"),
    page("5.1", released="2024-08-07", end_of_life="2025-12-31", price="9 EUR"),
    page("5.2", released="2025-04-02", price="11 EUR"),
)
FACTS = [fact for one in PAGES for fact in facts_in(one)]
PLACES = {one.source: Place("django.md", "django.md") for one in PAGES}


def made(wording: Wording = WORDING, shape: str = "") -> list[Candidate]:
    found = from_structure(FACTS, wording, PLACES, HOUSE.refusal, 0)
    return [one for one in found if shape in ("", one.shape)]


def checks() -> Checks:
    return Checks.over(PAGES, FACTS, HOUSE, 5)


def test_everything_that_structure_gives_here_is_verified() -> None:
    faults = [checks().fault(one) for one in made()]
    assert [fault for fault in faults if fault] == []
    assert {one.shape for one in made()} == {"single", "comparison", "unanswerable", "follow-up"}
    assert len(made(shape="single")) == len(FACTS) == 11


DATED = Wording.model_validate({
    "answer": "Answer: {value}\nSource: {citations} {statement}",
    "worked": True,
    "short_winner": True,
    "attributes": {
        "end of life": {"on_day": {"asked": ["Is {subject} supported on {day}?", "On {day}, is {subject} supported?"]}},
        "released": {"on_day": {"asked": ["Was {subject} out on {day}?"], "until": False, "yes": "already"}},
        "price": {"on_day": {"asked": ["Did {subject} cost that on {day}?"]}},
    },
})  # fmt: skip


def test_a_question_about_a_day_is_answered_by_which_side_of_the_date_it_is() -> None:
    dates = {(fact.subject, fact.attribute): fact.value for fact in FACTS}
    found = made(DATED, "on-day")
    assert len(found) == 7, "every date once, and no price"
    for one in found:
        (day,) = re.findall(r"\d{4}-\d\d-\d\d", one.question)
        attribute = "released" if "out" in one.question else "end of life"
        when = dates[one.sections[0].subject, attribute]
        over = day > when
        assert day != when and one.held == (when,)
        right = {"released": ("already" if over else "no"), "end of life": ("no" if over else "yes")}[attribute]
        assert one.answers == (right,) and one.answer.startswith(f"Answer: {right}\n")
        assert f"asked {day}, " in one.answer and worked(day, when) in one.answer
        assert one.answer.endswith(f"later {'asked' if over else attribute}")
        assert checks().fault(replace(one, answer=f"Answer: {right}\nSource: [1]")) is None
    assert made(shape="on-day") == [], "without a wording there is none"


def test_comparisons_of_dates_are_worked_out_and_name_what_tells_the_two_apart() -> None:
    found = [one for one in made(DATED, "comparison") if "price" not in one.question]
    assert found
    for one in found:
        short = one.answers[-1]
        assert re.fullmatch(r"\d\.\d", short) and one.answer.startswith(f"Answer: {short}\n")
        assert re.search(rf"years \d+ and \d+ .*, \d\.\d before \d\.\d, (?:earlier|later) {short}$", one.answer)


def test_comparisons_name_the_right_one_of_the_two() -> None:
    values = {(fact.subject, fact.attribute): fact.value for fact in FACTS}
    found = made(shape="comparison")
    assert found
    for one in found:
        (attribute,) = [name for name in ("released", "end of life", "price") if name in one.question]
        subjects = [section.subject for section in one.sections]
        lower = min(subjects, key=lambda subject: values[subject, attribute].rjust(12))
        least = any(word in one.question for word in ("first", "lower"))
        assert (one.answers[0] == lower) is least
        assert one.answers[1] == one.answers[0].split()[-1] and one.answer.endswith("[1][2]")


def test_equal_values_and_versions_are_not_compared() -> None:
    pages = (page("1", latest_version="8.4", price="9 EUR"), page("2", latest_version="8.10", price="9 EUR"))
    facts = [fact for one in pages for fact in facts_in(one)]
    places = {one.source: Place("g", "g") for one in pages}
    assert [one for one in from_structure(facts, WORDING, places, "", 0) if one.shape == "comparison"] == []


@pytest.mark.parametrize(
    ("left", "right", "is_compared"),
    [
        ("3.9", "3.10", False), ("1.200", "900", False), ("2.50 EUR", "2.5 EUR", False), ("7.0", "7", False),
        ("12 EUR", "9 USD", False), ("1,200", "900", True), ("2.50 EUR", "2.45 EUR", True), ("12", "9.50", True),
    ],
)  # fmt: skip
def test_numbers_that_can_be_read_in_two_ways_are_not_compared(left: str, right: str, is_compared: bool) -> None:
    pages = (page("1", needs=left, owner="x"), page("2", needs=right, owner="y"))
    facts = [fact for one in pages for fact in facts_in(one)]
    places = {one.source: Place("g", "g") for one in pages}
    found = [one for one in from_structure(facts, WORDING, places, "", 0) if one.shape == "comparison"]
    assert bool(found) is is_compared


def plans(*headings: str, attributes: tuple[str, ...] = ("Fee", "Storage")) -> list[Section]:
    """A section with a table for each heading, all with the same first column."""
    made = []
    for number, (heading, attribute) in enumerate(zip(headings, attributes, strict=True)):
        rows = "".join(
            f"| {name} | {place + 3 * number + 1} GB |\n" for place, name in enumerate(("Basic", "Plus", "Max"))
        )
        text = f"| Plan | {attribute} |\n| --- | --- |\n{rows}"
        path = ("Plans", heading)
        made.append(Section("plans.md", "Plans", path, text, (f"Plans > {heading}\n{text}",)))
    return made


def test_what_another_table_of_the_document_states_is_not_missing() -> None:
    sections = plans("Fees", "Limits")
    facts = [fact for one in sections for fact in facts_in(one)]
    # One of the tables may be held out for questions.
    for held_out in (False, True):
        sides = {one.source: Place(one.heading, "plans.md", held_out and one.heading == "Limits") for one in sections}
        made = from_structure(facts, WORDING, sides, HOUSE.refusal, 0)
        assert [one.question for one in made if one.shape == "unanswerable"] == []
    asked = candidate(
        shape="unanswerable", answers=(), answer=HOUSE.refusal, sections=(), held=(), near=sections[0],
        about=("basic (fees (plans))", "storage"), label="Basic",
    )  # fmt: skip
    fault = Checks.over(sections, facts, HOUSE, 5).fault(asked)
    assert fault is not None and fault.reason == "the documents state it: '4 gb'"


def test_a_comparison_and_a_follow_up_rest_on_no_fact_that_is_contradicted() -> None:
    other = replace(PAGES[0], document_id="old.md", text="- released: 2022-01-01\n- price: 1 EUR")
    both = Checks.over((*PAGES, other), [*FACTS, *facts_in(other)], HOUSE, 5)
    disputed = {("django 4.2", "released"), ("django 4.2", "price")}
    for shape in ("single", "comparison", "follow-up"):
        found = made(shape=shape)
        rests = [one for one in found if disputed & set(one.keys)]
        assert rests and all(len(one.keys) == (1 if shape == "single" else 2) for one in found)
        assert [one for one in found if both.fault(one)] == rests


def test_unanswerable_questions_ask_what_neighbours_state_or_for_the_next_number() -> None:
    found = made(shape="unanswerable")
    assert ("django 5.2", "end of life") in {one.about for one in found}
    assert {one.about[0] for one in found} == {"django 5.2", "django 4.3", "django 5.3"}
    assert all(one.answer == HOUSE.refusal and not one.answers and one.near for one in found)


def test_a_follow_up_is_understood_behind_its_first_question_alone() -> None:
    for one in made(shape="follow-up"):
        assert len(one.history) == 2 and "Django" in one.history[0]["content"]
        assert "Django" not in one.question and "Django" in one.asked
        assert one.evaluation().standalone == one.asked


def test_the_same_documents_give_the_same_candidates() -> None:
    assert made() == made()
    fewer = from_structure(FACTS[:6], WORDING, PLACES, HOUSE.refusal, 0)
    singles = {one.id for one in fewer if one.shape == "single"}
    assert singles < {one.id for one in made()}, "what other documents hold changes no wording"


def candidate(**changes: Any) -> Candidate:
    (one,) = [one for one in made(shape="single") if one.about == ("django 4.2", "released")]
    return replace(one, **changes)


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("value", {"answers": ("a b c d e f",)}),
        ("value", {"answers": (" ",)}),
        ("value", {"question": "Was Django 4.2 released on 2023-04-03?"}),
        ("value", {"question": "So on 2023-04-03, right?", "standalone": "When was Django 4.2 released?"}),
        ("value", {"history": (turn("user", "Was it out on 2023-04-03?"), turn("assistant", "x"))}),
        ("value", {"answers": ("We accept the following payment methods:",)}),
        ("value", {"answers": ("Yes, but only:",)}),
        ("value", {"answers": ("It is cut off in the",)}),
        ("wording", {"question": "And what does this passage say?", "standalone": "When was Django 4.2 released?"}),
        ("wording", {"history": (turn("user", "What is in this document?"), turn("assistant", "x"))}),
        ("wording", {"answers": ("see below",)}),
        ("wording", {"question": "When was the release in this document?"}),
        ("wording", {"question": "According to the text, when was Django 4.2 released?"}),
        ("wording", {"question": "When does django.md say that Django 4.2 came out?"}),
        ("wording", {"question": "4.2?"}),
        ("wording", {"way": "faq", "answers": ("See 2.1. Install",)}),
        ("wording", {"answers": ("Read this section",)}),
        ("format", {"answer": "2023-04-03 [1]"}),
        ("format", {"answer": "Answer: 2023-04-03\nSource: [2]"}),
        ("format", {"answer": "Answer: 2024-01-01\nSource: [1]"}),
        ("format", {"answer": HOUSE.refusal}),
        ("source", {"held": ("2024-01-01",)}),
        ("source", {"sections": (replace(PAGES[0], path=("Django", "Django 6")),)}),
    ],
)
def test_a_candidate_that_is_wrong_is_rejected_for_it(check: str, changes: dict[str, Any]) -> None:
    assert checks().fault(candidate()) is None
    fault = checks().fault(candidate(**changes))
    assert fault is not None and fault.check == check, fault


def test_what_documents_state_differently_is_ambiguous_and_what_they_state_is_answerable() -> None:
    other = replace(PAGES[0], document_id="old.md", text="- released: 2022-01-01\n- price: 1 EUR")
    both = Checks.over((*PAGES, other), [*FACTS, *facts_in(other)], HOUSE, 5)
    fault = both.fault(candidate())
    assert fault is not None and fault.check == "ambiguous"
    asked = replace(made(shape="unanswerable")[0], about=("django 4.2", "released"))
    fault = checks().fault(asked)
    assert fault is not None and "the documents state it" in fault.reason


def test_copies_are_left_out_on_both_sides_and_of_existing_files() -> None:
    taught = candidate()
    asked = replace(taught, place=Place("other", "other", in_questions=True))
    kept, rejected = without_copies([taught, asked], [])
    assert kept == [asked] and [one.candidate for one in rejected] == [taught]
    kept, _ = without_copies([asked], [taught])
    assert kept == [], "what counts already stays"
    kept, _ = without_copies([taught], questions=[asked.evaluation()])
    assert kept == []
    kept, _ = without_copies([asked], examples=[Example("e", taught.question, taught.answer)])
    assert kept == []


def test_cells_of_one_table_are_no_copies_of_each_other() -> None:
    columns = ("Adult low season", "Adult high season", "Child low season", "Child high season")
    rows = "".join(
        f"| North Harbour to {name} Island | {' | '.join(f'{10 * at + place} EUR' for place in range(4))} |\n"
        for at, name in enumerate(("Anna", "Berta", "Clara", "Doris", "Emma", "Frieda", "Greta", "Hanna"))
    )
    text = f"| Route | {' | '.join(columns)} |\n| --- | --- | --- | --- | --- |\n{rows}"
    fares = Section("fares.md", "Fares", ("Fares",), text, (text,))
    found = from_structure(facts_in(fares), WORDING, {fares.source: Place("g", "g")}, HOUSE.refusal, 0)
    cells = [one for one in found if one.shape == "single"]
    kept, _ = without_copies(cells)
    assert len(kept) == len(cells) == 32
    worded = replace(cells[0], way="model", about=("", ""), question=f"Please, {cells[0].question}")
    assert len(without_copies([worded], cells)[0]) == 0, "a model's question may ask what a cell does"
    equal = replace(cells[0], question=cells[1].question)
    assert without_copies([equal], cells[1:2])[0] == []


def test_a_passage_that_states_an_unanswerable_attribute_is_noticed() -> None:
    from index.documents.chunking import Chunk

    (asked, *_) = [one for one in made(shape="unanswerable") if one.about == ("django 5.2", "end of life")]
    silent = Chunk("a.md", "Django", ("Django", "Django 5.2"), 0, 9, "released: 2025", "")
    assert stated_by(asked, [silent]) == ""
    assert stated_by(asked, [silent, replace(silent, text="The end of life is near")]) == "a.md#0-9"
    fees, limits = plans("Fees", "Limits")
    cell = replace(asked, about=("basic (fees (plans))", "storage"), label="Basic", near=fees)
    found = Chunk("plans.md", "Plans", limits.path, 0, 9, limits.text, "")
    assert stated_by(cell, [found]) == "plans.md#0-9"
    assert stated_by(cell, [replace(found, document_id="other.md")]) == ""


@pytest.mark.parametrize(
    ("answer", "template"),
    [
        (HOUSE, "Answer: {value}\nSource: {citations}"),
        (
            load_config(ROOT / "configs" / "lifecycle.yaml").answer,
            "Source: {citations} {subject}\nRecord: {statement}\nAnswer: {value}",
        ),
        (AnswerSection(), "{value} {citations}"),
    ],
)
def test_the_house_format_is_told_from_the_refusal(answer: AnswerSection, template: str) -> None:
    assert house_answer(answer) == template


def test_a_house_format_that_cannot_be_told_is_asked_for() -> None:
    with pytest.raises(UsageError, match=r"write a file of templates with `answer:`"):
        house_answer(AnswerSection(format=r"\A<x>.*</x>\Z"))


def test_the_first_templates_list_frequent_attributes_and_can_be_read_again(tmp_path: Path) -> None:
    wording = first_wording(HOUSE, FACTS)
    assert list(wording.attributes) == ["released", "price", "end of life"]
    path = tmp_path / "templates.yaml"
    path.write_text(to_yaml(wording))
    assert read_wording(path) == wording


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("answer: '{value}'\nfact: ['What of {name}?']", r"fact.0: has \{name\}, and may have \{subject\}"),
        ("answer: '{value}'\nfacts: []", "facts"),
        ("fact: [", "is no YAML"),
        ("[]", "the file"),
    ],
)
def test_templates_with_a_mistake_are_refused_by_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "templates.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_wording(path)


def test_an_attribute_is_worded_cut_and_skipped_as_its_entry_says() -> None:
    entries = {
        "Released": {"asked": ("When did {subject} come out?",), "value": r"^(\d{4})"},
        "price": {"skip": True},
    }
    found = made(Wording.model_validate({"answer": "{value}", "attributes": entries}), "single")
    released = {one.question: one.answers for one in found if one.about[1] == "released"}
    assert released["When did Django 4.2 come out?"] == ("2023",)
    assert "price" not in {one.about[1] for one in found}


def replied(shape: str, reply: str, cut_off: bool = False) -> tuple[list[Candidate], list[str]]:
    shown = PAGES[:2] if shape in ("comparison", "unanswerable") else PAGES[:1]
    ask = Ask(shape, shown, ())  # type: ignore[arg-type]
    found, faults = read_reply(ask, reply, cut_off, WORDING, HOUSE.refusal, PLACES)
    return found, [fault.reason for fault in faults]


def test_questions_of_a_reply_are_read_whatever_stands_around_them() -> None:
    reply = 'Sure! ```json\n[{"question": "What does Django 4.2 cost?", "answer": "12 EUR"}, {"question": "cut'
    (one,), faults = replied("single", reply, cut_off=True)
    assert faults == [] and checks().fault(one) is None
    assert one.answer == "Answer: 12 EUR\nSource: [1]"


@pytest.mark.parametrize(
    ("shape", "reply", "reason"),
    [
        ("single", "I'm sorry, but I can't help with that.", "the model refused"),
        ("single", "What is Django?", "holds no JSON object"),
        ("single", "[{", "holds no JSON object"),
        ("single", '{"question": "What?"}', "lacks 'answer'"),
        ("single", '{"question": [], "answer": "x"}', "is no text"),
        ("single", '{"question": "What \\ud83d?", "answer": "x"}', "holds half a character"),
        ("comparison", '{"question": "Q?", "first": "a", "second": "b", "answer": "Rust"}', "neither passage has"),
        ("unanswerable", '{"question": "Q?", "stated": "77 EUR"}', "is not in its passage"),
        ("unanswerable", '{"question": "Q?", "stated": "EUR"}', "states itself"),
        (
            "follow-up",
            '{"question": "Q?", "answer": "no", "then": "?", "alone": "?", "then_answer": "x"}',
            "first answer",
        ),
    ],
)
def test_a_reply_that_is_none_is_rejected_for_it(shape: str, reply: str, reason: str) -> None:
    found, faults = replied(shape, reply)
    assert found == [] and len(faults) == 1 and reason in faults[0], faults


def test_half_a_character_in_a_reply_is_written_as_its_escape() -> None:
    ask = Ask("single", PAGES[:1], ())
    for reply in ('{"question": "\\ud83d?", "answer": "x"}', "No \ud83d"):
        _, (fault,) = read_reply(ask, reply, False, WORDING, HOUSE.refusal, PLACES)
        assert b"ud83d" in to_lines([fault.to_json()])


def test_the_models_own_answer_decides_last() -> None:
    answerable, unanswerable = candidate(), made(shape="unanswerable")[0]
    assert check_fault(answerable, "It was 3 April 2023.") == ""
    assert "another answer" in check_fault(answerable, "In 2019.")
    assert "finds no answer" in check_fault(answerable, "not stated")
    assert check_fault(unanswerable, "NOT STATED.") == ""
    assert "finds an answer" in check_fault(unanswerable, "2030")
    assert run_of("3 April 2023") == run_of("2023-04-03")
