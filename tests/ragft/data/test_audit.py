"""What is wrong with examples and questions is found before hours are spent on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.commands import Ended
from support.domains import Domain

from ragft.data.audit import audit_data, refuse_overlap, refuse_repeated
from ragft.data.examples import Example
from ragft.data.questions import Question
from ragft.errors import UsageError

Ragft = Callable[..., Ended]
FORM = {"format": r"\S+ \[\d+\]", "refusal": "I do not know."}


def found(domain: Domain) -> dict[str, tuple[str, str]]:
    """State and detail by what was looked at."""
    return {row.what: (row.state, row.detail) for row in audit_data(domain.application()).rows}


def test_sound_data_has_no_errors(domain: Domain) -> None:
    findings = found(domain)
    assert {state for state, _ in findings.values()} <= {"ok", "note"}
    assert findings["examples"][1].startswith("4 in 4 groups")
    assert findings["questions"][1] == "3, 1 of them unanswerable"


@pytest.mark.parametrize("wording", ["Do kittens purr?", "do kittens  PURR", "“Do kittens purr?”"])
def test_question_that_is_trained_on_is_an_error(domain: Domain, wording: str) -> None:
    domain.lines("examples.jsonl", [{"question": wording, "answer": "yes"}, {"question": "b", "answer": "b"}])
    state, detail = found(domain)["overlap"]
    assert (state, detail) == ("error", "1 question found among the examples: question q1 is example line-1")


@pytest.mark.parametrize(
    ("first", "second"),
    [("Is C supported?", "Is C++ supported?"), ("C#?", "C?"), ("Django 4.2?", "Django 42?"), ("की", "का")],
)
def test_different_questions_are_not_taken_for_one(first: str, second: str) -> None:
    question = Question("q", second, ("a",), (), True)
    refuse_overlap([Example("e", first, "a")], [question])


def test_overlap_is_refused_where_it_counts() -> None:
    with pytest.raises(UsageError, match=r"questions are also .*1 in all; the first: question 'q' is example 'e'"):
        refuse_overlap([Example("e", "When?", "a")], [Question("q", "when", ("a",), (), True)])


def test_near_copies_and_repeated_questions_are_told_with_the_pairs(domain: Domain) -> None:
    asked = "When does support for Node 22 end?"
    rows = [{"question": f"{asked[:-1]}, please?", "answer": "2027-04-30"}, {"question": "b", "answer": "b"}]
    domain.lines("examples.jsonl", rows)
    questions = [{"id": name, "question": asked, "answers": ["2027-04-30"]} for name in ("q1", "q2")]
    domain.lines("questions.jsonl", questions)
    findings = found(domain)
    assert findings["overlap"][0] == "error"
    assert "question q1 is example line-1 (longer), question q2 is example" in findings["overlap"][1]
    assert findings["repeated questions"] == ("error", "1 question asked twice: question q2 is question q1")


def test_a_near_copy_with_another_answer_is_told_and_not_refused() -> None:
    question = Question("q", "Is Python supported by us?", ("yes",), (), True)
    (told,) = refuse_overlap([Example("e", "Is Micro Python supported by us?", "yes")], [question])
    assert "question 'q' is example 'e' (longer)" in told


def test_one_question_under_two_ids_is_refused() -> None:
    asked = [Question(name, "When does it end?", ("a",), (), True) for name in ("a", "b")]
    with pytest.raises(UsageError, match=r"two ids \(1 in all; the first: question 'b' is question 'a'\)"):
        refuse_repeated(asked)
    refuse_repeated(asked[:1])


def test_duplicates_and_contradictions_are_warnings(domain: Domain) -> None:
    rows = [{"question": "When?", "answer": answer} for answer in ("now", "now", "later")]
    domain.lines("examples.jsonl", [*rows, {"question": "Who?", "answer": "I"}])
    findings = found(domain)
    assert findings["duplicates"] == ("warning", "1 row repeating an earlier one: line-2 (of line-1)")
    told = "2 rows with a question that others answer differently: line-1 (against line-3), line-3 (against line-1)"
    assert findings["contradictions"] == ("warning", told)


def test_answers_without_sources_are_told_where_others_have_some(domain: Domain) -> None:
    rows = [{"question": f"Is it {n}?", "answer": "yes", "sources": ["cats.md"] if n else []} for n in range(3)]
    rows.append({"question": "Is it 9?", "answer": "I do not know."})
    domain.configure(answer={"refusal": "I do not know."})
    domain.lines("examples.jsonl", rows)
    state, detail = found(domain)["examples without sources"]
    assert state == "warning" and detail.startswith("1 of 4 answer and name no `sources`") and "line-1" in detail
    domain.lines("examples.jsonl", [{**row, "sources": []} for row in rows])
    assert "examples without sources" not in found(domain)


def test_examples_of_the_validation_file_are_looked_at_as_the_others(domain: Domain) -> None:
    domain.configure(answer=FORM, data={"validation": "held-out.jsonl"})
    domain.lines("examples.jsonl", [{"question": "When?", "answer": "now [1]", "sources": ["cats.md"]}])
    domain.lines("held-out.jsonl", [{"id": "v1", "question": "Who?", "answer": "me", "sources": ["dogs.md"]}])
    findings = found(domain)
    assert findings["validation"][0] == "ok"
    assert findings["form"] == ("error", "1 answers are not in the house format: v1")
    domain.lines("held-out.jsonl", [{"question": "Who?"}])
    assert findings != found(domain) and found(domain)["validation"][0] == "error"


def test_answers_out_of_form_are_errors_by_the_rule_that_scores_them(domain: Domain) -> None:
    domain.configure(answer=FORM)
    domain.lines(
        "examples.jsonl",
        [
            {"question": "a", "answer": "2027 [1]"},
            {"id": "chatty", "question": "b", "answer": "It is 2027 [1] of course."},
            {"question": "c", "answer": "I do not know."},
        ],
    )
    findings = found(domain)
    assert findings["form"] == ("error", "1 answers are not in the house format: chatty")
    assert findings["refusal"][0] == "error"


def test_data_in_form_is_fine(domain: Domain) -> None:
    domain.configure(answer={"format": r".* \[\d+\]|I do not know\."})
    findings = found(domain)
    assert findings["form"] == ("ok", "every answer is in the house format")
    assert "refusal" not in findings


def test_sources_that_are_not_there_are_errors(domain: Domain) -> None:
    lost = [{"id": "e1", "question": "a", "answer": "b", "sources": ["node.md#Node.js 23", "nothing.md", "node.md"]}]
    domain.lines("examples.jsonl", lost)
    domain.lines("questions.jsonl", [{"id": "q1", "question": "c", "answers": ["d"], "sources": ["mysql.md#5.7"]}])
    findings = found(domain)
    folder = domain.folder / "documents"
    missing = f"2 are not in {folder}: e1 (node.md#Node.js 23), e1 (nothing.md)"
    assert findings["sources of examples"] == ("error", missing)
    assert findings["sources of questions"] == ("error", f"1 are not in {folder}: q1 (mysql.md#5.7)")


def test_examples_are_looked_up_in_the_documents_they_were_written_from(domain: Domain) -> None:
    old = domain.folder / "old"
    old.mkdir()
    for name in ("node.md", "mysql.md"):
        (domain.folder / "documents" / name).rename(old / name)
    assert found(domain)["sources of examples"][0] == "error"
    domain.configure(data={"documents": "old"})
    assert found(domain)["sources of examples"] == ("ok", f"all in {old}")


def test_one_run_shows_all_that_cannot_be_read(domain: Domain) -> None:
    (domain.folder / "examples.jsonl").write_text("{")
    (domain.folder / "questions.jsonl").unlink()
    findings = found(domain)
    assert "line 1: no JSON" in findings["examples"][1]
    assert "set data.questions" in findings["questions"][1]


def test_missing_documents_are_a_finding(domain: Domain) -> None:
    domain.configure(index={"documents": {"folder": "nowhere"}})
    assert "does not exist" in found(domain)["documents"][1]


@pytest.mark.medium
def test_audit_ends_with_1_where_there_are_errors(domain: Domain, ragft: Ragft) -> None:
    assert ragft("data", "audit", "-c", domain.config).status == 0
    domain.lines("examples.jsonl", [{"question": "Do kittens purr?", "answer": "yes"}])
    ended = ragft("data", "audit", "-c", domain.config, "--json")
    assert ended.status == 1
    values: dict[str, Any] = ended.values
    assert values["errors"] == 1
    assert [row["what"] for row in values["findings"] if row["state"] == "error"] == ["overlap"]
    shown = ragft("data", "audit", "-c", domain.config)
    assert "1 error and 0 warnings: correct the errors first." in shown.out
