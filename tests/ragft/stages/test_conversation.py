"""The conversation suite over a domain with stand-ins for index and engines."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.evaluated import Evaluated, evaluated, records_of, snapshot_of_hits
from support.fakes import FakeRetriever

from ragft.errors import RagftError, UsageError
from ragft.pipeline import Retrieved
from ragft.stages import conversation as stage
from ragft.stages.conversation import conversation, conversation_tables

RULES = {"value": r"(\S+) \[1\]"}


class Named(FakeRetriever):
    """Finds nothing for a query that names no document."""

    def search(self, questions: Any, k: int | None = None, **more: Any) -> list[Retrieved]:
        found = super().search(questions, k, **more)
        return [
            one if any(name in one.query.lower() for name in ("node", "mysql")) else replace(one, hits=())
            for one in found
        ]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    made = evaluated(tmp_path, monkeypatch)
    monkeypatch.setattr(stage, "live_snapshot", lambda app: snapshot_of_hits())
    made.retriever = Named(made.retriever.hits, "snapshot-1")
    turns = [{"role": "user", "content": "When was Node.js 22 released?"}, {"role": "assistant", "content": "2024"}]
    both = {"answers": ["2027-04-30"], "sources": ["node.md"]}
    rows = [
        {"id": "single", "question": "When does MySQL 8.0 end?", "answers": ["2026-04-30"], "sources": ["mysql.md"]},
        *(
            {"id": f"f{n}", "question": f"And when, {n}?", "standalone": f"When does Node.js 22 end, {n}?",
             "history": turns * (1 + n % 2), **both}
            for n in range(6)
        ),
    ]  # fmt: skip
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


def test_condensing_finds_what_a_follow_up_leaves_unsaid_and_single_questions_lose_nothing(run: Evaluated) -> None:
    made = conversation(run.application(answer=RULES))
    assert run.engines == [] and made.figures["answers"] == {}
    found = made.figures["retrieval"]
    means = {way: (one["share"]["mean"], one["share"]["n"]) for way, one in found.items()}
    assert means == {"off": (0.0, 6), "heuristic": (1.0, 6), "standalone": (1.0, 6)}
    assert {way: one["turns"].keys() for way, one in found.items()}["off"] == {"2", "3"}
    assert found["off"]["difference"] is None and found["heuristic"]["difference"]["wins"] == 6
    change = made.figures["topic_change"]
    assert [change[way]["share"]["mean"] for way in ("off", "heuristic")] == [1.0, 1.0]
    rows = [json.loads(line) for line in (made.folder / "follow-ups.jsonl").read_text().splitlines()]
    assert rows[0]["heuristic"] == {"query": "When was Node.js 22 released? And when, 0?", "found": True}
    assert conversation(run.application(answer=RULES)) == made


def test_answers_to_follow_ups_stand_beside_those_to_the_same_questions_alone(run: Evaluated) -> None:
    run.failures["And when, 3?"] = RagftError("too long")
    app = run.application(answer=RULES, evaluate={"setups": ["fine-tuned", "hybrid"], "max_failed": 0.2})
    made = conversation(app, generate=True)
    assert list(made.figures["answers"]) == ["fine-tuned", "hybrid"]
    found = made.figures["answers"]["hybrid"]
    assert found["failed"] == 1 and found["standalone"]["share"]["mean"] == 1.0
    # A failed answer is wrong, and the model is asked to rewrite every follow-up, too.
    assert found["follow-up"]["share"]["mean"] == pytest.approx(5 / 6)
    assert (found["follow-up"]["difference"]["losses"], found["follow-up"]["turns"]["2"]["mean"]) == (1, 1.0)
    assert list(made.figures["retrieval"]) == ["off", "heuristic", "model tuned", "standalone"]
    rewritten = [turn for turn, _ in run.retriever.asked if turn == "2027-04-30 [1]"]
    assert len(rewritten) == 6  # what the stand-in answers is searched for
    console = Console(width=150, file=io.StringIO())
    console.print(*conversation_tables(made, 4))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Right answers of hybrid (1 failed)" in text and "turn 3" in text


def test_follow_ups_may_stand_in_a_file_of_their_own(run: Evaluated) -> None:
    asked = run.folder / "questions.jsonl"
    rows = asked.read_text().splitlines(keepends=True)
    other = run.folder / "conversations.jsonl"
    other.write_text("".join(rows[1:]))
    asked.write_text(rows[0])
    with pytest.raises(UsageError, match="so there are no follow-ups to measure"):
        conversation(run.application())
    made = conversation(run.application(evaluate={"conversations": other}))
    assert made.figures["retrieval"]["heuristic"]["share"]["n"] == 6
    assert made.figures["topic_change"]["heuristic"]["share"]["n"] == 1


@pytest.mark.medium
def test_the_comparison_asks_follow_ups_behind_their_turns_and_condensing_decides_their_records(run: Evaluated) -> None:
    first = run.application(answer=RULES)
    run(answer=RULES)
    found = records_of(first)
    assert found["f1", "hybrid"].query == "When was Node.js 22 released? And when, 1?"
    assert found["f1", "hybrid"].passages and found["single", "hybrid"].query is None
    (request,) = [one for one in run.engines[0].requests if one.messages[-1]["content"].endswith("And when, 1?")][:1]
    assert [one["role"] for one in request.messages] == ["system", *["user", "assistant"] * 2, "user"]
    before = {path.name for path in (first.workspace / "records").iterdir()}
    run(answer=RULES, serve={"condense": "off"})
    made = {path.name for path in (first.workspace / "records").iterdir()} - before
    assert len(made) == 2  # of the two setups that retrieve
    again = {"answer": RULES, "serve": {"condense": "model"}, "workspace": run.folder / "again"}
    run(**again)
    # The stand-in rewrites every question to what it always says.
    assert records_of(run.application(**again))["f1", "hybrid"].query == "2027-04-30 [1]"
