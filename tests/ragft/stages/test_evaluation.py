"""The evaluation scores answers that exist: rules, statistics and metrics change without an engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.domains import Domain, Quiet
from support.evaluated import COUNT, Evaluated, evaluated, snapshot_of_hits
from support.evaluation import passage, question, record

from ragft.artifacts import Artifact, build
from ragft.errors import RagftError, UsageError
from ragft.evaluate.metrics import METRICS, Score, metric
from ragft.setups import SETUPS
from ragft.stages.evaluation import evaluate, looked_up, planned, score, score_file


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


@pytest.mark.medium
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


@pytest.mark.medium
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


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"answer": None}, "line 1 is not a record: field 'answer' should be a text, not None"),
        ({"setup": " "}, "field 'setup' is empty"),
        ({"anwser": "x"}, "there is no field 'anwser'; there are question_id, "),
    ],
    ids=str,
)
def test_a_line_that_is_no_record_is_refused_in_words(run: Evaluated, line: dict[str, Any], reason: str) -> None:
    path = run.folder / "records.jsonl"
    path.write_text(json.dumps({"question_id": "q1", "setup": "hybrid", "answer": "x", **line}) + "\n")
    with pytest.raises(RagftError, match=reason):
        score_file(run.application(), path, None)


def test_answers_of_several_models_and_indexes_are_told_with_their_number(run: Evaluated) -> None:
    rows = [
        {
            "question_id": f"q{number}", "setup": setup, "answer": "x", "index_version": index,
            "model_version": "m2" if setup == "rag-only" and number < 2 else "m1",
        }
        for number in range(COUNT)
        for setup, index in (("rag-only", "s1"), ("hybrid", "s2"))
    ]  # fmt: skip
    path = run.folder / "records.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    score_file(app := run.application(), path, None)
    assert isinstance(app.reporter, Quiet)
    said = " ".join(app.reporter.said)
    assert "The answers of rag-only are by 2 models, 5 of m1 and 2 of m2" in said
    assert "searched different indexes, so they may differ by those alone (s1: rag-only; s2: hybrid)" in said


def test_sources_that_the_index_lacks_are_counted_and_named(run: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.store.snapshot.Snapshot.open", lambda *_: snapshot_of_hits())
    asked = [question(id="q1", sources=("gone.md", "mysql.md")), question(id="q2", sources=("mysql.md",))]
    made = [record("x", question_id=one.id, passages=(replace(passage("y"), path=("y",)),)) for one in asked]
    where = looked_up(app := run.application(), asked, made)
    assert list(where.absent) == ["q1"]
    assert isinstance(app.reporter, Quiet)
    assert app.reporter.said == ["The index lacks sources of 1 question: gone.md (q1)."]


def test_one_question_under_two_ids_is_refused_in_files_too(run: Evaluated) -> None:
    path = run.folder / "twice.jsonl"
    path.write_text("".join(json.dumps({"id": n, "question": "When?", "answers": ["x"]}) + "\n" for n in "ab"))
    records = run.folder / "records.jsonl"
    records.write_text("".join(json.dumps({"question_id": n, "setup": "a", "answer": "x"}) + "\n" for n in "ab"))
    with pytest.raises(UsageError, match="'b'"):
        score_file(run.application(), records, path)


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
    with (run.folder / "questions.jsonl").open("a") as file:
        rows = ({"id": f"n{n}", "question": f"No answer {n}?", "answerable": False, "group": "none"} for n in range(9))
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    sizes = {name: planned(run.application(evaluate={"decides": name}), 5)[0].questions_per_document
             for name in ("token_f1", "rouge_l")}  # fmt: skip
    assert sizes["token_f1"] > sizes["rouge_l"] == 1, "rouge_l does not apply to those without an answer"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"metrics": ["nonsense"]}, r"evaluate\.metrics: there is no metric 'nonsense'"),
        ({"decides": "nonsense"}, r"evaluate\.decides: there is no metric 'nonsense'; .* choose among exact_match, "),
        ({"decides": "latency_ms"}, r"evaluate\.decides: latency_ms measures cost in ms; what decides on facts is a"),
        ({"decides": "format_validity"}, r"evaluate\.decides: format_validity is about form; "),
        ({"decides": "choice_accuracy"}, r"choice_accuracy, which needs answer\.choices"),
    ],
    ids=str,
)
def test_a_metric_that_cannot_be_told_is_refused_before_anything_is_asked(
    run: Evaluated, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        run(evaluate=settings)
    assert not run.engines


def test_a_metric_of_ones_own_decides(run: Evaluated) -> None:
    own = run.folder / "own.py"
    own.write_text(
        "from ragft.evaluate.metrics import Score, metric\n"
        "@metric('digits', axis='facts', title='digits in it')\n"
        "def digits(question, record, rules): return Score(float(any(map(str.isdigit, record.answer))))\n"
    )
    made = run(evaluate={"metrics_file": own, "decides": "digits"})
    assert comparison_of(made)["decides"]["title"] == "digits in it"
    assert made.figures["hybrid"]["digits"] == 1.0
    assert "digits in it" in (made.folder / "report.html").read_text()
