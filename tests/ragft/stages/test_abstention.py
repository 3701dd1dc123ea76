"""The abstention suite over a domain with stand-ins for index and engines."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from support.evaluated import COUNT, Evaluated, evaluated

from ragft.errors import RagftError, UsageError
from ragft.stages.abstention import abstention, abstention_shown

RULES = {"value": r"(\S+) \[1\]"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    return evaluated(tmp_path, monkeypatch)


def test_it_reads_the_answers_that_exist_and_asks_none(run: Evaluated) -> None:
    run(answer=RULES)
    run.engines.clear()
    made = abstention(run.application(answer=RULES))
    assert run.engines == [] and list(made.figures) == ["rag-only", "hybrid"]
    found = made.figures["hybrid"]
    assert (found["n"], found["right"], found["wrong"], found["threshold"]) == (COUNT, COUNT, 0, None)
    rows = [json.loads(line) for line in (made.folder / "abstention.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * COUNT and rows[0]["signals"] == {"dense": 0.5, "rank": 0.5}


def test_people_see_a_curve_and_the_verdict(run: Evaluated) -> None:
    run(answer=RULES)
    shown = abstention_shown(abstention(run.application(answer=RULES)))
    console = Console(width=120, file=io.StringIO())
    console.print(*shown)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "hybrid by dense score" in text and "0%" in text
    assert shown[-1].endswith("No threshold can be recommended: no answer is wrong.")


def test_without_answers_or_retrieval_it_says_so(run: Evaluated) -> None:
    with pytest.raises(RagftError, match="There are no answers of"):
        abstention(run.application())
    with pytest.raises(UsageError, match="add hybrid"):
        abstention(run.application(evaluate={"setups": ["fine-tuned"]}))
