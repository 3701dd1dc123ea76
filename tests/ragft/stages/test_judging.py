"""`ragft judge` and `ragft sheets` from answers in a file to figures, with a judge behind an address."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.commands import Ended
from support.domains import Domain
from support.judges import Judge, answered, asked, serving

QUESTIONS = asked(12, documents=6)
Run = Callable[..., Ended]


@pytest.fixture
def judge() -> Iterator[Judge]:
    with serving(Judge()) as made:
        yield made


@pytest.fixture
def run(domain: Domain, ragft: Run, judge: Judge) -> Run:
    """A command over answers of two setups to twelve questions."""
    domain.lines("questions.jsonl", [
        {"id": q.id, "question": q.question, "answers": q.answers, "sources": q.sources} for q in QUESTIONS
    ])  # fmt: skip
    records = answered(QUESTIONS, hybrid=lambda n: f"Yes, {n}.", other=lambda n: f"Surely not {n}, I think.")
    path = domain.lines("records.jsonl", [asdict(record) for record in records])
    domain.configure(evaluate={"judge": {"base_url": judge.url, "model": "judge", "retries": 0, "concurrency": 2}})
    return lambda *words: ragft(*words, "--records", path, "-c", domain.config)


def figures(ended: Ended) -> dict[str, Any]:
    assert ended.status == 0, ended.err
    return dict(json.loads((Path(ended.values["folder"]) / "judgement.json").read_text()))


@pytest.mark.medium
def test_judging_says_how_much_it_takes_and_writes_all_that_was_said(run: Run, judge: Judge) -> None:
    assert run("judge", "--dry-run", "--json").values == {"requests": 48, "known": 0}
    assert judge.requests == []
    ended = run("judge", "--json")
    found = figures(ended)
    assert "48 requests to the judge" in ended.err and len(judge.requests) == 48
    assert found["failed"] == 0 and found["judgements"] == 36
    assert found["preferences"][0]["rate"]["n"] == 12 and found["preferences"][0]["rate"]["clusters"] == 6
    rows = [json.loads(line) for line in (Path(ended.values["folder"]) / "judgements.jsonl").open()]
    assert {row["criterion"] for row in rows} == {"overall"} and len(rows) == 36
    assert run("judge", "--json").values["fingerprint"] == ended.values["fingerprint"]
    assert len(judge.requests) == 48


def test_people_see_rates_and_habits(run: Run) -> None:
    shown = run("judge").out
    assert "hybrid" in shown and "Preferences by overall" in shown and "same in both orders" in shown


def test_a_sample_is_judged_and_its_replies_serve_the_whole(run: Run, judge: Judge) -> None:
    assert figures(run("judge", "--limit", 5, "--json"))["questions"] == 5
    assert len(judge.requests) == 20
    assert run("judge", "--dry-run", "--json").values == {"requests": 48, "known": 20}


def test_a_judge_that_answers_nonsense_is_refused_and_never_a_score(run: Run, judge: Judge, domain: Domain) -> None:
    judge.says = lambda shown: "Great!"
    ended = run("judge", "--json")
    assert ended.status == 1 and "36 of 36 judgements failed" in ended.sentence
    assert not list((domain.workspace / "judgements").glob("*/judgement.json"))


def test_a_judge_that_is_down_is_said_and_the_same_command_goes_on(run: Run, judge: Judge) -> None:
    judge.fails_after = 30
    ended = run("judge", "--json")
    assert ended.status == 1 and "30 replies are kept" in ended.sentence
    judge.fails_after = None
    asked_before = len(judge.requests)
    assert figures(run("judge", "--json"))["failed"] == 0
    assert len(judge.requests) == asked_before + 18


def test_requests_that_got_no_answer_are_made_again_by_the_next_run(run: Run, judge: Judge, domain: Domain) -> None:
    judge.fails_after = 46
    domain.configure(evaluate={"judge": {"base_url": judge.url, "model": "judge", "retries": 0, "concurrency": 1}})
    ended = run("judge", "--json")
    assert figures(ended)["failed"] == 1 and ended.values["unanswered_requests"] == 2
    judge.fails_after = None
    assert figures(run("judge", "--json"))["failed"] == 0


def test_a_judge_among_the_judged_is_warned_of(run: Run, judge: Judge, domain: Domain) -> None:
    domain.configure(evaluate={"judge": {"base_url": judge.url, "model": "hybrid"}})
    ended = run("judge", "--json")
    assert "is one of the models that are judged" in ended.err
    assert "is one of the models" in figures(ended)["warnings"][0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "judge"}, "There is no judge: set evaluate.judge.base_url"),
        ({"base_url": "http://127.0.0.1:1/v1", "model": "m", "pairs": [["hybrid", "fine-tuned"]]}, "'fine-tuned'"),
        ({"base_url": "ftp://here", "model": "m"}, "evaluate.judge.base_url"),
        ({"criteria": [{"name": "a", "question": "?"}] * 2}, "holds 'a' twice"),
        ({"criteria": [{"name": "a", "question": "?", "scale": [5, 1]}]}, "lowest and the highest"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(run: Run, domain: Domain, settings: dict[str, Any], said: str) -> None:
    domain.configure(evaluate={"judge": settings})
    ended = run("judge")
    assert ended.status == 2 and said in ended.sentence


def test_records_of_other_questions_are_refused(run: Run, domain: Domain) -> None:
    domain.lines("questions.jsonl", [{"id": "else", "question": "What?", "answers": ["x"]}])
    ended = run("judge")
    assert ended.status == 2 and "12 questions that are not asked, 'q0' for one" in ended.sentence


@pytest.mark.medium
def test_sheets_go_out_come_back_and_calibrate_the_judge(run: Run, ragft: Run, domain: Domain) -> None:
    made = run("sheets", "make", "hybrid", "other", "--json").values
    folder = Path(made["folder"])
    assert {path.name for path in (folder / "for-people").iterdir()} == {"sheet.csv", "sheet.html"}
    with (folder / "for-people" / "sheet.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    page = (folder / "for-people" / "sheet.html").read_text()
    assert not any(name in page.partition("<main>")[2] for name in ("hybrid", '"other"'))
    with (domain.folder / "ann.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "choice": "1" if row["answer_1"].startswith("Yes") else "2"} for row in rows)
    ended = ragft("sheets", "import", domain.folder / "ann.csv", "-c", domain.config)
    assert ended.status == 0 and "hybrid over other, by overall: 100 %" in ended.out, ended.err
    (labels,) = (domain.workspace / "opinions").glob("*/labels.jsonl")
    found = figures(run("judge", "--labels", labels, "--json"))
    assert found["calibration"][0]["labels"] == 12 and found["preferences"][0]["corrected"]["mean"] == 1.0
    # Answers that are others by now.
    path = domain.folder / "records.jsonl"
    path.write_text(path.read_text().replace("Yes, 3.", "Yes, 33."))
    assert "another answer of hybrid" in run("judge", "--labels", labels).sentence


def test_a_key_that_was_changed_is_refused(run: Run, ragft: Run, domain: Domain) -> None:
    folder = Path(run("sheets", "make", "hybrid", "other", "--json").values["folder"])
    key, sheet = folder / "key.json", folder / "for-people" / "sheet.csv"
    assert "have no choice" in ragft("sheets", "import", sheet, "-c", domain.config).sentence
    key.write_text(key.read_text().replace('"first": "a"', '"first": "b"'))
    assert "holds no key of it" in ragft("sheets", "import", sheet, "-c", domain.config).sentence
    ended = ragft("sheets", "import", sheet, "--key", key, "-c", domain.config)
    assert ended.status == 2 and "row 2: this is sheet" in ended.sentence
