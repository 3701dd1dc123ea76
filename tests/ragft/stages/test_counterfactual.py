"""The counterfactual suite over a domain with stand-ins for index and engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.evaluated import COUNT, Evaluated, evaluated, snapshot_of_hits

from ragft.artifacts import Artifact
from ragft.errors import RagftError, UsageError
from ragft.stages import counterfactual as stage
from ragft.stages.counterfactual import counterfactual, counterfactual_lines

RULES = {"value": r"(\S+) \[1\]"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    made = evaluated(tmp_path, monkeypatch)
    monkeypatch.setattr(stage, "live_snapshot", lambda app: snapshot_of_hits())
    return made


def suite(run: Evaluated) -> Artifact:
    return run.suite(counterfactual, answer=RULES)


def test_a_model_that_says_what_it_remembers_is_stuck(run: Evaluated) -> None:
    made = suite(run)
    assert list(made.figures) == ["rag-only", "hybrid"]
    found = made.figures["hybrid"]
    assert (found["cases"], found["n"], found["stuck"]["share"], found["followed"]["share"]) == (COUNT, COUNT, 1.0, 0.0)
    assert found["where_right"]["n"] == COUNT
    shown = [turn for engine in run.engines for turn in engine.asked]
    assert shown and not any("2027-04-30" in turn for turn in shown)
    rows = [json.loads(line) for line in (made.folder / "counterfactual.jsonl").read_text().splitlines()]
    assert {(row["kind"], row["old"], row["outcome"]) for row in rows} == {("date", "2027-04-30", "stuck")}
    assert "hybrid: 0% of 7 answers follow a changed passage" in counterfactual_lines(made)[1]


def test_it_is_asked_once(run: Evaluated) -> None:
    first = suite(run)
    run.engines.clear()
    assert suite(run) == first and run.engines == []


def test_too_many_failures_publish_nothing(run: Evaluated) -> None:
    evaluation = run(answer=RULES)
    run.failures["Question 3?"] = RagftError("too long")
    with pytest.raises(RagftError, match=r"1 of 7 answers of rag-only failed.*'q3': too long"):
        counterfactual(run.application(answer=RULES), evaluation)


def test_what_cannot_be_changed_is_said(run: Evaluated) -> None:
    evaluation = run()
    with pytest.raises(UsageError, match="add hybrid"):
        counterfactual(run.application(evaluate={"setups": ["fine-tuned"]}), evaluation)
    path = run.folder / "questions.jsonl"
    path.write_text(path.read_text().replace("2027-04-30", "Ann Lee"))
    with pytest.raises(UsageError, match="nothing can be changed"):
        counterfactual(run.application(), evaluation)
