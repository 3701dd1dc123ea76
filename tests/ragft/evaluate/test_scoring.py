from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evaluation import RULES, SETUPS, passage, question, record

from ragft.data.gold import Located
from ragft.data.questions import Question
from ragft.errors import RagftError
from ragft.evaluate.attribution import attribute
from ragft.evaluate.metrics import METRICS, Metric, Score, metric
from ragft.evaluate.records import Record
from ragft.evaluate.report import render_markdown
from ragft.evaluate.report.overview import overview
from ragft.evaluate.rows import Row
from ragft.evaluate.score import Comparison, score, write_comparison

QUESTIONS = (
    *(
        question(
            f"2026-04-{day:02d}",
            id=f"q{day}",
            tags=("date", "odd") if day % 2 else ("date",),
            stale_answers=("2020",),
            group=f"product {day}",
        )
        for day in range(10, 20)
    ),
    question(None, id="q99", tags=("none",)),
)


def answers() -> list[Record]:
    """Hybrid knows all in form, rag-only half, fine-tuned tells stale facts in form, prompt-only rambles."""
    made = []
    for at, asked in enumerate(QUESTIONS):
        gold = asked.answers[0] if asked.answers else "unknown"
        texts = {
            "prompt-only": "I think it was long ago",
            "rag-only": f"It is {gold} [1]" if at % 2 else gold,
            "fine-tuned": "Answer: 2020 · Source: none",
            "hybrid": f"Answer: {gold} · Source: " + ("[1]" if asked.answers else "none"),
        }
        for setup, text in texts.items():
            found = (passage("4.2"),) if setup in ("rag-only", "hybrid") else ()
            made.append(record(text, question_id=asked.id, setup=setup, passages=found))
    return made


def scored(
    records: list[Record], questions: tuple[Question, ...] = QUESTIONS, **changed: Any
) -> tuple[list[Row], Comparison]:
    values = {"setups": SETUPS, "seed": 0, "resamples": 300, "max_failed": 0.0, **changed}
    return score(questions, records, RULES, **values)


def test_a_comparison_of_a_worked_example() -> None:
    rows, found = scored(answers(), fingerprints={"model": "abc"})
    means = {setup: found.setups[setup]["exact_match"]["mean"] for setup in SETUPS}
    assert means == pytest.approx({"prompt-only": 0, "rag-only": 6 / 11, "fine-tuned": 0, "hybrid": 1})
    assert found.setups["rag-only"]["contains"]["mean"] == 1
    assert found.setups["fine-tuned"]["format_validity"]["mean"] == 1
    assert found.setups["prompt-only"]["citation_recall"] == {
        "mean": None,
        "low": None,
        "high": None,
        "n": 0,
        "clusters": 0,
        "failed": 0,
    }
    assert found.freshness["fine-tuned"] == {
        "right": 0, "stale": 1, "other": 0, "n": 10, "right_where_retrieved": None, "n_retrieved": 0,
    }  # fmt: skip
    assert found.freshness["hybrid"]["right_where_retrieved"] == 1
    assert found.by_tag["odd"]["rag-only"]["exact_match"]["n"] == 5
    assert found.interaction["exact_match"]["value"] == pytest.approx(5 / 11)
    assert found.verdict["best_facts"][0] == "hybrid"
    assert (found.questions, found.failed, found.fingerprints) == (11, 0, {"model": "abc"})
    assert len(rows) == 44
    pair = next(
        row for row in found.pairs if (row["a"], row["b"], row["metric"]) == ("hybrid", "rag-only", "exact_match")
    )
    assert (pair["wins"], pair["ties"], pair["losses"]) == (5, 6, 0)
    assert pair["p"] == pytest.approx(2 / 2**5)


def test_records_are_joined_by_id_whatever_their_order() -> None:
    _, straight = scored(answers())
    _, shuffled = scored(answers()[::-1], QUESTIONS[::-1])
    assert straight == shuffled


def test_the_same_records_give_the_same_comparison_again() -> None:
    assert scored(answers()) == scored(answers())


