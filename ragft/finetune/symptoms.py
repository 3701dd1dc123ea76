"""What a training's losses say, in words: that it diverges, learns its rows by heart, or has stopped learning.

Pure functions of the losses so far. Their limits are conventions, not measurements: a training that is warned of may be
right, and each warning names the figures that it goes by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

WINDOW = 0.05
"""Share of the steps of a whole training that a training loss is averaged over: batches differ more than that."""
SHORTEST_WINDOW = 5

RISE = 1.2
"""Factor by which the averaged training loss may exceed its lowest value before the training is said to diverge."""

OVERFITTING = 0.02
"""Share by which the validation loss may exceed its lowest value while the training loss falls."""

PLATEAU = 0.01
"""Share by which the validation loss must fall in two validations, or it is said to have stopped falling."""


@dataclass(frozen=True)
class Validation:
    """One validation.

    Attributes:
        train_loss: mean of the steps since the validation before.
    """

    step: int
    train_loss: float
    validation_loss: float


@dataclass(frozen=True)
class Symptom:
    """One warning, and the step at which its figures were there."""

    kind: Literal["divergence", "overfitting", "plateau"]
    step: int
    text: str


def symptoms(train_losses: Sequence[float], validations: Sequence[Validation], *, steps: int) -> list[Symptom]:
    """Everything that there is to warn of, after some of the steps of a training.

    Args:
        train_losses: of every step so far, in nats per token.
        steps: of the whole training.
    """
    found = (divergence(train_losses, steps=steps), overfitting(validations), plateau(validations))
    return [symptom for symptom in found if symptom is not None]


def divergence(train_losses: Sequence[float], *, steps: int) -> Symptom | None:
    """Whether the training loss, averaged over a window of steps, has risen by more than `RISE` times its lowest."""
    window = max(SHORTEST_WINDOW, round(WINDOW * steps))
    if len(train_losses) < 2 * window:
        return None
    means = [fmean(train_losses[end - window : end]) for end in range(window, len(train_losses) + 1, window)]
    now, lowest = fmean(train_losses[-window:]), min(means)
    if not now > RISE * lowest or now - lowest < 0.05:
        return None
    at, last = (means.index(lowest) + 1) * window, len(train_losses)
    return Symptom(
        "divergence", last,
        f"The training diverges: its loss was {lowest:.3f} around step {at} and is {now:.3f} over the last {window} "
        "steps; lower finetune.learning_rate or finetune.max_grad_norm.",
    )  # fmt: skip


def overfitting(validations: Sequence[Validation]) -> Symptom | None:
    """Whether the validation loss rose above its lowest by more than `OVERFITTING` while the training loss fell."""
    if len(validations) < 2:
        return None
    best, last = min(validations, key=lambda one: one.validation_loss), validations[-1]
    if last.validation_loss <= (1 + OVERFITTING) * best.validation_loss or last.train_loss >= best.train_loss:
        return None
    return Symptom(
        "overfitting", last.step,
        f"The model learns its rows by heart: since step {best.step} the validation loss rose from "
        f"{best.validation_loss:.3f} to {last.validation_loss:.3f} while the training loss fell from "
        f"{best.train_loss:.3f} to {last.train_loss:.3f}; train for fewer epochs, lower finetune.rank or add examples.",
    )  # fmt: skip


def plateau(validations: Sequence[Validation]) -> Symptom | None:
    """Whether the last two validations together lowered the validation loss by less than `PLATEAU` of it.

    A loss that rises is no plateau: overfitting and divergence are.
    """
    if len(validations) < 3:
        return None
    before = min(one.validation_loss for one in validations[:-2])
    since = min(one.validation_loss for one in validations[-2:])
    if not (1 - PLATEAU) * before < since <= (1 + OVERFITTING) * before:
        return None
    start, last = validations[-3], validations[-1]
    return Symptom(
        "plateau", last.step,
        f"The validation loss has stopped falling: {before:.3f} at or before step {start.step}, {since:.3f} since; "
        "more steps like these will hardly lower it.",
    )  # fmt: skip
