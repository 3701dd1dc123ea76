"""The metrics that a configuration names, those of a file, the choices, and the floors."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.evaluation import RULES, SETUPS, passage, question, record

from ragft.errors import UsageError
from ragft.evaluate.metrics import METRICS, OPTIONAL, Rules, tried
from ragft.evaluate.metrics.choices import UNREADABLE, choice_of, classification
from ragft.evaluate.metrics.floors import floors
from ragft.evaluate.metrics.selection import selected
from ragft.evaluate.rows import score_rows
from ragft.evaluate.score import score
from ragft.patterns import Bounded, SlowPattern

CHOICES = Rules(choices=("yes", "no", "maybe"))
OWN = """
from ragft.evaluate.metrics import Score, metric

@metric("polite", axis="form")
def polite(question, record, rules):
    {body}
"""


def test_named_metrics_are_computed_and_no_longer_afterwards() -> None:
    before = list(METRICS)
    with selected(["chrf", "exact_match"]):
        assert list(METRICS) == [*before, "chrf"]
    assert list(METRICS) == before and "chrf" in OPTIONAL


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no metric 'chfr'; .*chrf"), selected(["chfr"]):
        pass


def test_own_metrics_score_records_and_one_that_raises_is_counted_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    asked = [question(id="q1"), question(id="q2")]
    given = [record("please", question_id=one.id, setup=setup) for one in asked for setup in ("rag-only", "hybrid")]

    def scored(body: str) -> tuple[list[dict[str, object]], dict[str, object]]:
        file.write_text(OWN.format(body=body))
        with selected([], file):
            rows, found = score(asked, given, RULES, setups=SETUPS[1::2], seed=0, resamples=200, max_failed=1.0)
        return rows, found.setups["hybrid"]["polite"]

    assert scored('return Score(float("please" in record.answer))')[1]["mean"] == 1
    rows, found = scored("raise RuntimeError('no judge')")
    assert (found["mean"], found["n"], found["failed"]) == (None, 0, 2)
    assert rows[0]["failed"] == {"polite": "RuntimeError: no judge"}
    means = [scored(f"return Score({value})")[1]["mean"] for value in (1.0, 0.5)]
    assert means == [1.0, 0.5], "an edit of equal length in the same second counts"
    assert "polite" not in METRICS


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "there is no Python file"),
        ("x = 1", "registers no metric"),
        ("x = 1\nimport nothing_of_this_name", r"own\.py, line 2 does not run: ModuleNotFoundError"),
        ("def f(:", r"own\.py, line 1 does not run: SyntaxError"),
        (OWN.format(body="pass").replace("polite", "exact_match"), "already is a metric 'exact_match'"),
    ],
)
def test_a_file_that_does_not_work_is_refused(tmp_path: Path, text: str | None, told: str) -> None:
    file = tmp_path / "own.py"
    if text is not None:
        file.write_text(text)
    before = list(METRICS)
    with pytest.raises(UsageError, match=told), selected([], file):
        pass
    assert list(METRICS) == before


def test_a_slow_expression_refuses_the_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragft.patterns.LIMIT_S", 0.05)
    rules = replace(RULES, value=Bounded(r"((a|aa|a)+)$", "answer.value"))
    given = [record("a" * 40 + "b", setup=setup) for setup in ("rag-only", "hybrid")]
    with pytest.raises(SlowPattern, match=r"answer\.value"):
        score([question()], given, rules, setups=SETUPS[1::2], seed=0, resamples=200, max_failed=1.0)


@pytest.mark.parametrize(
    ("answer", "choice"),
    [("Yes.", "yes"), ("**no**", "no"), ("maybe, it depends", "maybe"), ("yes or no", None), ("It depends", None)],
)
def test_the_choice_of_an_answer(answer: str, choice: str | None) -> None:
    assert choice_of(answer, CHOICES) == choice


def test_macro_f1_and_confusions_of_a_worked_example() -> None:
    asked = [question(gold, id=f"q{at}") for at, gold in enumerate(("yes", "yes", "yes", "no"))]
    given = [record(said) for said in ("yes", "yes", "no", "perhaps")]
    found = classification(asked, {"hybrid": given}, CHOICES)["hybrid"]
    # yes: 2 right of 2 said and 3 wanted; no: none right.
    assert found["f1"] == pytest.approx({"yes": 2 * 2 / (2 + 3), "no": 0.0})
    assert found["macro_f1"] == pytest.approx(0.4) and found["accuracy"] == 0.5
    assert found["confusion"] == {"yes": {"yes": 2, "no": 1}, "no": {UNREADABLE: 1}}
    failed = [record("", error="engine died")] * 4
    assert classification(asked, {"hybrid": failed}, CHOICES)["hybrid"]["accuracy"] == 0
    assert classification(asked, {"hybrid": given}, Rules()) == {}


@pytest.mark.parametrize(
    ("said", "gold", "right"),
    [
        ("1,500 m", "1.5 km", 1), ("1.5km", "1500 metres", 1), ("90 min", "1.5 hours", 1), ("4.20 euros", "€4.2", 1),
        ("1.5 million", "1,500,000", 1), ("10^3", "1000", 1), ("5 apples", "5", 1), ("0.5", ".5", 1),
        ("5 %", "5", 0), ("5 MB", "5 MiB", 0), ("5 MW", "5 mW", 0), ("-5", "5", 0), ("5", "5 km", 0),
        ("4 or 5", "5", 0),
        ("5", "Paris", None), ("2026-04-30", "2026-04-30", None),
    ],
)  # fmt: skip
def test_numbers_are_compared_with_their_units(said: str, gold: str, right: float | None) -> None:
    assert tried("number_match", said, gold) == right


def test_similarity_encodes_all_texts_at_once() -> None:
    calls: list[int] = []

    def encode(texts: list[str]) -> np.ndarray:
        calls.append(len(texts))
        return np.array([[1.0, 0.0] if text == "same" else [0.6, 0.8] for text in texts])

    given = [record(said, setup=setup) for setup, said in (("rag-only", "same"), ("hybrid", "other"))]
    rules = Rules(encode=encode)
    with selected(["similarity"]):
        rows, _ = score([question("same")], given, rules, setups=SETUPS[1::2], seed=0, resamples=200, max_failed=0.0)
    assert [row["scores"]["similarity"] for row in rows] == pytest.approx([1.0, 0.6])
    # All answers at once, and those of each floor.
    assert calls[0] == 2 and len(calls) <= 6


def test_floors_are_the_scores_of_answers_that_know_nothing() -> None:
    asked = [
        question("yes", id="q1"),
        question("yes", id="q2"),
        question("2026-04-30", id="q3"),
        question(None, id="q4"),
    ]
    shown = {"q3": [replace(passage("4.2"), text="Django 4.2 ends on 2026-04-30.")]}
    scored = partial(score_rows, rules=RULES)
    found = floors(asked, shown, RULES.refusal, scored)
    assert found["refusal"]["exact_match"] == {"mean": 0.25, "n": 4}
    assert found["refusal"]["false_refusal"] == {"mean": 1.0, "n": 3}
    assert found["question"]["contains"]["mean"] == found["yes or no"]["contains"]["mean"] == 0
    assert found["commonest answer"]["exact_match"]["mean"] == 0.5
    assert found["first passage"]["contains"] == {"mean": 1.0, "n": 1}
    assert "first passage" not in floors(asked, {}, RULES.refusal, scored)
    assert not {"latency_ms", "length", "retrieval_hit"} & set(found["refusal"])