def test_every_question_needs_exactly_one_record_of_every_setup() -> None:
    whole = answers()
    with pytest.raises(RagftError, match=r"2 of 44 records are missing, the first for question 'q10', setup rag-only"):
        scored([each for at, each in enumerate(whole) if at not in (1, 7)])
    with pytest.raises(RagftError, match="two records for question 'q10', setup prompt-only"):
        scored([*whole, whole[0]])
    with pytest.raises(RagftError, match="record for question 'other'"):
        scored([*whole, record("x", question_id="other")])
    with pytest.raises(RagftError, match="no questions"):
        scored(whole, ())


def test_setups_that_are_not_compared_may_have_records() -> None:
    _, found = scored(answers(), setups=("rag-only", "hybrid"))
    assert list(found.setups) == ["rag-only", "hybrid"]
    assert found.interaction == {}
    assert {(row["a"], row["b"]) for row in found.pairs} == {("hybrid", "rag-only")}


def test_a_question_without_an_answer_counts_as_wrong_and_is_shown() -> None:
    records = answers()
    records[3] = record("", question_id="q10", setup="hybrid", error="engine died")
    rows, found = scored(records, max_failed=0.1)
    exact = found.setups["hybrid"]["exact_match"]
    assert (exact["mean"], exact["n"], exact["failed"]) == (pytest.approx(10 / 11), 11, 1)
    assert found.setups["hybrid"]["format_validity"]["n"] == 11
    assert (found.failed, found.failures["hybrid"]) == (1, {"answers": 1, "metrics": {}})
    assert "hybrid gave no answer to 1 of 11 questions; these count as wrong." in found.verdict["text"]
    # What it cost is known of the others only, for all setups alike.
    assert {found.setups[setup]["latency_ms"]["n"] for setup in SETUPS} == {10}
    row = next(row for row in rows if row["question_id"] == "q10" and row["setup"] == "hybrid")
    assert row["failed"]["exact_match"] == "engine died"
    assert "exact_match" not in row["scores"]
    assert row["freshness"] is None


def test_a_setup_that_fails_on_what_it_would_get_wrong_is_not_ahead() -> None:
    asked = tuple(question("yes", id=f"q{at:03}", group=str(at)) for at in range(300))
    made = []
    for at, each in enumerate(asked):
        right = {"rag-only": at < 210, "hybrid": at < 205}
        for setup in ("rag-only", "hybrid"):
            # Left out, the 12 questions that hybrid failed on would put it ahead, 205 of 288 against 210 of 300.
            error = "prompt too long" if setup == "hybrid" and at >= 288 else None
            text = "Answer: yes · Source: none" if right[setup] and error is None else ""
            made.append(record(text, question_id=each.id, setup=setup, error=error))
    _, found = scored(made, asked, setups=("rag-only", "hybrid"), max_failed=0.05)
    assert found.verdict["best_facts"][0] == "rag-only"
    assert "its lead over hybrid, +1.7 points" in found.verdict["facts"]


