"""What is seen of a training: every step once, whole after interruptions, and each warning said once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ragft.evaluate.metrics import Rules
from ragft.finetune.asking import Asked, Prompt
from ragft.finetune.report import TrainProgress
from ragft.finetune.watch import STEPS_FILE, Watch


class Told:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        self.rows.append((step, dict(values)))


def watch(folder: Path, said: list[str] | None = None, asked: Asked | None = None) -> Watch:
    return Watch(folder, Told(), (said if said is not None else []).append, asked)  # type: ignore[arg-type]


def progress(step: int, loss: float, validation: float | None = None, **more: Any) -> TrainProgress:
    return TrainProgress(step, 100, loss, validation, 500.0, 1e-3, 0.5, **more)


def see(watched: Watch, losses: Iterable[tuple[int, float]]) -> None:
    for step, loss in losses:
        watched.saw(progress(step, loss))


@pytest.mark.parametrize(("killed_at", "resumed_at"), [(7, 5), (7, 8), (7, 1)])
def test_steps_are_whole_after_a_training_that_was_killed(tmp_path: Path, killed_at: int, resumed_at: int) -> None:
    see(watch(tmp_path), ((step, 1.0) for step in range(1, killed_at + 1)))
    again = watch(tmp_path)
    see(again, ((step, 2.0) for step in range(resumed_at, 11)))
    assert [step.step for step in again.steps] == list(range(1, 11))
    assert [step.train_loss for step in again.steps] == [1.0] * (resumed_at - 1) + [2.0] * (11 - resumed_at)
    finished = watch(tmp_path)
    finished.finish(100)
    assert finished.steps == again.steps, "a training that was already over is read whole"


def test_a_line_that_a_power_cut_left_is_dropped(tmp_path: Path) -> None:
    see(watch(tmp_path), [(1, 1.0), (2, 1.0)])
    path = tmp_path / STEPS_FILE
    path.write_bytes(path.read_bytes()[:-20])
    again = watch(tmp_path)
    see(again, [(3, 1.0)])
    assert [step.step for step in again.steps] == [1, 3]
    assert [step.step for step in watch(tmp_path)._known] == [1, 3]


def test_a_warning_is_said_once_and_has_its_latest_figures_at_the_end(tmp_path: Path) -> None:
    said: list[str] = []
    watched = watch(tmp_path, said)
    see(watched, ((step, 3 * math.exp(-step / 20) if step < 60 else 0.1 * (step - 50)) for step in range(1, 101)))
    (warning,) = watched.finish(100)
    assert (warning.kind, warning.step) == ("divergence", 100)
    assert len(said) == 1 and said[0].startswith("Warning: The training diverges")


def test_answers_stand_with_the_validation_that_they_were_given_in(tmp_path: Path) -> None:
    asked = Asked(
        [Prompt("When?", (1,), "2027", 2)], Rules(), lambda *_: [([7], True)], lambda ids: "2027", max_tokens=4
    )
    watched = watch(tmp_path, asked=asked)
    watched.saw(progress(1, 1.0))
    metrics = asked(None)  # type: ignore[arg-type]
    watched.saw(progress(2, 1.0, 1.5, metrics=metrics))
    watched.saw(progress(3, 1.0))
    assert [len(step.answers) for step in watched.steps] == [0, 1, 0]
    again = watch(tmp_path)
    again.finish(100)
    assert again.steps == watched.steps
    assert watched._tracking.rows[1] == (  # type: ignore[attr-defined]
        2,
        {
            "train_loss": 1.0, "validation_loss": 1.5, "learning_rate": 1e-3, "gradient_norm": 0.5,
            "tokens_per_second": 500.0, "exact_match": 1.0,
        },
    )  # fmt: skip
