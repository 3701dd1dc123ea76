"""Watches a training: keeps every step on disk, warns in words, and tells the tracker.

The steps are in `steps.jsonl`, one line each, so that curves are whole after a resumption, whatever trained. A step
that is told again replaces itself and all that came after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from index.durable import write_file
from ragft.finetune.asking import SampleAnswer
from ragft.finetune.report import TrainProgress
from ragft.finetune.symptoms import Symptom, Validation, symptoms

if TYPE_CHECKING:
    from ragft.finetune.asking import Asked
    from ragft.finetune.track import Tracking

STEPS_FILE = "steps.jsonl"
LOOKS = 50
"""How often in a training its losses are looked at, besides after each validation."""


@dataclass(frozen=True)
class Step:
    """One optimiser step; losses in nats per trained token.

    Attributes:
        metrics: of the answers in the validation after this step; empty without one.
        answers: the answers themselves.
    """

    step: int
    train_loss: float
    validation_loss: float | None
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    answers: tuple[SampleAnswer, ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Step:
        answers = tuple(SampleAnswer(**answer) for answer in values["answers"])
        return cls(**{**values, "answers": answers})


class Watch:
    """What is seen of one training. Its methods are called by one thread, in the order of the steps."""

    def __init__(self, folder: Path, tracking: Tracking, say: Callable[[str], None], asked: Asked | None) -> None:
        """`folder` is where the training keeps its checkpoint; `asked` is what the trainer calls at validations."""
        self.path, self.steps = folder / STEPS_FILE, list[Step]()
        self.warned: list[Symptom] = []
        self._tracking, self._say, self._asked = tracking, say, asked
        self._known = _read(self.path)
        self._resumed = False

    def saw(self, progress: TrainProgress) -> None:
        """Called after each optimiser step."""
        self._resume(progress.step)
        validated = progress.validation_loss is not None or bool(progress.metrics)
        step = Step(
            step=progress.step,
            train_loss=progress.train_loss,
            validation_loss=progress.validation_loss,
            learning_rate=progress.learning_rate,
            gradient_norm=progress.gradient_norm,
            tokens_per_second=progress.tokens_per_second,
            metrics=dict(progress.metrics),
            answers=tuple(self._asked.answers) if validated and self._asked else (),
        )
        self.steps.append(step)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(step))
        told = {key: value for key, value in asdict(step).items() if key not in ("step", "metrics", "answers")}
        self._tracking.log(step.step, {**told, **step.metrics})
        if validated or step.step % max(1, progress.steps // LOOKS) == 0:
            self._warn(progress.steps)

    def finish(self, steps: int) -> list[Symptom]:
        """All warnings of a training of so many steps, also of those that an earlier process took."""
        self._resume(None)
        self._warn(steps)
        return self.warned

    def _resume(self, first: int | None) -> None:
        """Takes the steps before `first` from an interrupted training, all of them if it had none left to do."""
        if self._resumed:
            return
        self._resumed = True
        self.steps = [step for step in self._known if first is None or step.step < first]
        write_file(self.path, "".join(map(_line, self.steps)).encode())  # without what a power cut left at its end

    def _warn(self, steps: int) -> None:
        """Says each kind of warning once, and keeps its latest figures."""
        found = symptoms([step.train_loss for step in self.steps], validations(self.steps), steps=steps)
        for symptom in found:
            before = next((one for one in self.warned if one.kind == symptom.kind), None)
            if before is None:
                self._say(f"Warning: {symptom.text}")
                self.warned.append(symptom)
            else:
                self.warned[self.warned.index(before)] = symptom


def validations(steps: Iterable[Step]) -> list[Validation]:
    """The validations among the steps, each with the mean training loss since the one before."""
    found, losses = list[Validation](), list[float]()
    for step in steps:
        losses.append(step.train_loss)
        if step.validation_loss is not None:
            found.append(Validation(step.step, fmean(losses), step.validation_loss))
            losses.clear()
    return found


def _line(step: Step) -> str:
    return json.dumps(asdict(step), ensure_ascii=False) + "\n"


def _read(path: Path) -> list[Step]:
    """The steps that a file holds; those from an unreadable line on, as a power cut leaves one, are not counted."""
    steps = list[Step]()
    try:
        for line in path.read_bytes().splitlines():  # of a text, some characters within a line would count as ends
            steps.append(Step.from_json(json.loads(line)))
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return steps
