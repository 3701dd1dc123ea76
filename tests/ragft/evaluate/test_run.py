"""The run of a comparison: every question in every setup, once, whatever happens on the way."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.fakes import FakeEngine, FakeRetriever, Quiet, hit

from ragft.artifacts import Artifact
from ragft.config import Config
from ragft.errors import EngineDead, RagftError
from ragft.evaluate.records import Record, read_records
from ragft.evaluate.run import chosen_questions, evaluate
from ragft.setups import SETUPS

HITS = (hit("node.md", "Node.js 22", "Ends 2027-04-30."), hit("mysql.md", "MySQL 8.0", "Ends 2026-04-30."))
VERSIONS = {"base": "base-model", "tuned": "tuned-model"}
COUNT = 7


@dataclass
class Run:
    """An evaluation over stand-ins, in a folder; engines remember what they were asked."""

    folder: Path
    failures: dict[str, Exception] = field(default_factory=dict)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    started: list[str] = field(default_factory=list)
    engines: list[FakeEngine] = field(default_factory=list)
    retriever: FakeRetriever = field(default_factory=lambda: FakeRetriever(HITS))

    def config(self, **sections: Any) -> Config:
        values: dict[str, Any] = {"name": "desk", "engine": {"max_sequences": 2}}
        values["data"] = {"questions": self.folder / "questions.jsonl"}
        values["evaluate"] = {"resamples": 200, **sections.pop("evaluate", {})}
        return Config.model_validate({**values, **sections})

    def engine_for(self, model: str) -> FakeEngine:
        assert not any(engine.running for engine in self.engines), "two models in memory"
        engine = FakeEngine(model_version=VERSIONS[model], failures=self.failures)
        self.engines.append(engine)
        self.started.append(model)
        return engine

    def __call__(self, **sections: Any) -> tuple[Artifact, bool]:
        self.engines.clear()
        try:
            return evaluate(
                self.config(**sections), self.folder / "out", self.retriever, VERSIONS, self.engine_for, Quiet()
            )  # type: ignore[arg-type]
        finally:
            for engine in self.engines:
                for messages in engine.asked:
                    self.asked[engine.model_version, messages[-1]["content"]] += 1


@pytest.fixture
def run(tmp_path: Path) -> Run:
    rows = [{"id": f"q{n}", "question": f"Question {n}?", "answers": ["2027-04-30"]} for n in range(COUNT)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Run(tmp_path)


def records_of(artifact: Artifact) -> dict[tuple[str, str], Record]:
    records = read_records(artifact.folder / "records.jsonl")
    by_key = {(record.question_id, record.setup): record for record in records}
    assert len(by_key) == len(records)
    return by_key


def test_every_question_is_answered_in_every_setup(run: Run) -> None:
    artifact, made = run()
    records = records_of(artifact)
    assert made
    assert set(records) == {(f"q{n}", setup) for n in range(COUNT) for setup in SETUPS}
    for (_, name), record in records.items():
        setup = SETUPS[name]
        assert (record.answer, record.citations, record.error) == ("2027-04-30 [1]", (1,), None)
        assert record.model_version == VERSIONS[setup.model]
        assert record.index_version == ("snapshot-1" if setup.retrieval else None)
        assert len(record.passages) == (2 if setup.retrieval else 0)
        # What a user waits for begins with the search.
        assert (record.ttft_ms, record.total_ms) == ((11.5, 21.5) if setup.retrieval else (10.0, 20.0))
        assert (record.prompt_tokens, record.answer_tokens) == (2, 3)


def test_evaluation_holds_all_its_files(run: Run) -> None:
    artifact, _ = run()
    names = {"manifest.json", "records.jsonl", "scores.jsonl", "retrieval.jsonl", "comparison.json", "report.html"}
    assert {path.name for path in artifact.folder.iterdir()} == names
    assert set(artifact.figures) == set(SETUPS)


def test_both_setups_with_retrieval_see_the_same_passages(run: Run) -> None:
    records = records_of(run()[0])
    for number in range(COUNT):
        assert records[f"q{number}", "rag-only"].passages == records[f"q{number}", "hybrid"].passages
    # Searched once for all setups, not once for each.
    assert run.retriever.asked == [f"Question {number}?" for number in range(COUNT)]


def test_one_model_is_in_memory_at_a_time(run: Run) -> None:
    run()
    assert run.started == ["base", "tuned"]
    assert not any(engine.running for engine in run.engines)


def test_finished_evaluation_is_not_run_again(run: Run) -> None:
    first, _ = run()
    again, made = run()
    assert (again, made) == (first, False)
    assert run.started == ["base", "tuned"]


def test_interrupted_run_goes_on_and_asks_nothing_twice(run: Run) -> None:
    # The batch of q4 and q5 dies; what was answered before it stays.
    run.failures["Question 4?"] = EngineDead("it was killed")
    with pytest.raises(EngineDead):
        run()
    assert not list((run.folder / "out").glob("*/manifest.json"))
    assert not any(engine.running for engine in run.engines)
    answered = Counter(run.asked)
    run.failures.clear()
    artifact, made = run()
    assert made and len(records_of(artifact)) == COUNT * len(SETUPS)
    twice = {question for (_, question), count in run.asked.items() if count > 1}
    assert twice == {"Question: Question 4?", "Question: Question 5?"}  # the batch that died
    assert len(answered) == 6


def test_half_written_record_is_written_anew(run: Run) -> None:
    run.failures["Question 4?"] = EngineDead("it was killed")
    with pytest.raises(EngineDead):
        run()
    (path,) = (run.folder / "out").glob(".*.growing/records.jsonl")
    path.write_bytes(path.read_bytes()[:-20])
    run.failures.clear()
    assert len(records_of(run()[0])) == COUNT * len(SETUPS)


def test_question_that_fails_is_a_failed_record_and_the_rest_goes_on(run: Run) -> None:
    run.failures["Question 3?"] = RagftError("too long for this model")
    artifact, _ = run(evaluate={"max_failed": 0.5})
    records = records_of(artifact)
    failed = {key for key, record in records.items() if record.error == "too long for this model"}
    assert failed == {("q3", setup) for setup in SETUPS}
    assert len(records) == COUNT * len(SETUPS)
    assert records["q3", "hybrid"].passages and records["q3", "hybrid"].total_ms is None
    comparison = json.loads((artifact.folder / "comparison.json").read_text())
    assert comparison["failed"] == len(SETUPS)
    assert comparison["setups"]["hybrid"]["exact_match"]["n"] == COUNT - 1


def test_too_many_failures_refuse_the_comparison(run: Run) -> None:
    run.failures["Question 3?"] = RagftError("too long for this model")
    with pytest.raises(RagftError, match=r"4 of 28 records could not be scored .*too long for this model"):
        run()
    assert not list((run.folder / "out").glob("*/manifest.json"))


def test_dead_engine_ends_the_run(run: Run) -> None:
    run.failures["Question 0?"] = EngineDead("it was killed")
    with pytest.raises(EngineDead, match="it was killed"):
        run()
    assert run.started == ["base"]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"prompt": {"system": "Other style."}},
        {"engine": {"max_sequences": 2, "max_tokens": 5}},
        {"index": {"top_k": 1}},
        {"index": {"rrf_k": 1}},
        {"index": {"depth": 9}},
        {"index": {"rerank_depth": 9}},
        {"index": {"filter": {"year": 2024}}},
        {"evaluate": {"labels": ["staff"]}},
        {"evaluate": {"limit": 3}},
        {"evaluate": {"setups": ["hybrid", "rag-only"]}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_setting_is_another_evaluation(run: Run, change: dict[str, Any]) -> None:
    first, _ = run()
    other, made = run(**change)
    assert made and other.fingerprint != first.fingerprint


def test_another_index_model_or_question_is_another_evaluation(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprints = {run()[0].fingerprint}
    run.retriever = FakeRetriever(HITS, index_version="snapshot-2")
    fingerprints.add(run()[0].fingerprint)
    monkeypatch.setitem(VERSIONS, "tuned", "another-model")
    fingerprints.add(run()[0].fingerprint)
    with (run.folder / "questions.jsonl").open("a") as file:
        file.write('{"id": "new", "question": "New?", "answers": ["yes"]}\n')
    fingerprints.add(run()[0].fingerprint)
    for judge in ("one", "another"):
        run.retriever.reranker = SimpleNamespace(fingerprint=judge)  # type: ignore[assignment]
        fingerprints.add(run()[0].fingerprint)
    assert len(fingerprints) == 6


@pytest.mark.parametrize(
    ("labels", "sees"), [(None, None), ([], frozenset()), (["staff"], frozenset({"staff"})), (["*"], None)], ids=str
)
def test_an_evaluation_sees_everything_unless_it_stands_for_a_caller(
    run: Run, labels: list[str] | None, sees: frozenset[str] | None
) -> None:
    run(evaluate={"labels": labels})
    assert set(run.retriever.restrictions) == {(None, sees)}


def test_setups_without_retrieval_need_no_index(run: Run) -> None:
    run.retriever = None  # type: ignore[assignment]
    artifact, _ = run(evaluate={"setups": ["prompt-only", "fine-tuned"]})
    assert {setup for _, setup in records_of(artifact)} == {"prompt-only", "fine-tuned"}
    assert not (artifact.folder / "retrieval.jsonl").exists()


def test_limit_draws_a_seeded_subset_in_the_order_of_the_file(run: Run) -> None:
    def drawn(**sections: Any) -> list[str]:
        return [question.id for question in chosen_questions(run.config(**sections))]

    everything = [f"q{n}" for n in range(COUNT)]
    assert drawn() == drawn(evaluate={"limit": COUNT}) == drawn(evaluate={"limit": 99}) == everything
    three = drawn(evaluate={"limit": 3})
    assert len(three) == 3 and three == sorted(three) == drawn(evaluate={"limit": 3})
    assert len({tuple(drawn(evaluate={"limit": 3}, seed=seed)) for seed in range(9)}) > 1
