"""The evaluation scores answers that exist: rules, statistics and metrics change without an engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.domains import Domain
from support.evaluated import COUNT, Evaluated, evaluated

from ragft.artifacts import Artifact, build
from ragft.errors import RagftError, UsageError
from ragft.evaluate.metrics import METRICS, Score, metric
from ragft.setups import SETUPS
from ragft.stages.evaluation import evaluate, planned, score, score_file


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    return evaluated(tmp_path, monkeypatch)


@pytest.fixture
def new_metric() -> Iterator[str]:
    """A metric that is added after the answers were generated."""
    metric("brevity", axis="form")(lambda question, record, rules: Score(1.0))
    yield "brevity"
    del METRICS["brevity"]


def comparison_of(artifact: Artifact) -> dict[str, Any]:
    return dict(json.loads((artifact.folder / "comparison.json").read_text()))


def test_evaluation_holds_scores_comparison_and_report(run: Evaluated) -> None:
    artifact = run()
    names = {"manifest.json", "questions.jsonl", "scores.jsonl", "causes.jsonl", "comparison.json"}
    assert {path.name for path in artifact.folder.iterdir()} == names | {"report.html", "report.md"}
    assert set(artifact.figures) == set(SETUPS)
    assert comparison_of(artifact)["setups"]["hybrid"]["exact_match"]["n"] == COUNT


def test_prices_are_added_where_rates_are_given(run: Evaluated) -> None:
    assert comparison_of(run())["costs"] == {}
    costs = comparison_of(run(evaluate={"cost": {"hour": 1.0}}))["costs"]
    assert set(costs["setups"]) == set(SETUPS) and costs["currency"] == "EUR"
    assert len(costs["payback"]) == 4
    assert all(one["volume"] is None and one["reason"] for one in costs["payback"])  # its training is not known


def test_scoring_again_finds_the_same_evaluation_and_generates_nothing(run: Evaluated) -> None:
    first = run()
    run.engines.clear()
    assert score(run.application()) == run() == first
    assert run.engines == []


@pytest.mark.parametrize(
    "change",
    [
        {"answer": {"format": r".*\[1\]"}},
        {"answer": {"value": r"(\d+)"}},
        {"answer": {"refusal": "No."}},
        {"evaluate": {"resamples": 300}},
        {"seed": 1},
    ],
    ids=str,
)
def test_other_rules_or_statistics_score_again_and_generate_nothing(run: Evaluated, change: dict[str, Any]) -> None:
    first = run()
    run.engines.clear()
    again = run(**change)
    assert again.fingerprint != first.fingerprint and run.engines == []
    assert again == score(run.application(**change))


def test_new_metric_and_a_new_version_of_one_score_again_and_generate_nothing(
    run: Evaluated, new_metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.delitem(METRICS, new_metric)
        first = run()
    run.engines.clear()
    second = run()
    assert comparison_of(second)["setups"]["hybrid"][new_metric]["mean"] == 1.0
    monkeypatch.setitem(
        METRICS, new_metric, METRICS[new_metric].__class__(**{**vars(METRICS[new_metric]), "version": 2})
    )
    third = run()
    assert len({first.fingerprint, second.fingerprint, third.fingerprint}) == 3 and run.engines == []


def test_right_answers_that_were_corrected_score_again_and_generate_nothing(run: Evaluated) -> None:
    first = run()
    run.engines.clear()
    path = run.folder / "questions.jsonl"
    path.write_text(path.read_text().replace("2027-04-30", "2028-04-30"))
    again = run()
    assert run.engines == []
    assert [first.figures["hybrid"]["exact_match"], again.figures["hybrid"]["exact_match"]] == [1.0, 0.0]


def test_what_is_not_answered_yet_is_named(run: Evaluated) -> None:
    with pytest.raises(RagftError, match=r"no answers of prompt-only, rag-only, fine-tuned, hybrid .*ragft evaluate"):
        score(run.application())
    run(evaluate={"setups": ["rag-only"]})
    with pytest.raises(RagftError, match="no answers of prompt-only, fine-tuned, hybrid "):
        score(run.application())
    assert set(score(run.application(evaluate={"setups": ["rag-only"]})).figures) == {"rag-only"}


def test_too_many_failed_answers_refuse_the_comparison(run: Evaluated) -> None:
    run.failures["Question 3?"] = RagftError("too long for this model")
    artifact = run(evaluate={"max_failed": 0.5})
    comparison = comparison_of(artifact)
    assert comparison["failed"] == len(SETUPS)
    assert comparison["setups"]["hybrid"]["exact_match"]["n"] == COUNT
    assert comparison["failures"]["hybrid"]["answers"] == 1
    with pytest.raises(RagftError, match=r"1 of the 7 records of prompt-only could not be .*too long for this model"):
        score(run.application())


def test_answers_that_were_made_elsewhere_are_scored(run: Evaluated) -> None:
    records = run.folder / "records.jsonl"
    rows = [
        {"question_id": f"q{number}", "setup": setup, "answer": answer}
        for number in range(COUNT)
        for setup, answer in (("another product", "2027-04-30"), ("hybrid", "no idea"))
    ]
    records.write_text("".join(json.dumps(row) + "\n" for row in rows))
    artifact = score_file(run.application(), records, run.folder / "questions.jsonl")
    assert list(artifact.figures) == ["hybrid", "another product"]
    assert [figures["exact_match"] for figures in artifact.figures.values()] == [0.0, 1.0]
    assert "another product" in (artifact.folder / "report.html").read_text()
    assert score_file(run.application(), records, None).figures == artifact.figures
    with pytest.raises(RagftError, match="line 1 is not a record"):
        records.write_text('{"question_id": "q1"}\n')
        score_file(run.application(), records, None)


def test_questions_that_were_trained_on_are_not_evaluated(domain: Domain) -> None:
    app = domain.application()
    app.registry.deploy(build(domain.workspace / "models", "model", {}, lambda folder: {})[0])
    domain.lines("questions.jsonl", [{"id": "q", "question": "Who wrote MySQL", "answers": ["Monty"]}])
    with pytest.raises(UsageError, match="question 'q' is example 'line-4'"):
        evaluate(app)


def test_a_plan_counts_with_as_many_questions_a_document_as_there_are(run: Evaluated) -> None:
    independent, little, much = planned(run.application(), 5)
    assert independent.questions <= little.questions <= much.questions
    assert independent.tests == 6 and independent.difference == 0.05
    assert independent.questions_per_document >= 1
    assert run.engines == [], "nothing is asked"
    with pytest.raises(UsageError, match="between 0 and 100 points, not 0"):
        planned(run.application(), 0)


def test_a_metric_that_there_is_not_is_refused_before_anything_is_asked(run: Evaluated) -> None:
    with pytest.raises(UsageError, match="there is no metric 'nonsense'"):
        run(evaluate={"metrics": ["nonsense"]})
    assert not run.engines
