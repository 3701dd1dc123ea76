"""Documents are edited so that what the answer should be is known, and answers are judged by that."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evaluation import RULES, question
from support.fakes import FakeEngine, hit

from index.search.search import Hit
from ragft.config import Config
from ragft.data.questions import Question
from ragft.engine.base import ChatRequest, Completion
from ragft.errors import RagftError
from ragft.evaluate.suites.freshness import EDITS, Asked, Edit, Edits, Fact, Told, ask, planned, result
from ragft.pipeline import Pipeline
from ragft.setups import HYBRID

DAYS = st.lists(st.dates(date(2000, 1, 1), date(2090, 1, 1)), min_size=1, max_size=7, unique=True)
OLD, NEW = "2026-04-30", "2027-01-31"


def desk(days: list[str]) -> tuple[list[Question], dict[str, list[Hit]], dict[str, str | None]]:
    """A page for each day, with a question about it."""
    asked = [question(day, id=f"q{n}", question=f"When {n}?", sources=[f"{n}.md"]) for n, day in enumerate(days)]
    hits = {
        one.id: [hit(f"{n}.md", "4.2", f"It ends {day}.")] for n, (one, day) in enumerate(zip(asked, days, strict=True))
    }
    files = {f"{n}.md": f"# {n}\n\n## 4.2\n\nIt ends {day}.\n\n## 4.1\n\nOut.\n" for n, day in enumerate(days)}
    return asked, hits, dict(files)


@settings(max_examples=25)
@given(DAYS, st.integers(0, 99))
def test_edits_that_are_undone_give_the_documents_again(days: list[date], seed: int) -> None:
    asked, hits, files = desk([day.isoformat() for day in days])
    edits = planned(asked, hits, files, seed)
    assert edits == planned(asked, hits, files, seed) and not edits.left_out
    assert [fact.edit for fact in edits.facts] == [EDITS[n % 3] for n in range(len(days))]
    for fact in edits.facts:
        stands = files[fact.document_id] or ""
        assert fact.new not in stands and fact.old in stands
        if fact.edit == "changed":
            assert edits.written[fact.document_id].replace(fact.new, fact.old) == stands
        elif fact.edit == "deleted":
            assert fact.document_id in edits.deleted
    added = [text for name, text in edits.written.items() if name not in files]
    contradicted = [fact for fact in edits.facts if fact.edit == "contradicted"]
    assert [fact.new in text for fact, text in zip(contradicted, added, strict=True)] == [True] * len(added)


def test_without_edits_nothing_is_updated_and_nothing_is_stale() -> None:
    asked, hits, files = desk(["Ann Lee", "Bo Ek"])
    edits = planned(asked, hits, files, 0)
    assert edits == Edits(left_out=edits.left_out) and set(edits.left_out) == {"q0", "q1"}
    assert result([], edits.facts, {"q0", "q1"}, set(files)) == {}


def test_a_contradiction_stands_below_the_same_headings() -> None:
    asked, hits, files = desk([OLD])
    files["0.md"] = None  # no text, so that the file itself cannot be changed
    (page,) = hits["q0"]
    for text in (page.text, f"## 4.2\n\n{page.text}"):
        edits = planned(asked, {"q0": [replace(page, text=text, passage=text)]}, files, 0)
        (fact,) = edits.facts
        assert edits.written == {"0-1.md": f"# 0\n\n## 4.2\n\nIt ends {fact.new}.\n"}


def reasons(asked: Question, hits: list[Hit], files: Mapping[str, str | None]) -> str:
    (why,) = planned([asked], {asked.id: hits}, files, 0).left_out.values()
    return why


def test_why_a_question_is_not_asked_is_told() -> None:
    asked, hits, files = desk([OLD])
    (one,), (page,) = asked, hits["q0"]
    assert "not in the index" in reasons(one, [], files)
    assert "several documents" in reasons(one, [page, replace(page, document_id="b.md")], files)
    assert "no file of its own" in reasons(one, [page], {})
    assert "no date" in reasons(question("Ann", id="q0"), [page], files)
    assert planned([question(None)], {"q1": []}, files, 0) == Edits()


def test_two_facts_of_a_document_are_edited_and_a_shared_value_only_once() -> None:
    page = hit("0.md", "4.2", f"It ends {OLD}, with 4.2.11.")
    asked = [question(answer, id=answer, question="What?", sources=["0.md"]) for answer in (OLD, "4.2.11")]
    asked.append(replace(asked[0], id="again"))
    edits = planned(asked, {one.id: [page] for one in asked}, {"0.md": f"# 0\n\n{page.text}\n"}, 0)
    assert [fact.old for fact in edits.facts] == [OLD, "4.2.11"] and set(edits.left_out) == {"again"}
    dated, numbered = edits.facts
    assert edits.written == {"0.md": f"# 0\n\nIt ends {dated.new}, with {numbered.new}.\n"}


class Says(FakeEngine):
    """Answers as it is told."""

    said = ""

    async def chat(self, request: ChatRequest) -> Completion:
        return replace(await super().chat(request), text=self.said)


def fact(edit: Edit, number: int = 0) -> Fact:
    asked = question(OLD, id=f"q{number}", question=f"When {number}?", sources=[f"{number}.md"])
    return Fact(asked, edit, "date", f"{number}.md", OLD, NEW)


@pytest.mark.parametrize(
    ("edit", "passages", "said", "outcome", "is_told"),
    [
        ("changed", [NEW], f"Answer: {NEW} · Source: [1]", "new", True),
        ("changed", [NEW], f"Answer: {OLD} · Source: [1]", "old", True),
        ("changed", [OLD], f"Answer: {OLD} · Source: [1]", "old", False),
        ("contradicted", [OLD, NEW], f"{OLD} in one passage, {NEW} in the other", "both", True),
        ("contradicted", [OLD], f"Answer: {OLD} · Source: [1]", "old", False),
        ("deleted", [], RULES.refusal, "refused", True),
        ("deleted", ["1999-01-01"], f"Answer: {OLD} · Source: [1]", "old", True),
    ],
)
def test_an_answer_is_judged_by_the_values_and_by_what_was_shown(
    edit: Edit, passages: list[str], said: str, outcome: str, is_told: bool
) -> None:
    engine = Says()
    engine.said = said
    found = tuple(hit(f"p{n}.md", "4.2", f"It ends {day}.") for n, day in enumerate(passages))
    pipeline = Pipeline(Config.model_validate({"name": "desk"}), {"tuned": engine}, None)
    told = asyncio.run(ask(pipeline, HYBRID, Asked(fact(edit), found), RULES))
    assert (told.outcome, told.is_told, told.finds_document) == (outcome, is_told, False)
    engine.failures = {"When 0?": RagftError("too long")}
    assert asyncio.run(ask(pipeline, HYBRID, Asked(fact(edit), found), RULES)).outcome == "failed"


def test_shares_are_of_all_answers_of_those_that_were_shown_it_and_of_those_right_before() -> None:
    facts = [fact("changed", n) for n in range(10)]
    outcomes = ["new"] * 6 + ["old"] * 3 + ["failed"]
    told = [
        Told(f"q{n}", "hybrid", "changed", "date", f"{n}.md", OLD, NEW, "", outcome, shows_new=n != 8)  # type: ignore[arg-type]
        for n, outcome in enumerate(outcomes)
    ]
    found = result(told, facts, {"q0", "q6"}, {f"{n}.md" for n in range(10)})["changed"]
    assert (found["facts"], found["all"]["n"], found["finds_document"]) == (10, 10, 0)
    new = found["all"]["new"]
    assert (new["mean"], new["clusters"]) == (0.6, 10) and 0.2 < new["low"] < 0.3 and 0.8 < new["high"] < 0.9
    assert found["all"]["failed"]["mean"] == 0.1 and found["where_shown"]["old"]["mean"] == pytest.approx(2 / 9)
    assert (found["where_right"]["n"], found["where_right"]["old"]["mean"]) == (2, 0.5)
