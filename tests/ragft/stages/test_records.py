"""Records: every question in every setup, once, whatever happens on the way; and what makes them stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import in_order
from support.evaluated import COUNT, Evaluated, evaluated, records_of
from support.fakes import FakeHost

from ragft.artifacts import Artifact
from ragft.engine.adapter import Adapter
from ragft.engine.base import EngineDead
from ragft.engine.live import LiveEngine, Shared
from ragft.errors import RagftError
from ragft.evaluate.records import append_records, read_records
from ragft.setups import SETUPS
from ragft.stages import records as stage
from ragft.stages.application import Application
from ragft.stages.records import records


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    return evaluated(tmp_path, monkeypatch)


def made(run: Evaluated, **sections: Any) -> dict[str, Artifact]:
    return {name: asked.records for name, asked in records(run.application(**sections)).items()}


def fingerprints(run: Evaluated, **sections: Any) -> dict[str, str]:
    return {name: artifact.fingerprint for name, artifact in made(run, **sections).items()}


def test_every_question_is_answered_in_every_setup(run: Evaluated) -> None:
    app = run.application()
    artifacts = {name: asked.records for name, asked in records(app).items()}
    assert list(artifacts) == list(SETUPS)
    made = {"questions": COUNT, "failed": 0, "at_once": 2}
    assert all(artifact.figures == made for artifact in artifacts.values())
    found = records_of(app)
    assert set(found) == {(f"q{n}", setup) for n in range(COUNT) for setup in SETUPS}
    for (_, name), record in found.items():
        setup = SETUPS[name]
        assert (record.answer, record.citations, record.error) == ("2027-04-30 [1]", (1,), None)
        assert record.model_version == run.version(setup.model)
        assert record.index_version == ("snapshot-1" if setup.retrieval else None)
        assert len(record.passages) == (2 if setup.retrieval else 0)
        # The search was for all questions at once: a share of it is nobody's wait.
        assert (record.ttft_ms, record.total_ms) == (10.0, 20.0)
        assert (record.prompt_tokens, record.answer_tokens) == (2, 3)


def test_both_setups_with_retrieval_see_the_same_passages(run: Evaluated) -> None:
    app = run.application()
    records(app)
    found = records_of(app)
    for number in range(COUNT):
        assert found[f"q{number}", "rag-only"].passages == found[f"q{number}", "hybrid"].passages
    # Searched once for all setups, not once for each.
    assert run.retriever.asked == [(f"Question {number}?", None) for number in range(COUNT)]


def test_passages_lie_beside_the_records_of_setups_that_retrieve(run: Evaluated) -> None:
    for name, artifact in made(run).items():
        names = {"manifest.json", "records.jsonl"} | ({"retrieval.jsonl"} if SETUPS[name].retrieval else set())
        assert {path.name for path in artifact.folder.iterdir()} == names


def test_one_model_is_in_memory_at_a_time(run: Evaluated) -> None:
    made(run)
    assert [engine.version for engine in run.engines] == [run.version("base"), run.version("tuned")]
    assert not any(engine.started for engine in run.engines)


def test_live_adapters_answer_from_one_engine_and_their_records_are_others(
    run: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged, hosts = fingerprints(run), list[FakeHost]()

    def engines(app: Application, folders: dict[str, Path]) -> dict[str, LiveEngine]:
        hosts.append(FakeHost(version=run.version("base")))
        shared = Shared(hosts[-1])
        adapters = {"base": None, "tuned": Adapter(folders["tuned"], "live", 8)}
        return {model: LiveEngine(shared, adapters[model], lambda folder: Adapter(folder, "", 8)) for model in folders}

    monkeypatch.setattr(stage, "engines", engines)
    app = run.application(serve={"adapters": "live"})
    found = {name: asked.records for name, asked in records(app).items()}
    assert set(found) == set(merged) and not {one.fingerprint for one in found.values()} & set(merged.values())
    first = {name: read_records(artifact.folder / "records.jsonl")[0] for name, artifact in found.items()}
    told = {name: (record.answer, record.model_version) for name, record in first.items()}
    base = ("base", run.version("base"))
    assert told == {"prompt-only": base, "rag-only": base, "fine-tuned": ("live", "live"), "hybrid": ("live", "live")}
    assert [(host.starts, host.closed) for host in hosts] == [(1, True)]


def test_records_that_exist_are_not_made_again_and_nothing_is_loaded_for_them(run: Evaluated) -> None:
    before = fingerprints(run)
    run.engines.clear()
    run.retriever.asked.clear()
    assert fingerprints(run) == before
    assert (run.engines, run.retriever.asked) == ([], [])


def test_interrupted_run_goes_on_and_asks_nothing_twice(run: Evaluated) -> None:
    # The engine dies of q4; what was answered before it stays, and q5 is not asked any more.
    run.failures["Question 4?"] = EngineDead("it was killed")
    with pytest.raises(EngineDead):
        made(run)
    app = run.application()
    assert not list((app.workspace / "records").glob("*/manifest.json"))
    assert not any(engine.started for engine in run.engines)
    assert len(run.asked()) == 5
    run.failures.clear()
    records(app)
    assert len(records_of(app)) == COUNT * len(SETUPS)
    twice = {question for (_, question), count in run.asked().items() if count > 1}
    assert twice == {"Question: Question 4?"}


def test_half_written_record_is_written_again(run: Evaluated) -> None:
    run.failures["Question 4?"] = EngineDead("it was killed")
    with pytest.raises(EngineDead):
        made(run)
    app = run.application()
    (path,) = (app.workspace / "records").glob(".*.growing/records.jsonl")
    path.write_bytes(path.read_bytes()[:-20])
    run.failures.clear()
    records(app)
    assert len(records_of(app)) == COUNT * len(SETUPS)


def test_question_that_fails_is_a_failed_record_and_the_rest_goes_on(run: Evaluated) -> None:
    run.failures["Question 3?"] = RagftError("too long for this model")
    app = run.application(evaluate={"max_failed": 0.5})
    records(app)
    found = records_of(app)
    failed = {key for key, record in found.items() if record.error == "too long for this model"}
    assert failed == {("q3", setup) for setup in SETUPS}
    assert len(found) == COUNT * len(SETUPS)
    assert found["q3", "hybrid"].passages and found["q3", "hybrid"].total_ms is None


def test_too_many_failures_publish_nothing_and_are_asked_again(run: Evaluated) -> None:
    run.failures["Question 3?"] = RagftError("too long for this model")
    with pytest.raises(RagftError, match=r"1 of 7 answers of prompt-only failed, more than evaluate\.max_failed = "):
        made(run)
    app = run.application()
    assert not list((app.workspace / "records").glob("*/manifest.json"))
    run.failures.clear()
    records(app)
    assert all(record.error is None for record in records_of(app).values())


def test_dead_engine_ends_the_run(run: Evaluated) -> None:
    run.failures["Question 0?"] = EngineDead("it was killed")
    with pytest.raises(EngineDead, match="it was killed"):
        made(run)
    assert [engine.version for engine in run.engines] == [run.version("base")]


RETRIEVING = {name for name, setup in SETUPS.items() if setup.retrieval}


@pytest.mark.medium
@pytest.mark.parametrize(
    ("change", "stale"),
    [
        ({"prompt": {"system": "Other style."}}, set(SETUPS)),
        ({"engine": {"max_num_seqs": 2, "max_tokens": 5}}, set(SETUPS)),
        ({"engine": {"max_num_seqs": 2, "dtype": "float32"}}, set(SETUPS)),
        ({"evaluate": {"limit": 3}}, set(SETUPS)),
        ({"index": {"search": {"top_k": 1}}}, RETRIEVING),
        ({"index": {"search": {"rrf_k": 1}}}, RETRIEVING),
        ({"index": {"search": {"candidates": 9}}}, RETRIEVING),
        ({"index": {"search": {"rerank_candidates": 9}}}, RETRIEVING),
        ({"index": {"search": {"filter": {"year": 2024}}}}, RETRIEVING),
        ({"evaluate": {"labels": ["staff"]}}, RETRIEVING),
        ({"answer": {"format": ".*", "value": "(.*)", "refusal": "No."}}, set()),
        ({"evaluate": {"resamples": 300}}, set()),
        ({"seed": 1}, set()),
        ({"engine": {"max_num_seqs": 3, "kv_cache_mib": 64}}, set()),
        ({"index": {"encoder": {"device": "cuda"}, "refresh": {"allow_removal": 0.1}}}, set()),
        ({"serve": {"port": 1}, "finetune": {"rank": 4}, "merge": {"prompts": 1}}, set()),
    ],
    ids=in_order,
)
def test_a_setting_makes_the_records_stale_that_it_decides(
    run: Evaluated, change: dict[str, Any], stale: set[str]
) -> None:
    before, after = fingerprints(run), fingerprints(run, **change)
    assert {name for name in SETUPS if before[name] != after[name]} == stale


def test_another_model_index_or_reranker_makes_the_records_stale_that_it_decides(run: Evaluated) -> None:
    before = fingerprints(run)

    def stale() -> set[str]:
        nonlocal before
        then, before = before, fingerprints(run)
        return {name for name in SETUPS if before[name] != then[name]}

    run.model("tuned", b"other weights")
    assert stale() == {name for name, setup in SETUPS.items() if setup.tuned}
    run.index = "snapshot-2"
    assert stale() == RETRIEVING
    run.reranker = "a cross-encoder"
    assert stale() == RETRIEVING


def test_only_what_is_asked_decides_the_records(run: Evaluated) -> None:
    before = fingerprints(run)
    path = run.folder / "questions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**row, "answers": ["other"], "tags": ["new"]}) + "\n" for row in rows))
    assert fingerprints(run) == before
    path.write_text("".join(json.dumps({**row, "question": row["question"] + "!"}) + "\n" for row in rows))
    assert not set(fingerprints(run).values()) & set(before.values())


@pytest.mark.parametrize(
    ("labels", "sees"), [(None, None), ([], frozenset()), (["staff"], frozenset({"staff"})), (["*"], None)], ids=str
)
def test_an_evaluation_sees_everything_unless_it_stands_for_a_caller(
    run: Evaluated, labels: list[str] | None, sees: frozenset[str] | None
) -> None:
    made(run, evaluate={"labels": labels})
    assert set(run.retriever.restrictions) == {(None, sees)}


def test_setups_without_retrieval_need_no_index(run: Evaluated) -> None:
    run.retriever = None  # type: ignore[assignment]
    assert set(made(run, evaluate={"setups": ["prompt-only", "fine-tuned"]})) == {"prompt-only", "fine-tuned"}


def test_failed_answers_of_an_interrupted_run_are_asked_again(run: Evaluated) -> None:
    run.failures["Question 4?"] = EngineDead("it was killed")
    with pytest.raises(EngineDead):
        made(run)
    app = run.application()
    (path,) = (app.workspace / "records").glob(".*.growing/records.jsonl")
    answered = read_records(path)
    path.unlink()
    append_records(path, [*answered[:-1], type(answered[-1])("q3", "prompt-only", "", error="the queue was full")])
    run.failures.clear()
    records(app)
    assert records_of(app)["q3", "prompt-only"].error is None
