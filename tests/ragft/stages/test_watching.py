"""A training of an application, watched: the page, the figures, the tracker, and what is refused before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import Ended
from support.domains import Domain

from ragft.finetune import track
from ragft.finetune.track import TrackerKind
from ragft.stages.adapter import finetune

TRAINING = {"eval_count": 2, "batch_size": 1, "rank": 2, "max_seq_length": 512, "eval_samples": 1}


@pytest.fixture
def configure(domain: Domain, tiny_base: Path) -> Callable[..., Domain]:
    """The domain, trained with some settings on the tiny model."""

    def configure(answer: dict[str, Any] | None = None, **settings: Any) -> Domain:
        domain.configure(
            model={"base": str(tiny_base)}, engine={"max_tokens": 8}, finetune={**TRAINING, **settings},
            answer=answer or {},
        )  # fmt: skip
        return domain

    return configure


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_a_training_leaves_its_page_its_steps_and_its_warnings(
    configure: Callable[..., Domain], monkeypatch: pytest.MonkeyPatch, ragft: Callable[..., Ended]
) -> None:
    told: list[tuple[str, Any]] = []

    class Remembers:
        def __init__(self, folder: Path, run: str) -> None:
            told.append(("made", (folder, run)))

        def start(self, about: Any) -> None:
            told.append(("start", dict(about)))

        def log(self, step: int, values: Any) -> None:
            told.append(("log", (step, set(values))))

        def artefact(self, path: Path) -> None:
            told.append(("artefact", path.name))

        def end(self, status: str) -> None:
            told.append(("end", status))

    monkeypatch.setitem(track.TRACKERS, "mlflow", TrackerKind("remembers", Remembers))
    domain = configure(answer={"format": r".+ \[\d\]"}, tracker="mlflow")
    ended = ragft("finetune", "-c", domain.config)
    assert ended.status == 0, ended.err
    app = domain.application()
    adapter = finetune(app)
    assert f"Training page: {adapter.folder / 'training.html'}" in ended.out
    page = (adapter.folder / "training.html").read_text()
    assert "Answers on the way" in page and "<polyline" in page
    steps = [json.loads(line) for line in (adapter.folder / "steps.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3]
    assert [len(step["answers"]) for step in steps] == [0, 1, 1]
    assert adapter.figures["warnings"] == []
    assert set(adapter.figures["best_metrics"]) == {"form", "exact_match"}
    kinds = [kind for kind, _ in told]
    assert kinds == ["made", "start", "log", "log", "log", "end"], "no page, which quotes answers, unless asked for"
    assert told[0][1] == (app.workspace / "tracking" / "mlflow", adapter.fingerprint)
    assert told[1][1]["base_model"] == Path(app.config.model.base).name
    assert told[2][1] == (1, {"train_loss", "learning_rate", "gradient_norm", "tokens_per_second"})
    assert told[-1] == ("end", "finished")


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_no_training_begins_without_the_package_of_its_tracker(
    configure: Callable[..., Domain], monkeypatch: pytest.MonkeyPatch, ragft: Callable[..., Ended]
) -> None:
    monkeypatch.setitem(track.TRACKERS, "wandb", TrackerKind("absent", track.TRACKERS["none"].make, "no_such_module"))
    ended = ragft("finetune", "-c", configure(tracker="wandb").config)
    assert ended.status == 1 and "pip install 'ragft[wandb]'" in ended.err


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_rules_of_scoring_decide_an_adapter_only_where_answers_select_it(configure: Callable[..., Domain]) -> None:
    def made(select: str, form: str) -> str:
        return finetune(configure(answer={"format": form}, select=select).application()).fingerprint

    assert made("loss", "(?s).*") == made("loss", "(?s).+")
    assert made("form", "(?s).*") != made("form", "(?s).+")


@pytest.mark.medium
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"select": "form"}, "finetune.select is form but answer.format declares none"),
        ({"select": "exact_match", "eval_samples": 0}, "select is exact_match, which needs answers"),
        ({"tracker": "tensorbord"}, "should be one of none, tensorboard, mlflow, wandb"),
    ],
)
def test_settings_that_cannot_select_or_track_are_refused(
    configure: Callable[..., Domain], ragft: Callable[..., Ended], settings: dict[str, Any], sentence: str
) -> None:
    ended = ragft("finetune", "-c", configure(**settings).config)
    assert ended.status == 2 and sentence in ended.err
