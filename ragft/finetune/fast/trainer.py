"""The training loop: rows in, the best adapter and a report out; interrupted anywhere, it goes on where it
stood.

Knows nothing of documents, prompts or trackers. Steps, order and arithmetic are decided by rows, settings,
seed and base weights alone, so that a resumed run ends with the same bits as an undisturbed one on the same
number of threads.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune.fast import checkpoint, decoder
from ragft.finetune.fast.adapter import save_adapter
from ragft.finetune.fast.batching import MicroBatch, epoch_batches, micro_batches, trained_tokens
from ragft.finetune.fast.lora import adapted, attach, target_linears
from ragft.finetune.fast.parallel import Workers, return_free_memory, shares
from ragft.prompts import Rendered

CHECKPOINT_SECONDS = 60.0
"""Longest training time that an interruption can cost."""

STEPS_BETWEEN_RETURNS = 16
"""Between two returns of free memory to the operating system; one, and mapping that memory again, costs about as much
as a step."""

CACHED_BYTES = 512 * 2**20
"""Dequantised copies of a base model up to this size are kept, which saves a twentieth of each step."""


@dataclass(frozen=True)
class TrainProgress:
    """What a progress callback learns after each optimiser step.

    Attributes:
        step: optimiser steps done, of `steps`.
        steps: planned optimiser steps.
        epoch: passes over the rows done, as a fraction.
        train_loss: nats per trained token of this step's batch.
        validation_loss: nats per trained token, if this step ended with a validation.
        learning_rate: of this step.
        tokens_per_second: real tokens of the rows per second of training so far.
        seconds_left: estimate for the remaining steps, without validations.
    """

    step: int
    steps: int
    epoch: float
    train_loss: float
    validation_loss: float | None
    learning_rate: float
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class HistoryEntry:
    """One validation.

    Attributes:
        step: optimiser steps done.
        train_loss: nats per trained token since the previous entry.
        validation_loss: nats per trained token of the validation rows; None without such rows.
        learning_rate: of the last step.
    """

    step: int
    train_loss: float
    validation_loss: float | None
    learning_rate: float


@dataclass(frozen=True)
class TrainReport:
    """What a run did.

    Attributes:
        adapter: folder of the best adapter, in PEFT's format.
        steps: optimiser steps done.
        epochs: passes over the rows done.
        rows: training rows used.
        rows_left_out: training rows that are too long or have no trained token.
        validation_rows: validation rows used.
        validation_rows_left_out: validation rows left out for the same reasons.
        tokens: real tokens trained on, a shared prefix counted once per row.
        trained_tokens: tokens that a loss was taken from.
        tokens_per_second: `tokens` per second of optimiser steps, validations not counted.
        seconds: time of steps, validations and checkpoints, over all interruptions.
        peak_memory_mib: largest resident memory of this process so far.
        history: one entry per validation.
        best_step: the step whose adapter was kept.
        best_loss: its validation loss, or its training loss without validation rows.
        stopped_early: patience ran out before the last step.
    """

    adapter: Path
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
    history: tuple[HistoryEntry, ...]
    best_step: int
    best_loss: float
    stopped_early: bool


@dataclass
class _State:
    """The counters of a run: all that changes besides tensors. JSON keeps its floats exactly."""

    step: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    step_seconds: float = 0.0
    seconds: float = 0.0
    recent_loss: float = 0.0
    recent_tokens: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_step: int = 0
    best_loss: float = math.inf
    worse: int = 0
    stopped_early: bool = False


def train(
    model_folder: Path,
    train_rows: Sequence[Rendered],
    validation_rows: Sequence[Rendered],
    settings: FinetuneSection,
    *,
    seed: int,
    folder: Path,
    progress: Callable[[TrainProgress], None] | None = None,
) -> TrainReport:
    """Trains an adapter, resuming by itself when `folder` holds a checkpoint of the same run.

    Args:
        model_folder: base model, as safetensors.
        train_rows: rows to train on. Rows longer than `settings.max_length` or without a trained token are
            left out and counted, never cut.
        validation_rows: rows that decide which adapter is best; may be empty, then the last one is.
        settings: rank, rates and sizes.
        seed: of the adapter's initial values and the order of the rows.
        folder: receives `checkpoint.safetensors` while training and `adapter/` at the end. A checkpoint of
            other rows, settings, seed or base weights is replaced.
        progress: called after each optimiser step; whatever it raises ends the run, which can be resumed.

    Raises:
        RagftError: no usable training row, a base model that the fast back end cannot train, or a loss that
            is not a number.
    """
    rows, validation = _usable(train_rows, settings.max_length), _usable(validation_rows, settings.max_length)
    if not rows:
        raise RagftError(
            f"None of the {len(train_rows)} training rows can be used: each is longer than finetune.max_length = "
            f"{settings.max_length} tokens or has no answer to train on; raise finetune.max_length or check the data."
        )
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    run = _Run(model_folder, rows, validation, settings, seed, folder)
    try:
        while not run.finished:
            entry = run.advance()
            if progress is not None:
                progress(entry)
    finally:
        run.workers.close()
    return run.report(len(train_rows) - len(rows), len(validation_rows) - len(validation))


class _Run:
    """A run between two optimiser steps."""

    def __init__(
        self,
        model_folder: Path,
        rows: list[Rendered],
        validation: list[Rendered],
        settings: FinetuneSection,
        seed: int,
        folder: Path,
    ) -> None:
        self.rows, self.settings, self.seed, self.folder = rows, settings, seed, folder
        self.base_name = str(model_folder)
        self.alpha = settings.alpha if settings.alpha is not None else 2.0 * settings.rank
        self.steps_per_epoch = math.ceil(len(rows) / settings.batch_size)
        self.steps = max(1, round(settings.epochs * self.steps_per_epoch))
        self.validate_at = {
            max(1, round(self.steps * number / settings.evaluations)) for number in range(1, settings.evaluations + 1)
        }
        dtype = decoder.compute_dtype()
        self.model = decoder.load_for_training(model_folder, dtype, max_length=settings.max_length)
        copies = dtype.itemsize * sum(linear.weight.numel() for linear in target_linears(self.model).values())
        attach(
            self.model,
            settings.rank,
            self.alpha,
            quantise=settings.method == "qlora",
            cache=copies <= CACHED_BYTES,
            seed=seed,
        )
        self.parameters = {
            f"{name}.{letter}": parameter
            for name, layer in adapted(self.model)
            for letter, parameter in (("A", layer.A), ("B", layer.B))
        }
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.workers = Workers(torch.get_num_threads())
        self.validation = micro_batches(validation, settings.token_budget)
        self.validation_rows = len(validation)
        self.state, self.best = _State(), dict[str, torch.Tensor]()
        # The number of threads changes the last bits, not the run: it may differ after an interruption.
        about = {"settings": settings.model_dump(exclude={"threads"}), "seed": seed, "dtype": str(dtype)}
        self.fingerprint = checkpoint.fingerprint(model_folder, rows, validation, about)
        self.checkpoint = folder / "checkpoint.safetensors"
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        found = checkpoint.read(self.checkpoint, self.fingerprint, self.parameters, self.optimizer)
        if found is not None:
            self.state, self.best = _State(**found[0]), found[1]
        self.saved = time.monotonic()

    @property
    def finished(self) -> bool:
        return self.state.stopped_early or self.state.step >= self.steps

    def advance(self) -> TrainProgress:
        """One optimiser step, with the validation and the checkpoint that fall due after it."""
        start = time.monotonic()
        state = self.state
        rate = learning_rate(self.settings, state.step, self.steps)
        loss = self._step(rate)
        if state.step % STEPS_BETWEEN_RETURNS == 0:
            return_free_memory()
        state.step_seconds += time.monotonic() - start
        validation = self._validate(rate) if state.step in self.validate_at else None
        state.seconds += time.monotonic() - start
        if state.step in self.validate_at or time.monotonic() - self.saved > CHECKPOINT_SECONDS:
            self._save()
        return TrainProgress(
            step=state.step,
            steps=self.steps,
            epoch=state.step / self.steps_per_epoch,
            train_loss=loss,
            validation_loss=validation,
            learning_rate=rate,
            tokens_per_second=state.tokens / state.step_seconds,
            seconds_left=(self.steps - state.step) * state.step_seconds / state.step,
        )

    def _step(self, rate: float) -> float:
        """Gradient of one optimiser batch, summed over its micro-batches, and AdamW's step; the batch's mean
        loss."""
        state = self.state
        epoch, number = divmod(state.step, self.steps_per_epoch)
        order = epoch_batches(len(self.rows), self.settings.batch_size, seed=self.seed, epoch=epoch)
        rows = [self.rows[index] for index in order[number]]
        trained = sum(trained_tokens(row) for row in rows)
        total = 0.0
        for loss, gradients in self.workers.map(self._gradient, shares(rows, self.workers.count)):
            total += loss
            for parameter, gradient in zip(self.parameters.values(), gradients, strict=True):
                scaled = gradient / trained
                parameter.grad = scaled if parameter.grad is None else parameter.grad.add_(scaled)
        state.tokens += sum(len(row.ids) for row in rows)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip)
        if not (math.isfinite(total) and math.isfinite(norm.item())):
            raise RagftError(
                f"Training diverged at step {state.step + 1} of {self.steps}: the loss or its gradient is no number; "
                f"lower finetune.learning_rate (it is {self.settings.learning_rate:g})."
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        state.step += 1
        state.trained_tokens += trained
        state.recent_loss += total
        state.recent_tokens += trained
        return total / trained

    def _gradient(self, rows: Sequence[Rendered]) -> tuple[float, list[torch.Tensor]]:
        """Summed loss of some rows and its gradient by the adapters, in the order of `parameters`.

        Returned instead of accumulated in `.grad`, which several threads must not share.
        """
        total, gradients = 0.0, list[torch.Tensor]()
        for batch in micro_batches(rows, self.settings.token_budget):
            loss = decoder.summed_loss(self.model, batch)
            total += loss.item()
            found = torch.autograd.grad(loss, list(self.parameters.values()))
            gradients = [old.add_(new) for old, new in zip(gradients, found, strict=True)] if gradients else list(found)
        return total, gradients

    def _loss(self, batch: MicroBatch) -> float:
        """Summed loss of a micro-batch, without a gradient."""
        with torch.no_grad():  # a setting of the thread
            return decoder.summed_loss(self.model, batch).item()

    def _validate(self, rate: float) -> float | None:
        """Records a history entry, keeps the adapter if it is the best so far, and decides whether to
        stop."""
        state = self.state
        train_loss = state.recent_loss / state.recent_tokens
        state.recent_loss, state.recent_tokens = 0.0, 0
        validation: float | None = None
        if self.validation:
            total = sum(self.workers.map(self._loss, self.validation))
            validation = total / sum(len(batch.targets) for batch in self.validation)
        state.history.append(asdict(HistoryEntry(state.step, train_loss, validation, rate)))
        # Without validation rows every entry is the best so far: the last adapter is kept.
        if validation is None or validation < state.best_loss:
            state.best_step, state.worse = state.step, 0
            state.best_loss = train_loss if validation is None else validation
            self.best = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        else:
            state.worse += 1
            state.stopped_early = state.worse >= self.settings.patience and state.step < self.steps
        return validation

    def _save(self) -> None:
        start = time.monotonic()
        checkpoint.write(
            self.checkpoint, self.fingerprint, asdict(self.state), self.parameters, self.optimizer, self.best
        )
        self.saved = time.monotonic()
        self.state.seconds += self.saved - start

    def report(self, left_out: int, validation_left_out: int) -> TrainReport:
        """Writes the best adapter and says what the run did."""
        adapter = self.folder / "adapter"
        save_adapter(self.model, adapter, self.base_name, rank=self.settings.rank, alpha=self.alpha, tensors=self.best)
        state = self.state
        return TrainReport(
            adapter=adapter,
            steps=state.step,
            epochs=state.step / self.steps_per_epoch,
            rows=len(self.rows),
            rows_left_out=left_out,
            validation_rows=self.validation_rows,
            validation_rows_left_out=validation_left_out,
            tokens=state.tokens,
            trained_tokens=state.trained_tokens,
            tokens_per_second=state.tokens / state.step_seconds,
            seconds=state.seconds,
            peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            history=tuple(HistoryEntry(**entry) for entry in state.history),
            best_step=state.best_step,
            best_loss=state.best_loss,
            stopped_early=state.stopped_early,
        )


def learning_rate(settings: FinetuneSection, step: int, steps: int) -> float:
    """Rate of the step after `step` of `steps`: a linear rise over the warm-up, then the schedule's fall
    towards 0."""
    warmup = math.ceil(settings.warmup * steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    fall = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}
    return settings.learning_rate * fall[settings.schedule]


def _usable(rows: Sequence[Rendered], max_length: int) -> list[Rendered]:
    return [row for row in rows if len(row.ids) <= max_length and trained_tokens(row) > 0]
