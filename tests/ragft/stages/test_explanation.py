"""One question is explained from what lies in the workspace, without a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.evaluated import Evaluated, evaluated

from ragft.errors import RagftError, UsageError
from ragft.setups import SETUPS
from ragft.stages.explanation import explanation, explanation_lines


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    made = evaluated(tmp_path, monkeypatch)
    path = tmp_path / "questions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    # One answer to every question would be a choice, as yes and no are.
    for number, row in enumerate(rows):
        row |= {"sources": ["mysql.md#MySQL 8.0"], "answers": [f"2026-04-{27 + number}"]}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


def test_a_question_is_shown_with_answers_passages_and_causes(run: Evaluated) -> None:
    run()
    run.engines.clear()
    told = explanation(run.application(), "q3")
    assert (told["question"], told["answers"]) == ("Question 3?", ["2026-04-30"])
    causes = {one["setup"]: one["cause"] for one in told["setups"]}
    assert causes == {"prompt-only": "unknown", "rag-only": "misread", "fine-tuned": "unknown", "hybrid": "misread"}
    hybrid = told["setups"][-1]
    assert [one["is_source"] for one in hybrid["passages"]] == [False, True]
    assert hybrid["passages"][1]["text"].endswith("Ends 2026-04-30.")
    assert run.engines == []
    shown = "\n".join(explanation_lines(told))
    assert '"2027-04-30" is from passage [1], which is not the source.' in shown
    assert "* [2] mysql.md#MySQL 8.0: Mysql > MySQL 8.0 Ends 2026-04-30." in shown
    assert "passages as for rag-only" in shown


def test_a_right_answer_has_no_cause(run: Evaluated) -> None:
    path = run.folder / "questions.jsonl"
    path.write_text(path.read_text().replace("2026-04-30", "2027-04-30"))
    run(answer={"value": r"(\S+) \[1\]"})
    told = explanation(run.application(answer={"value": r"(\S+) \[1\]"}), "q3")
    assert [(one["setup"], one["right"], one["cause"]) for one in told["setups"]] == [
        (name, True, "") for name in SETUPS
    ]


def test_what_is_not_there_is_said(run: Evaluated) -> None:
    with pytest.raises(RagftError, match="run `ragft evaluate`"):
        explanation(run.application(), "q3")
    run()
    with pytest.raises(UsageError, match=r"no question 'q33' .* there are q3\."):
        explanation(run.application(), "q33")
