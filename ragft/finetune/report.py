"""What a training tells: after each step, at each validation, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ragft.finetune.lineage import Backend


@dataclass(frozen=True)
class TrainProgress:
    """What a progress callback learns after each optimiser step; losses are nats per trained token.

    Attributes:
        validation_loss: of the validation after this step; None if there was none.
        tokens_per_second: real tokens of the rows per second of training so far.
        learning_rate: of this step.
        gradient_norm: of this step, before it was clipped.
        metrics: what `evaluate` measured in the validation after this step; empty if there was none.
    """

    step: int
    steps: int
    train_loss: float
    validation_loss: float | None
    tokens_per_second: float
    learning_rate: float
    gradient_norm: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class HistoryEntry:
    """One validation, after so many optimiser steps; losses are nats per trained token.

    Attributes:
        train_loss: of the batches since the previous entry.
        validation_loss: None without validation rows.
        metrics: what `evaluate` measured; higher is better.
    """

    step: int
    train_loss: float
    validation_loss: float | None
    learning_rate: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """The validation loss, or the training loss without validation rows."""
        return self.train_loss if self.validation_loss is None else self.validation_loss

    def rank(self, select: str) -> tuple[float, float]:
        """The order of entries, best first: by the metric `select`, then by loss; by loss alone for `"loss"`."""
        return (0.0 if select == "loss" else -self.metrics[select], self.loss)


@dataclass(frozen=True)
class TrainReport:
    """What a run did.

    Attributes:
        adapter: folder of the best adapter, in PEFT's format; or of the trained weights, where a method trains those.
        backend: which back end trained it.
        rows_left_out: training rows dropped because they are too long or have no trained token.
        tokens: real tokens trained on, a shared prefix counted once per row.
        tokens_per_second: `tokens` per second of optimiser steps, validations not counted.
        seconds: time of steps, validations and checkpoints, over all interruptions.
        peak_memory_mib: largest resident memory of this process so far.
        peak_card_mib: the most memory of a card that it has used so far; 0 without one.
        best_loss: validation loss of the adapter that was kept, or its training loss without validation rows.
        best_metrics: what `evaluate` measured of it.
        stopped_early: patience ran out before the last step.
    """

    adapter: Path
    backend: Backend
    steps: int
    epochs: float
    rows: int
    rows_left_out: int
    validation_rows: int
    validation_rows_left_out: int
    tokens: int
    trained_tokens: int
    tokens_per_second: float
    seconds: float
    peak_memory_mib: float
    peak_card_mib: float
    history: tuple[HistoryEntry, ...]
    best_step: int
    best_loss: float
    best_metrics: Mapping[str, float]
    stopped_early: bool
