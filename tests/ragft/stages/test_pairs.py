"""Pairs of examples: their questions are asked once, what is wrong is taken, and the rest is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.evaluated import Evaluated, evaluated, snapshot_of_hits

from ragft.data.examples import read_examples
from ragft.errors import UsageError
from ragft.stages import pairs as stage
from ragft.stages.pairs import Pairs, write_pairs

ROWS = [
    {"id": "right", "question": "When does Node.js 22 end?", "answer": "2027-04-30 [1]", "sources": ["node.md"]},
    {"id": "wrong", "question": "When does MySQL 8.0 end?", "answer": "2026-04-30 [1]", "sources": ["mysql.md"]},
    {"id": "earlier", "question": "When does MySQL 9 end?", "answer": "2028-04-30 [1]", "sources": ["mysql.md"]},
    {"id": "given", "question": "MySQL 10?", "answer": "2029-04-30 [1]", "sources": ["mysql.md"], "rejected": "No."},
    {"id": "nothing", "question": "Who owns MySQL?", "answer": "I do not know.", "sources": []},
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    made = evaluated(tmp_path, monkeypatch)  # every answer is "2027-04-30 [1]", and [1] is from node.md
    monkeypatch.setattr(stage, "live_snapshot", lambda app: snapshot_of_hits())
    (tmp_path / "no-examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return made


def test_wrong_answers_of_a_setup_are_taken_and_others_are_made(run: Evaluated) -> None:
    out = run.folder / "pairs.jsonl"
    made = write_pairs(run.application(), out, "hybrid")
    found = {one.id: one for one in read_examples(out, "--out")}
    assert (made.asked, made.said) == (4, 3) and list(found) == [row["id"] for row in ROWS]
    said = {name: (one.rejected, one.origin) for name, one in found.items()}
    # [1] of the prompt is not the source of these, so it is numbered behind their one source.
    assert said["wrong"] == ("2027-04-30 [2]", "rejected: value, said by hybrid")
    assert said["earlier"] == ("2027-04-30 [2]", "rejected: stale, said by hybrid")
    assert said["nothing"] == ("2027-04-30 [1]", "rejected: unrefused, said by hybrid")
    assert said["given"] == ("No.", "")
    assert found["right"].origin.endswith("of answer") and found["right"].rejected != found["right"].answer
    assert sum(made.worse.values()) == len(ROWS) and made.worse["given"] == 1


def test_asking_again_generates_nothing(run: Evaluated) -> None:
    app = run.application()
    write_pairs(app, run.folder / "once.jsonl", "prompt-only")
    run.engines.clear()
    write_pairs(app, run.folder / "twice.jsonl", "prompt-only")
    assert run.engines == []
    assert (run.folder / "once.jsonl").read_bytes() == (run.folder / "twice.jsonl").read_bytes()


def test_a_limit_asks_so_many(run: Evaluated) -> None:
    assert write_pairs(run.application(), run.folder / "two.jsonl", "hybrid", 2).asked == 2
    assert len(read_examples(run.folder / "two.jsonl", "--out")) == len(ROWS)


def test_without_a_setup_all_are_made(run: Evaluated) -> None:
    made = write_pairs(run.application(), run.folder / "made.jsonl")
    assert run.engines == [] and (made.asked, made.said) == (0, 0) and isinstance(made, Pairs)


def test_pairs_keep_what_else_the_lines_of_the_examples_have(run: Evaluated) -> None:
    own = {"reviewed_by": ["Ann"], "my_field": {"a": 1}}
    path = run.folder / "no-examples.jsonl"
    path.write_text("".join(json.dumps({**row, **own}) + "\n" for row in ROWS))
    write_pairs(run.application(), run.folder / "made.jsonl")
    made = [json.loads(line) for line in (run.folder / "made.jsonl").read_text().splitlines()]
    assert [{name: row[name] for name in own} for row in made] == [own] * len(ROWS)
    assert sum("rejected" in row for row in made) > 1


def test_wrong_names_say_what_to_choose(run: Evaluated) -> None:
    with pytest.raises(UsageError, match="choose one of prompt-only, rag-only, fine-tuned, hybrid"):
        write_pairs(run.application(), run.folder / "a.jsonl", "mixed")
    with pytest.raises(UsageError, match="--answers-of"):
        write_pairs(run.application(), run.folder / "a.jsonl", limit=3)
    (run.folder / "a.jsonl").write_text("mine\n")
    with pytest.raises(UsageError, match="exists"):
        write_pairs(run.application(), run.folder / "a.jsonl", "hybrid")
    assert run.engines == []
