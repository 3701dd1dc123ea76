"""The suite `seeds` over a small domain, with stand-ins for training, proof and engines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.commands import Ended
from support.domains import MIX, Domain
from support.fakes import FakeEngine

from ragft.artifacts import Artifact, model_version
from ragft.errors import RagftError, UsageError
from ragft.finetune import proof
from ragft.finetune.lineage import ADAPTER_FILES
from ragft.setups import SETUPS
from ragft.stages import application
from ragft.stages import seeds as stage
from ragft.stages.application import Application
from ragft.stages.data import rows, split
from ragft.stages.evaluation import evaluate
from ragft.stages.index import refresh
from ragft.stages.model import merge
from ragft.stages.seeds import Repetition, seeds

pytestmark = pytest.mark.usefixtures("loaded_encoder")
SEEDS = {"evaluate": {"seeds": [1, 2], "resamples": 200}}
QUESTIONS = 3


@dataclass
class Desk:
    """The domain and what was done in it.

    Attributes:
        trained, merged: seeds of the adapters and models that were made.
        asked: turns that engines answered, by model.
        fails: the seed whose training is interrupted.
        failures: what a question is answered with instead, by its text.
    """

    domain: Domain
    trained: list[int] = field(default_factory=list)
    merged: list[int] = field(default_factory=list)
    asked: list[FakeEngine] = field(default_factory=list)
    fails: int | None = None
    failures: dict[str, Exception] = field(default_factory=dict)

    def app(self, **sections: Any) -> Application:
        self.domain.configure(
            **{"data": {"split": {"validation_share": 0.25}, "mix": MIX}, **SEEDS, **sections},
        )
        return self.domain.application()

    @property
    def answers(self) -> int:
        return sum(len(engine.asked) for engine in self.asked)

    def deployed(self) -> dict[str, bytes]:
        """The files that say which model is deployed."""
        models = self.domain.workspace / "models"
        return {path.name: path.read_bytes() for path in models.iterdir() if path.is_file()}


@pytest.fixture
def desk(domain: Domain, monkeypatch: pytest.MonkeyPatch, chat_tokenizer: Any) -> Desk:
    made, build = Desk(domain), application.build

    def without_training(root: Path, kind: str, inputs: Mapping[str, Any], work: Any, **more: Any) -> Any:
        def trained(folder: Path) -> dict[str, Any]:
            if inputs["seed"] == made.fails:
                raise KeyboardInterrupt
            made.trained.append(inputs["seed"])
            (folder / "adapter").mkdir()
            for name in ADAPTER_FILES:
                (folder / "adapter" / name).write_text(folder.name)
            return {}

        def merged(folder: Path) -> dict[str, Any]:
            made.merged.append(made.trained[-1])
            (folder / "model.safetensors").write_text(folder.name)
            return {"version": folder.name}

        return build(root, kind, inputs, {"adapter": trained, "model": merged}.get(kind, work), **more)

    def engine(_: Application, folder: Path, **__: Any) -> FakeEngine:
        made.asked.append(FakeEngine(["2026-04-30 ", "[1]"], model_version(folder), failures=made.failures))
        return made.asked[-1]

    monkeypatch.setattr(application, "build", without_training)
    # Loaded and hashed once, not by each application.
    monkeypatch.setattr(Application, "tokenizer", chat_tokenizer)
    monkeypatch.setattr(Application, "base_hash", "base")
    monkeypatch.setattr(Application, "engine", engine)
    monkeypatch.setattr(proof.Proof, "read", lambda model: SimpleNamespace(figures=lambda rules: {}))
    monkeypatch.setattr(proof, "check_proof", lambda figures, limits: None)
    half_an_hour = SimpleNamespace(
        parts=[SimpleNamespace(seconds=1800.0)], sentence=lambda: "training 30 min (measured)"
    )
    monkeypatch.setattr(stage, "estimate", lambda app: half_an_hour)
    return made


@pytest.mark.medium
def test_what_the_comparison_has_is_the_first_run_and_nothing_is_deployed(desk: Desk) -> None:
    app = desk.app(evaluate={"resamples": 200})
    merge(app)
    compared = evaluate(app)
    before, answers = desk.deployed(), desk.answers
    assert (desk.trained, answers) == ([0], 4 * QUESTIONS)
    app = desk.app()
    found = seeds(app)
    assert desk.trained == desk.merged == [0, 1, 2]
    assert desk.answers == answers + 2 * 2 * QUESTIONS, "two tuned setups by two more models"
    assert desk.deployed() == before and set(before) >= {"CURRENT", "deployments.jsonl"}
    assert found.figures["seeds"] == [0, 1, 2]
    assert evaluate(app) == compared, "the seeds decide nothing of the comparison"
    scores = [json.loads(line) for line in (found.folder / "seeds.jsonl").read_text().splitlines()]
    assert len(scores) == 3 * 4 * QUESTIONS
    mean = json.loads((compared.folder / "comparison.json").read_text())["setups"]["hybrid"]["exact_match"]["mean"]
    assert found.figures["setups"]["hybrid"]["exact_match"]["runs"][0] == mean


@pytest.mark.medium
def test_a_second_time_everything_is_found(desk: Desk) -> None:
    first = seeds(desk.app())
    made = (list(desk.trained), list(desk.merged), desk.answers)
    app = desk.app()
    again = seeds(app)
    assert (again.folder, again.figures) == (first.folder, first.figures)
    assert (desk.trained, desk.merged, desk.answers) == made == ([0, 1, 2], [0, 1, 2], 8 * QUESTIONS)
    assert "The suite takes 3 trainings, all of which exist." in said(app)


@pytest.mark.medium
def test_an_interrupted_suite_goes_on(desk: Desk) -> None:
    desk.fails = 2
    with pytest.raises(KeyboardInterrupt):
        seeds(desk.app())
    assert desk.trained == [0, 1]
    desk.fails = None
    app = desk.app()
    assert seeds(app).figures["seeds"] == [0, 1, 2]
    assert (desk.trained, desk.answers) == ([0, 1, 2], 8 * QUESTIONS)
    assert any(line.startswith("The suite takes 3 trainings, of which 1 (seed 2) are missing: ") for line in said(app))


@pytest.mark.medium
def test_answers_that_fail_are_counted_and_wrong(desk: Desk) -> None:
    desk.failures["Until when is MySQL 8.0 supported?"] = RagftError("no room")
    found = seeds(desk.app(evaluate={"seeds": [1], "resamples": 200, "max_failed": 0.5})).figures
    assert found["failed"] == {seed: dict.fromkeys(SETUPS, 1) for seed in ("0", "1")}
    assert "With seed 1, 1 answer of hybrid failed; failed answers count as wrong." in found["text"]
    assert found["setups"]["hybrid"]["exact_match"]["n"] == QUESTIONS


@pytest.mark.medium
def test_it_says_how_long_before_it_trains(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    app = desk.app()
    lines: list[tuple[str, int]] = []
    monkeypatch.setattr(type(app.reporter), "say", lambda self, line: lines.append((line, len(desk.trained))))
    seeds(app)
    line = (
        "The suite takes 3 trainings, of which 3 (seed 0, 1 and 2) are missing: about 1.5 hours together. One of them: "
    )
    assert (f"{line}training 30 min (measured).", 0) in lines


@pytest.mark.medium
def test_no_seed_trains_on_what_another_one_validates_with(desk: Desk) -> None:
    domain = desk.domain
    domain.lines("examples.jsonl", [{"question": f"What is {n}?", "answer": f"{n} [1]"} for n in range(12)])
    general = domain.lines(
        "general.jsonl", [{"instruction": f"Say {n} twice", "output": f"{n} {n}"} for n in range(12)]
    )
    asked = [{"id": f"q{n}", "question": f"Which is {n}?", "answers": [f"{n}"]} for n in range(12)]
    domain.lines("questions.jsonl", asked)
    app = desk.app(
        data={"split": {"validation_share": 0.25}, "mix": {**MIX, "general": str(general), "general_share": 0.5}},
        evaluate={"limit": 4},
    )
    runs = [Repetition(app, seed) for seed in range(4)]
    kept = {split(run).fingerprint for run in runs}
    assert kept == {split(app).fingerprint}
    parts = {part: [{row.example_id for row in rows(run, part)} for run in runs] for part in ("train", "validation")}
    assert set.union(*parts["train"]).isdisjoint(set.union(*parts["validation"]))
    assert any("general" in row.kind for row in rows(runs[1], "validation"))
    mixed = [[row.messages for row in rows(run, "train")] for run in runs]
    assert all(mixed[0] != other for other in mixed[1:]), "the passages of rows are other ones"
    assert {run.questions for run in runs} == {app.questions} and len(app.questions) == 4


@pytest.mark.medium
def test_an_index_that_is_refreshed_in_between_is_no_noise(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    app, records = desk.app(), stage.records

    def refreshed(run: Repetition) -> dict[str, Artifact]:
        made = records(run)
        if run.config.seed == 1:
            desk.domain.page("cats.md", "# Cats\n\n## Kittens\n\nA kitten sleeps.\n")
            refresh(desk.app())
        return made

    monkeypatch.setattr(stage, "records", refreshed)
    with pytest.raises(RagftError, match="The index was refreshed while the suite ran"):
        seeds(app)
    monkeypatch.setattr(stage, "records", records)
    assert seeds(desk.app()).figures["seeds"] == [0, 1, 2] and desk.trained == [0, 1, 2]


def test_what_has_no_other_run_is_refused_in_a_sentence(desk: Desk) -> None:
    with pytest.raises(
        UsageError, match=r"evaluate\.seeds names no seed beside seed = 0: .*'evaluate\.seeds=\[1, 2\]'"
    ):
        seeds(desk.app(evaluate={"seeds": [0]}))
    with pytest.raises(UsageError, match=r"No setup of evaluate\.setups is tuned"):
        seeds(desk.app(evaluate={"seeds": [1, 2], "setups": ["rag-only"]}))
    assert desk.trained == []


@pytest.mark.medium
def test_the_command_tells_machines_what_it_tells_people(desk: Desk, ragft: Callable[..., Ended]) -> None:
    desk.app()
    found = ragft("evaluate", "--suite", "seeds", "-c", desk.domain.config, "--json").values
    assert found["seeds"] == [0, 1, 2] and Path(found["folder"], "seeds.jsonl").is_file()
    assert found["text"][0].startswith("On facts, the verdict is the same on all 3 seeds: ")
    gated = ragft("evaluate", "--suite", "seeds", "-c", desk.domain.config, "--fail-if", "hybrid.exact_match < 0.5")
    assert gated.status == 2 and "--suite seeds does not make" in gated.sentence


def said(app: Application) -> list[str]:
    reporter: Any = app.reporter
    return list(reporter.said)
