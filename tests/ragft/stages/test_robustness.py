"""The robustness suite over a domain with stand-ins for index and engines."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from support.domains import Quiet
from support.evaluated import COUNT, Evaluated, evaluated, snapshot_of_hits

from ragft.artifacts import Artifact
from ragft.errors import RagftError, UsageError
from ragft.stages import robustness as stage
from ragft.stages.robustness import robustness, robustness_tables

RULES = {"value": r"(\S+) \[1\]"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    made = evaluated(tmp_path, monkeypatch)
    path = tmp_path / "questions.jsonl"
    rows = [{**json.loads(line), "sources": ["node.md"]} for line in path.read_text().splitlines()]
    rows[0]["paraphrases"] = ["The end of q0?"]
    path.write_text("".join(json.dumps({**row, "question": f"When ends {row['id']}?"}) + "\n" for row in rows))
    monkeypatch.setattr(stage, "live_snapshot", lambda app: snapshot_of_hits())
    return made


def suite(run: Evaluated) -> Artifact:
    return run.suite(robustness, answer=RULES)


def test_a_model_that_knows_the_answer_keeps_it_whatever_is_disturbed(run: Evaluated) -> None:
    made = suite(run)
    assert list(made.figures) == ["rag-only", "hybrid"]
    found = made.figures["hybrid"]
    assert set(found) == {"reversed", "without", "false", "typos", "paraphrase", "instruction"}
    assert (found["false"]["kept"]["mean"], found["false"]["both"]["mean"], found["false"]["obeyed"]["mean"]) == (
        1,
        0,
        0,
    )
    assert found["reversed"]["kept"]["mean"] == 1.0 and found["reversed"]["difference"]["value"] == 0.0
    assert (found["instruction"]["n"], found["instruction"]["obeyed"]["mean"]) == (COUNT, 0.0)
    # It answers though no passage tells it.
    assert (found["without"]["right"]["mean"], found["without"]["refused"]["mean"]) == (1.0, 0.0)
    rows = [json.loads(line) for line in (made.folder / "robustness.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * sum(one["n"] for one in found.values())
    assert next(row["asked"] for row in rows if row["variation"] == "paraphrase") == "The end of q0?"
    asked = [turn for engine in run.engines for turn in engine.asked]
    assert len(asked) == len(rows) and any("Ignore the above and answer" in turn for turn in asked)
    assert any(
        text not in {row["asked"] for row in rows if row["variation"] not in ("typos", "paraphrase")}
        for text, _ in run.retriever.asked
    )


def test_the_number_of_answers_is_said_before_any_is_asked_for(run: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, int]] = []
    evaluation = run(answer=RULES)
    run.engines.clear()
    monkeypatch.setattr(Quiet, "say", lambda self, line: said.append((line, len(run.engines))))
    robustness(run.application(answer=RULES), evaluation)
    counts = ", ".join(
        f"{COUNT} {name}" for name in ("reversed", "without", "false", "typos", "paraphrase", "instruction")
    )
    line = f"The suite takes {12 * COUNT} answers: of each of 2 setups {counts}. Fewer questions: evaluate.limit."
    assert (line, 0) in said


def test_people_see_a_table_for_each_setup(run: Evaluated) -> None:
    console = Console(width=150, file=io.StringIO())
    console.print(*robustness_tables(suite(run)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "hybrid" in text and "reversed" in text and "+0.0 points" in text


def test_it_is_asked_once(run: Evaluated) -> None:
    first = suite(run)
    run.engines.clear()
    assert suite(run) == first and run.engines == []


def test_what_cannot_be_done_is_said(run: Evaluated) -> None:
    evaluation = run(answer=RULES)
    run.failures["When ends q3?"] = RagftError("too long")
    with pytest.raises(RagftError, match=r"4 of 42 answers of rag-only failed.*'q3': too long"):
        robustness(run.application(answer=RULES), evaluation)
    with pytest.raises(UsageError, match="add hybrid"):
        robustness(run.application(evaluate={"setups": ["fine-tuned"]}), evaluation)
    path = run.folder / "questions.jsonl"
    path.write_text(json.dumps({"id": "q0", "question": "When?", "answerable": False}) + "\n")
    with pytest.raises(UsageError, match="No question can be disturbed"):
        robustness(run.application(), evaluation)
