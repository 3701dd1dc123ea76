from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GATE = "hybrid.exact_match - rag-only.exact_match < 0.02"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with 30 questions about as many documents."""
    asked = [
        {"id": f"q{at}", "question": f"What is {at}?", "answers": [f"v{at}"], "sources": [f"d{at}.md"]}
        for at in range(30)
    ]
    write(tmp_path / "questions.jsonl", asked)
    path = tmp_path / "ragft.yaml"
    path.write_text(
        "name: small\nmodel: {base: tiny}\n"
        "data: {questions: questions.jsonl, examples: examples.jsonl}\nindex: {documents: {folder: documents}}\n"
    )
    return path


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(path: Path, right: int) -> Path:
    """Hybrid is right on the first so many questions, rag-only on none."""
    return write(
        path,
        [
            {"question_id": f"q{at}", "setup": setup, "answer": f"v{at}" if setup == "hybrid" and at < right else "no"}
            for at in range(30)
            for setup in ("rag-only", "hybrid")
        ],
    )


def test_a_gate_ends_with_status_1_and_the_figures_and_the_report_is_written(
    ragft: Callable[..., Any], config: Path, tmp_path: Path
) -> None:
    met = ragft("score", "-c", config, "--records", answers(tmp_path / "a.jsonl", 25), "--fail-if", GATE, "--json")
    assert met.status == 0, met.err
    assert met.values["gates"][GATE]["failed"] is False
    missed = ragft("score", "-c", config, "--records", answers(tmp_path / "b.jsonl", 1), "--fail-if", GATE, "--json")
    assert missed.status == 1
    assert "The gate is not met by 1 of 1 conditions" in missed.err
    assert "95 % interval" in missed.err
    folder = Path(missed.values["folder"])
    assert (folder / "report.md").read_text(encoding="utf-8").startswith("# small")


def test_a_wrong_condition_is_refused_before_anything_is_done(
    ragft: Callable[..., Any], config: Path, tmp_path: Path
) -> None:
    ended = ragft("score", "-c", config, "--records", answers(tmp_path / "a.jsonl", 1), "--fail-if", "hybrid below 2")
    assert ended.status == 2
    assert "is no condition" in ended.err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--against", "nowhere"), "holds no evaluation"),
        (("--fail-if", "hybrid.chrf < 0.5"), "chrf is not computed: name it in evaluate.metrics"),
        (("--fail-if", "hybrid.exact_match < 80"), "a share lies between 0 and 1"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_anything_is_asked(
    ragft: Callable[..., Any], config: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], reason: str
) -> None:
    monkeypatch.setattr("ragft.stages.evaluation.evaluate", lambda app: pytest.fail("questions were asked"))
    ended = ragft("evaluate", "-c", config, *words)
    assert ended.status == 2 and reason in ended.err


def test_a_file_of_metrics_that_ends_the_program_passes_no_gate(
    ragft: Callable[..., Any], config: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text("import sys\nsys.exit(0)\n")
    made = answers(tmp_path / "a.jsonl", 1)
    ended = ragft("score", "-c", config, "--records", made, "--set", f"evaluate.metrics_file={own}", "--fail-if", GATE)
    assert ended.status == 2 and "line 2 does not run: SystemExit" in ended.err


def test_two_evaluations_are_compared_by_their_folders(ragft: Callable[..., Any], config: Path, tmp_path: Path) -> None:
    before = ragft("score", "-c", config, "--records", answers(tmp_path / "a.jsonl", 5), "--json").values["folder"]
    after = ragft(
        "score", "-c", config, "--records", answers(tmp_path / "b.jsonl", 25), "--against", before, "--json"
    ).values
    assert len(after["against"]["changed"]) == 20
    ended = ragft("compare", before, after["folder"])
    assert ended.status == 0
    assert "now right on 20" in ended.out
    assert ragft("compare", before, tmp_path).status == 2
