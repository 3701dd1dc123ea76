"""Arms are answered and recorded like setups, compared with them, and take no part in their verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.domains import Quiet
from support.evaluated import COUNT, Evaluated, evaluated, records_of
from support.fakes import FakeEngine

from index.documents.chunking import Chunk
from ragft.artifacts import Artifact
from ragft.config import ArmSection, Config
from ragft.data.rows import Row
from ragft.engine.base import EngineDead
from ragft.errors import RagftError, UsageError
from ragft.setups import SETUPS
from ragft.stages import arms, records

REMOTE = {"url": "https://models.example.com/v1", "model": "large", "key_variable": "EXAMPLE_KEY"}
SECRET = "sk-secret"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    monkeypatch.setenv("EXAMPLE_KEY", SECRET)
    return evaluated(tmp_path, monkeypatch)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> list[FakeEngine]:
    """The engines that stand in for servers, in the order in which they were opened."""
    opened: list[FakeEngine] = []

    def engine(url: str, model: str, key: str) -> FakeEngine:
        assert key in (SECRET, "")
        opened.append(FakeEngine(["right"], f"{url} {model}"))
        return opened[-1]

    monkeypatch.setattr(arms, "RemoteEngine", engine)
    return opened


def comparison(artifact: Artifact) -> dict[str, Any]:
    return dict(json.loads((artifact.folder / "comparison.json").read_text()))


@pytest.mark.medium
def test_an_arm_is_recorded_and_compared_beside_the_four(run: Evaluated, remote: list[FakeEngine]) -> None:
    alone = comparison(run())
    with_arm = comparison(run(evaluate={"arms": {"hosted": {**REMOTE, "passages": "retrieved"}}}))
    unchanged = ("setups", "pairs", "interaction", "verdict", "by_tag", "freshness", "questions")
    assert {key: with_arm[key] for key in unchanged} == {key: alone[key] for key in unchanged}
    assert list(with_arm["arms"]["setups"]) == ["hosted"]
    exact = [pair for pair in with_arm["arms"]["pairs"] if pair["metric"] == "exact_match"]
    assert [(pair["a"], pair["b"], pair["n"]) for pair in exact] == [("hosted", name, COUNT) for name in SETUPS]
    assert "hosted" in with_arm["causes"]
    found = records_of(run.application())
    assert found["q0", "hosted"].passages == found["q0", "hybrid"].passages
    assert found["q0", "hosted"].answer == "right"


@pytest.mark.medium
def test_another_arm_asks_none_of_the_others_again(run: Evaluated, remote: list[FakeEngine]) -> None:
    run(evaluate={"arms": {"hosted": REMOTE}})
    run.engines.clear()
    run(evaluate={"arms": {"hosted": REMOTE, "larger": {"model": "base", "passages": "retrieved"}}})
    assert sum(bool(engine.requests) for engine in remote) == 1
    assert [len(engine.requests) for engine in run.engines] == [COUNT]


def test_the_key_is_written_nowhere(run: Evaluated, remote: list[FakeEngine]) -> None:
    run(evaluate={"arms": {"hosted": REMOTE}})
    written = [path for path in run.folder.rglob("*") if path.is_file()]
    assert written and not any(SECRET.encode() in path.read_bytes() for path in written)


def test_an_arm_that_cannot_be_answered_is_left_out_and_said(run: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms, "RemoteEngine", lambda *_: FakeEngine(error=EngineDead("nobody answers")))
    app = run.application(evaluate={"arms": {"hosted": REMOTE}})
    made = records.records(app)
    assert list(made) == list(SETUPS)
    assert isinstance(app.reporter, Quiet)
    assert "The arm hosted is left out of the comparison: nobody answers" in app.reporter.said
    found = comparison(run(evaluate={"arms": {"hosted": REMOTE}}))
    assert found["arms"] == {} and found["failed"] == 0


def test_failures_of_an_arm_are_counted_and_no_score(run: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = FakeEngine(failures={"Question 3?": RagftError("timed out")})
    monkeypatch.setattr(arms, "RemoteEngine", lambda *_: failing)
    found = comparison(run(evaluate={"arms": {"hosted": REMOTE}, "max_failed": 0.2}))
    assert found["arms"]["setups"]["hosted"]["exact_match"]["failed"] == 1
    causes = {one["cause"]: one["count"] for one in found["causes"]["hosted"]}
    assert causes["failed"] == 1


def test_a_few_shot_prompt_shows_training_rows_before_the_question(
    run: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = Config(name="desk").prompt.system
    mixed = [
        Row(f"e{n}", kind, ({"role": "system", "content": system}, {"role": "user", "content": f"Asked {n}"},
            {"role": "assistant", "content": f"Said {n}"}))
        for n, kind in enumerate(("closed-book", "gold", "closed-book", "refusal", "gold", "closed-book"))
    ]  # fmt: skip
    monkeypatch.setattr(arms, "mix", lambda app: None)
    monkeypatch.setattr(arms, "rows", lambda app, part: mixed if part == "train" else [])
    few = {"few": {"shots": 2}, "few-rag": {"shots": 2, "passages": "retrieved"}}
    app = run.application(evaluate={"setups": ["prompt-only"], "arms": few})
    records.records(app)
    (engine,) = run.engines
    turns = {tuple(turn["content"] for turn in request.messages[1:-1]) for request in engine.requests}
    shown = {len(one) // 2: {text.split()[1] for text in one} for one in turns if one}
    assert len(turns) == 3 and () in turns and set(shown) == {2}
    closed, gold = {"0", "2", "5"}, {"1", "4"}
    numbers = [{text.split()[1] for text in one} for one in turns if one]
    assert any(one <= closed for one in numbers) and any(one <= gold for one in numbers)
    with pytest.raises(UsageError, match=r"evaluate.arms.few.shots is 4, and the mix has only 3 rows"):
        records.records(run.application(evaluate={"arms": {"few": {"shots": 4}}}))


def test_an_arm_may_arrange_its_prompt_otherwise(run: Evaluated) -> None:
    given = {"last": {"passages": "retrieved", "prompt": "format-last"}}
    app = run.application(evaluate={"setups": ["rag-only"], "arms": given})
    made = records.records(app)
    (engine,) = run.engines
    own, last = engine.asked[:COUNT], engine.asked[COUNT:]
    assert last == [f"{turn}\n\n{app.config.prompt.system}" for turn in own]
    assert made["last"].records.fingerprint != made["rag-only"].records.fingerprint


def test_the_oracle_sees_the_sources(run: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run.folder / "questions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["sources"] = ["node.md#Ends"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chunks = [
        Chunk("node.md", "Node", ("Node", "Ends"), 0, 5, "It is old.", ""),
        Chunk("node.md", "Node", ("Node", "Ends"), 5, 9, "Ends 2027-04-30.", ""),
        Chunk("node.md", "Node", ("Node", "Starts"), 9, 12, "Elsewhere.", ""),
    ]
    snapshot = type("Snapshot", (), {"id": "snapshot-1", "chunks": lambda self: iter(chunks)})()
    monkeypatch.setattr(records, "live_snapshot", lambda app: snapshot)
    app = run.application(evaluate={"setups": ["prompt-only"], "arms": {"oracle": {"passages": "gold"}}})
    records.records(app)
    found = records_of(app)
    assert [one.text for one in found["q0", "oracle"].passages] == [
        "Node > Ends\nEnds 2027-04-30.", "Node > Ends\nIt is old."
    ]  # fmt: skip
    assert found["q1", "oracle"].passages == () and found["q1", "oracle"].index_version == "snapshot-1"


def test_a_key_that_is_missing_is_refused_before_anything_is_asked(
    run: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXAMPLE_KEY")
    with pytest.raises(UsageError, match=r"evaluate\.arms\.hosted needs a key .* EXAMPLE_KEY"):
        run(evaluate={"arms": {"hosted": REMOTE}})
    assert run.engines == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"key_variable": "K"}, "no url"),
        ({"url": "http://example.com/v1", "key_variable": "K"}, "https"),
        ({"url": "ftp://example.com"}, "pattern"),
        ({"passages": "some"}, "none"),
    ],
)
def test_what_an_arm_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ArmSection.model_validate(values)
    ArmSection.model_validate({"url": "http://127.0.0.1:8000/v1", "key_variable": "K"})


@pytest.mark.parametrize("name", ["hybrid", "Large", "../x"])
def test_names_of_arms_are_their_own(name: str) -> None:
    with pytest.raises(ValidationError, match="arm"):
        Config.model_validate({"name": "desk", "evaluate": {"arms": {name: {}}}})