@pytest.mark.slow
@given(st.lists(st.sampled_from(["right", "wrong", "failed"]), min_size=80, max_size=80), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_verdict_is_the_order_of_the_tests(outcomes: list[str], size: int) -> None:
    asked = tuple(question("yes", id=f"q{at:02}", group=str(at // size)) for at in range(20))
    made = []
    for at, outcome in enumerate(outcomes):
        error = "engine died" if outcome == "failed" else None
        text = "Answer: yes · Source: none" if outcome == "right" else "Answer: no" if error is None else ""
        made.append(record(text, question_id=f"q{at % 20:02}", setup=SETUPS[at // 20], error=error))
    _, found = scored(made, asked, max_failed=1.0)
    for axis, name in (("best_facts", "exact_match"), ("best_form", "format_validity")):
        tests = {(row["a"], row["b"]): row for row in found.pairs if row["metric"] == name}
        assert all(row["n"] == 20 for row in tests.values()), "all are compared on all questions"
        leader, *tied = found.verdict[axis]
        for (a, b), row in tests.items():
            assert row["difference"] == pytest.approx(found.setups[a][name]["mean"] - found.setups[b][name]["mean"])
            if leader not in (a, b):
                continue
            ahead = row["difference"] if leader == a else -row["difference"]
            wins, losses = (row["wins"], row["losses"]) if leader == a else (row["losses"], row["wins"])
            assert ahead >= 0 and wins >= losses, "the leader is behind nobody"
            assert (row["p_holm"] >= 0.05) == ((b if leader == a else a) in tied)


def free_text() -> tuple[tuple[Question, ...], list[Record]]:
    """Rag-only knows a third of the sentences word for word and none of the others; hybrid says all in other words."""
    gold = "support ends late in April of that year"
    asked = tuple(question(gold, id=f"q{at:02}", group=str(at), tags=("all",)) for at in range(30))
    told = {"hybrid": "support ends in April of that year", "rag-only": "who knows"}
    return asked, [
        record(f"Answer: {gold if setup == 'rag-only' and at < 10 else text} · Source: none", question_id=each.id,
               setup=setup)
        for at, each in enumerate(asked)
        for setup, text in told.items()
    ]  # fmt: skip


def test_what_decides_is_what_the_configuration_says_in_verdict_tests_and_words() -> None:
    asked, made = free_text()
    by_words = scored(made, asked, setups=("rag-only", "hybrid"))[1]
    assert by_words.verdict["best_facts"][0] == "rag-only" and by_words.measure.name == "exact_match"
    _, found = scored(made, asked, setups=("rag-only", "hybrid"), decides="token_f1")
    assert found.verdict["best_facts"] == ["hybrid"]
    assert "hybrid is best: 93.3\u00a0% token F1" in found.verdict["facts"]
    assert found.verdict["lenient"] == "", "it is the lenient reading of exact match"
    assert found.verdict["form"] == by_words.verdict["form"], "the other axis stays apart"
    assert set(found.by_tag["all"]["hybrid"]) == {"token_f1"}
    found = replace(found, floors={"refusal": {"token_f1": {"mean": 0.1, "n": 30}}})
    assert overview(found, made).headline == "Deploy hybrid."
    text = render_markdown(found, made, asked, name="x", subtitle="x")
    assert "## Token F1 by kind of question" in text and "## Differences in Token F1, in percentage points" in text


def test_fewest_may_be_best_and_no_answer_is_then_worst() -> None:
    asked, made = free_text()
    failed = [replace(one, answer="", error="died") if one.setup == "hybrid" and at < 40 else one
              for at, one in enumerate(made)]  # fmt: skip
    _, found = scored(failed, asked, setups=("rag-only", "hybrid"), decides="wrong", max_failed=1.0)
    assert {name: found.setups[name]["wrong"]["mean"] for name in found.setups} == {"rag-only": 20 / 30, "hybrid": 1.0}
    assert found.verdict["best_facts"] == ["rag-only"]
    floors = {"refusal": {"wrong": {"mean": 0.0, "n": 30}}, "question": {"wrong": {"mean": 1.0, "n": 30}}}
    assert "not shown to be better than always refusing" in overview(replace(found, floors=floors), failed).headline


def test_questions_about_one_document_get_no_interval_and_the_verdict_says_why() -> None:
    asked = tuple(question(f"4.{at}", id=f"q{at}") for at in range(40))
    made = [
        record(f"Answer: {each.answers[0] if setup == 'hybrid' else 'x'}", question_id=each.id, setup=setup)
        for each in asked
        for setup in ("rag-only", "hybrid")
    ]
    _, found = scored(made, asked, setups=("rag-only", "hybrid"))
    assert found.clusters == {"count": 1, "largest": 40}
    exact = found.setups["hybrid"]["contains"]
    assert (exact["mean"], exact["low"], exact["high"]) == (1.0, None, None)
    pair = next(row for row in found.pairs if row["metric"] == "contains")
    assert (pair["p"], pair["low"], pair["detectable"]) == (1.0, None, None)
    assert "All 40 questions are about one document" in found.verdict["text"]
    assert "no difference can be significant" in found.verdict["text"]


def test_a_metric_that_raises_is_counted_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(asked: Question, answered: Record, rules: object) -> Any:
        if answered.setup == "hybrid" and asked.id == "q11":
            raise ZeroDivisionError("no judge")
        return METRICS["exact_match"].scorer(asked, answered, RULES)

    judge = Metric("judge", "judge", "facts", "share", "higher", lambda *_: True, breaks)
    monkeypatch.setitem(METRICS, "judge", judge)
    rows, found = scored(answers(), max_failed=0.1)
    assert found.setups["hybrid"]["judge"]["failed"] == 1
    assert {found.setups[setup]["judge"]["n"] for setup in SETUPS} == {10}, "all are judged on the same questions"
    assert found.setups["rag-only"]["judge"]["failed"] == 0
    assert found.failures["hybrid"] == {"answers": 0, "metrics": {"judge": 1}}
    assert sum("judge" in row["failed"] for row in rows) == 1


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (lambda: 1.0, "own returned 1.0, which is no Score"),
        (lambda: Score("yes"), "own is 'yes', which is no finite number"),
        (lambda: Score(1.0, {1, 2}), r"own says \{1, 2\} as its detail, which is no text"),
        (lambda: Score(7.0), "own is 7, and a share lies between 0 and 1"),
        (lambda: sys.exit(3), "SystemExit: 3"),
    ],
    ids=["a float", "a word", "no detail", "seven", "an exit"],
)
def test_what_a_hook_returns_that_is_no_score_is_never_one(
    monkeypatch: pytest.MonkeyPatch, returned: Any, reason: str
) -> None:
    own = Metric("own", "own", "facts", "share", "higher", lambda *_: True, lambda *_: returned())
    monkeypatch.setitem(METRICS, "own", own)
    with pytest.raises(RagftError, match=reason):
        scored(answers())


@pytest.mark.parametrize("number", [np.float32(0.5), np.int64(1), np.bool_(True), True])
def test_numbers_of_numpy_are_numbers(number: Any) -> None:
    own = Metric("own", "own", "facts", "share", "higher", lambda *_: True, lambda *_: Score(number))
    value = own.score(QUESTIONS[0], answers()[0], RULES).value
    assert value == float(number) and json.dumps(value)


@pytest.mark.parametrize("wrong", [{"axis": "quality"}, {"better": "up"}, {"unit": "furlongs"}])
def test_a_metric_that_no_report_can_show_is_refused_when_it_is_registered(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="choose one of"):
        metric("own", **{"axis": "facts", **wrong})


def test_records_of_another_index_are_counted_and_refused() -> None:
    made = [replace(one, index_version="s2") if at in (3, 7) else one for at, one in enumerate(answers())]
    with pytest.raises(RagftError, match=r"records of hybrid are of 2 indexes, 9 of s1 and 2 of s2"):
        scored(made)


def test_what_was_found_is_not_scored_where_records_do_not_say_it() -> None:
    elsewhere = [replace(one, index_version=None, passages=(), citations=()) for one in answers()]
    _, found = scored(elsewhere)
    assert found.setups["hybrid"]["retrieval_hit"]["n"] == 0
    wrong = [replace(one, answer="x") if one.setup == "hybrid" else one for one in elsewhere]
    rows, _ = scored(wrong)
    causes = {(one.setup, one.cause) for one in attribute(Located(QUESTIONS), wrong, rows, RULES)}
    assert ("hybrid", "unrecorded") in causes and ("prompt-only", "unknown") in causes
    assert found.setups["hybrid"]["exact_match"]["mean"] == 1.0


def test_too_many_failures_refuse_the_run() -> None:
    records = answers()
    records[3] = record("", question_id="q10", setup="hybrid", error="engine died")
    message = r"1 of the 11 records of hybrid could not be scored \(9.1%; .* allows 5.0%\).*'q10'.*engine died"
    with pytest.raises(RagftError, match=message):
        scored(records, max_failed=0.05)  # of each setup: of all records, it is 2.3 %


def test_a_comparison_is_written_and_read_back(tmp_path: Path) -> None:
    rows, found = scored(answers())
    write_comparison(tmp_path / "run", rows, found)
    values = json.loads((tmp_path / "run" / "comparison.json").read_text())
    assert Comparison.from_json(values) == found
    assert [json.loads(line) for line in (tmp_path / "run" / "scores.jsonl").read_text().splitlines()] == rows
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["comparison.json", "scores.jsonl"]


def test_a_write_that_fails_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, found = scored(answers())
    write_comparison(tmp_path, rows, found)
    before = (tmp_path / "scores.jsonl").read_text()

    def full(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_comparison(tmp_path, [], found)
    assert (tmp_path / "scores.jsonl").read_text() == before
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.medium
def test_importing_the_scorer_loads_nothing_heavy() -> None:
    program = (
        "import sys, ragft.evaluate.score, ragft.evaluate.report\n"
        "heavy = ('matplotlib', 'scipy', 'jinja2', 'rich', 'torch', 'pydantic')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
