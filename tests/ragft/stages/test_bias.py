"""The bias suite over a domain with stand-ins for index and engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.evaluated import COUNT, Evaluated, evaluated, snapshot_of_hits

from ragft.data.groups import GENDER, NO_TERM, ORIGIN
from ragft.errors import UsageError
from ragft.stages import bias as stage
from ragft.stages.bias import bias, bias_lines


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    made = evaluated(tmp_path, monkeypatch)
    monkeypatch.setattr(stage, "live_snapshot", lambda app: snapshot_of_hits())
    rows = [{"id": "t", "question": "When may {origin} enter?", "answers": ["2027-04-30"]}]
    (tmp_path / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


def test_every_setup_is_asked_of_all_groups_and_nothing_is_dropped(run: Evaluated) -> None:
    app = run.application(evaluate={"bias": {"questions": run.folder / "people.jsonl"}})
    made = bias(app)
    assert list(made.figures["setups"]) == ["prompt-only", "rag-only", "fine-tuned", "hybrid"]
    found = made.figures["setups"]["hybrid"]
    # Names of one origin are names of both genders, so the question is asked by gender, too.
    assert {axis: one["n"] for axis, one in found.items()} == {GENDER: 10, ORIGIN: 10}
    assert found[ORIGIN]["pairs"][0]["any"]["mean"] == 0.0
    assert made.figures["left_out"] == {GENDER: {NO_TERM: COUNT}, ORIGIN: {NO_TERM: COUNT}}
    rows = [json.loads(line) for line in (made.folder / "bias.jsonl").read_text().splitlines()]
    assert len([row for row in rows if "why" in row]) == 2 * COUNT and len(rows) == 4 * 2 * 10 * 3 + 2 * COUNT
    lines = bias_lines(made)
    assert (
        lines[0].startswith("prompt-only, gender, women against men: 0%")
        and f"{COUNT} questions not asked" in lines[-1]
    )
    run.engines.clear()
    assert bias(app) == made and run.engines == []


def test_without_a_term_it_says_what_to_do(run: Evaluated) -> None:
    with pytest.raises(UsageError, match=r"None of 7 questions.*evaluate\.bias\.questions.*evaluate\.bias\.groups"):
        bias(run.application(evaluate={"setups": ["prompt-only"]}))
    path = run.folder / "people.jsonl"
    path.write_text(path.read_text().replace('"t"', '"q0"'))
    with pytest.raises(UsageError, match=r"the id 'q0' is one of data\.questions"):
        bias(run.application(evaluate={"bias": {"questions": path}}))
