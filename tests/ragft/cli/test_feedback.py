"""`ragft feedback`: the commands as the pages show them, and what they leave in the files."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import Ended
from support.domains import Domain
from test_readme import RAGFT

from ragft.data.examples import read_examples
from ragft.data.questions import read_questions
from ragft.feedback.store import Answered, FeedbackStore, Said
from ragft.stages.feedback import export

Ragft = Callable[..., Ended]
SHOWN = {shown.words for shown in RAGFT if shown.words[1] == "feedback"}
CALLER = "3f1c2ab04d5e"


def say(domain: Domain, number: int, question: str | None, corrected: str | None, caller: str = CALLER) -> str:
    answered = Answered(
        answer_id=f"a{number}", setup="hybrid", model_version="m", question=question,
        answer=question and "In 2020 [1]", passages=("node.md#Node.js > Node.js 22",),
    )  # fmt: skip
    with FeedbackStore(domain.workspace) as store:
        return store.add(answered, caller, Said(thumb="bad", corrected_answer=corrected))[0].id


def test_the_commands_of_the_pages_lead_from_a_correction_to_an_example(
    ragft: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(domain.folder)
    new = say(domain, 1, "When was Node.js 22 released?", "In 2024 [1]")
    say(domain, 2, "Do kittens purr?", "Always [1]")  # an evaluation question
    say(domain, 3, "When does Node.js 22 end?", "In 2028 [1]")  # an example
    say(domain, 4, None, "In 2024", "other")
    done = set()

    def run(*words: str) -> Ended:
        done.add(("ragft", *words))
        ended = ragft(*words, "-c", domain.config)
        assert ended.status == 0, ended.err
        return ended

    assert len(run("feedback", "list", "--thumb", "bad").out.splitlines()) == 4
    before = (domain.folder / "examples.jsonl").read_bytes()
    told = run("feedback", "promote", "--to", "examples", "--dry-run").out
    assert "1 row would be added" in told and "(q1)" in told and "1 left out: the question was not kept" in told
    assert (domain.folder / "examples.jsonl").read_bytes() == before
    run("feedback", "export", "--out", "feedback.jsonl")
    lines = [json.loads(line) for line in Path("feedback.jsonl").read_text().splitlines()]
    assert [line["caller"] for line in lines] == [CALLER] * 3 + ["other"] and lines[0]["id"] == new
    run("feedback", "export", "--out", "review.csv")
    again = ragft("feedback", "export", "--out", "review.csv", "-c", domain.config)
    assert again.status == 2 and "exists" in again.sentence
    with Path("review.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0] |= {"keep": "yes", "corrected_answer": "2024-04-24 [1]"}
    with Path("review.csv").open("w", newline="") as file:
        sheet = csv.DictWriter(file, rows[0])
        sheet.writeheader()
        sheet.writerows(rows)
    run("feedback", "promote", "--to", "examples", "--sheet", "review.csv")
    assert (domain.folder / "examples.jsonl").read_bytes().startswith(before)
    example = read_examples(domain.folder / "examples.jsonl")[-1]
    assert (example.id, example.answer, example.rejected) == (f"feedback-{new}", "2024-04-24 [1]", "In 2020 [1]")
    assert json.loads(Path("examples.jsonl").read_text().splitlines()[-1])["origin"] == f"feedback {new}"
    # What is an example now becomes no question.
    assert f"{new} (feedback-{new})" in run("feedback", "promote", "--to", "questions", "--sheet", "review.csv").out
    assert len(read_questions(domain.folder / "questions.jsonl")) == 3
    run("feedback", "delete", "--caller", CALLER)
    listed = ragft("feedback", "list", "--json", "-c", domain.config).values
    assert [one["caller"] for one in listed["feedback"]] == ["other"]
    assert done == SHOWN


def test_rows_go_to_another_file_where_one_is_named_and_are_compared_with_both(ragft: Ragft, domain: Domain) -> None:
    say(domain, 1, "Who feeds the dogs?", "Nobody does")
    out = domain.folder / "more.jsonl"
    arguments = ("feedback", "promote", "--to", "questions", "--out", out, "--json", "-c", domain.config)
    assert ragft(*arguments).values["added"] == 1
    again = ragft(*arguments).values
    assert again["added"] == 0 and again["left_out"][0]["why"] == "repeated"
    (made,) = read_questions(out)
    assert made.answers == ("Nobody does",) and len(read_questions(domain.folder / "questions.jsonl")) == 3


def test_any_amount_is_exported_in_bounded_memory(domain: Domain) -> None:
    answered = Answered(answer_id="a", setup="hybrid", model_version="m", question="word " * 16_000)
    with FeedbackStore(domain.workspace) as store:
        for number in range(30):
            store.add(answered, str(number), Said(thumb="good"))
    app = domain.application()
    tracemalloc.start()
    assert export(app, domain.folder / "all.jsonl") == 30
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000 < 2_000_000 < (domain.folder / "all.jsonl").stat().st_size
