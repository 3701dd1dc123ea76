"""`ragft feedback`: the commands as the pages show them, and what they leave in the files."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.commands import Ended
from support.domains import Domain
from test_readme import RAGFT

from ragft.data.examples import read_examples
from ragft.data.golden import read_golden
from ragft.data.jsonl import to_lines
from ragft.data.questions import read_questions
from ragft.feedback.database import FILE, MIGRATIONS
from ragft.feedback.store import Answered, FeedbackStore, Said
from ragft.feedback.votes import Ballot, Shown
from ragft.review.decisions import Decision, ReviewStore
from ragft.stages import feedback as stages
from ragft.stages.feedback import export, promote

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


def reviews(domain: Domain) -> list[Decision]:
    with ReviewStore(domain.workspace / FILE, MIGRATIONS) as store:
        return list(store.decisions())


@pytest.mark.medium
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
    assert run("feedback", "votes").out == "There are no votes.\n"
    answers = tuple(Shown(answer_id=name, setup=name, model_version="m") for name in ("rag-only", "hybrid"))
    with FeedbackStore(domain.workspace) as store:
        store.vote(Ballot(shown=answers, choice=2, blind=True), "me")
    told = run("feedback", "votes").out.splitlines()
    assert told[0] == "1 vote of 1 caller." and told[1].startswith("hybrid over rag-only: 100 % of 1 vote (p = 1.000)")
    before = (domain.folder / "examples.jsonl").read_bytes()
    told = run("feedback", "promote", "--to", "examples", "--dry-run").out
    assert "1 row would be added" in told and "(q1)" in told and "1 left out: the question was not kept" in told
    assert (domain.folder / "examples.jsonl").read_bytes() == before
    run("feedback", "export", "--out", "feedback.jsonl")
    lines = [json.loads(line) for line in Path("feedback.jsonl").read_text().splitlines()]
    assert lines[0]["id"] == new and len(lines) == 4
    for name, told in (("feedback.jsonl", "exists"), ("feedback.csv", "feedback review --export feedback.csv")):
        again = ragft("feedback", "export", "--out", name, "-c", domain.config)
        assert again.status == 2 and told in again.sentence
    monkeypatch.setattr("serving.review.serve", lambda *told: done.add(told[1]))
    run("feedback", "review", "--reviewer", "Anna")  # the page
    run("feedback", "review", "--reviewer", "Anna", "--export", "review.csv")
    with Path("review.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3  # what was said without its question cannot be reviewed
    rows[0] |= {"decision": "edit", "corrected_answer": "2024-04-24 [1]"}
    rows[1] |= {"decision": "reject", "reason": "They do not."}
    with Path("review.csv").open("w", newline="") as file:
        sheet = csv.DictWriter(file, rows[0])
        sheet.writeheader()
        sheet.writerows(rows)
    assert "2 decisions taken" in run("feedback", "review", "--import", "review.csv").out
    assert "1 row of" not in run("feedback", "review", "--agreement").out
    told = run("feedback", "promote", "--to", "examples").out
    assert "1 left out: a reviewer rejected it" in told and "2 left out: no reviewer has decided yet" in told
    assert (domain.folder / "examples.jsonl").read_bytes().startswith(before)
    example = read_examples(domain.folder / "examples.jsonl")[-1]
    assert (example.id, example.answer, example.rejected) == (f"feedback-{new}", "2024-04-24 [1]", "In 2020 [1]")
    assert json.loads(Path("examples.jsonl").read_text().splitlines()[-1])["origin"] == f"feedback {new}"
    # What is an example now becomes no question, of either kind.
    assert f"{new} (feedback-{new})" in run("feedback", "promote", "--to", "questions").out
    assert len(read_questions(domain.folder / "questions.jsonl")) == 3
    golden = run("feedback", "promote", "--to", "golden", "--out", "golden.jsonl").out
    assert f"{new} (feedback-{new})" in golden and not Path("golden.jsonl").exists()
    run("feedback", "promote", "--to", "pairs", "--out", "pairs.jsonl")
    (pair,) = read_examples(domain.folder / "pairs.jsonl")
    assert (pair.answer, pair.rejected) == ("2024-04-24 [1]", "In 2020 [1]")
    assert len(reviews(domain)) == 2
    run("feedback", "delete", "--caller", CALLER)
    listed = ragft("feedback", "list", "--json", "-c", domain.config).values
    assert [one["caller"] for one in listed["feedback"]] == ["other"]
    assert done == {*SHOWN, "Anna"}
    # What was decided about deleted feedback is deleted with it.
    assert reviews(domain) == []


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


def test_without_a_review_every_correction_counts_and_golden_questions_have_their_own_file(
    ragft: Ragft, domain: Domain
) -> None:
    one = say(domain, 1, "Who feeds the dogs?", "Nobody does [1]")
    promote = ("feedback", "promote", "-c", domain.config, "--json", "--to")
    for to, told in (("pairs", "no file of pairs"), ("golden", "no file of golden")):
        assert told in ragft(*promote, to).sentence
    assert ragft(*promote, "golden", "--out", domain.folder / "questions.jsonl").status == 2
    assert ragft(*promote, "golden", "--out", domain.folder / "golden.jsonl", "--reviewed").values["added"] == 0
    assert ragft(*promote, "golden", "--out", domain.folder / "golden.jsonl").values["added"] == 1
    (made,) = read_golden(domain.folder / "golden.jsonl")
    assert (made.name, made.sources) == (f"feedback-{one}", ("node.md#Node.js > Node.js 22",))
    domain.configure(index={"refresh": {"gate": {"questions": "golden.jsonl"}}})
    # The gate's questions are evaluation: they are never trained.
    left_out = ragft(*promote, "examples").values["left_out"]
    assert [(one["why"], one["detail"]) for one in left_out] == [("other side", f"feedback-{one}")]


def test_two_processes_that_promote_at_once_lose_nothing_and_repeat_nothing(
    domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(domain, 1, "Who feeds the dogs?", "Nobody does [1]")
    out, added = domain.folder / "more.jsonl", []

    def one() -> None:
        added.append(len(promote(domain.application(), "questions", out=out)[0].rows))

    other = Thread(target=one)

    def while_writing(rows: list[dict[str, Any]]) -> bytes:
        monkeypatch.setattr(stages, "to_lines", to_lines)
        other.start()
        other.join(0.3)
        return to_lines(rows)

    monkeypatch.setattr(stages, "to_lines", while_writing)
    one()
    other.join()
    assert sorted(added) == [0, 1] and len(out.read_bytes().splitlines()) == 1
    assert not list(domain.folder.glob("*.lock"))


def test_a_file_in_a_missing_folder_is_refused_in_a_sentence(ragft: Ragft, domain: Domain) -> None:
    say(domain, 1, "Who feeds the dogs?", "Nobody does [1]")
    missing = domain.folder / "missing" / "file.jsonl"
    for words in (
        ("feedback", "export", "--out"), ("feedback", "promote", "--to", "questions", "--out"),
        ("feedback", "review", "--reviewer", "Anna", "--export"), ("data", "review", "--apply"),
        ("data", "review", "--reviewer", "Anna", "--export"),
    ):  # fmt: skip
        ended = ragft(*words, missing, "-c", domain.config)
        assert ended.status == 2 and "There is no folder" in ended.sentence and words[-1] in ended.sentence
