"""A training run, step by step: order, schedule, validation, checkpoint and resumption are the same for all back ends.

Rows, settings, seed and base weights alone decide steps, order and arithmetic, so that a resumed run ends with the same
bits as an undisturbed one on the same number of threads.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from index.encoders.parallel import OneThreadWorkers
from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune import devices
from ragft.finetune.base import check_ids
from ragft.finetune.fast import decoder, fused
from ragft.finetune.fast.adapter import save_adapter, starting_deltas
from ragft.finetune.fast.batching import Rows, epoch_batches, lengths_for, micro_batches, shares, trained_tokens
from ragft.finetune.fast.checkpoint import Checkpoint, identity
from ragft.finetune.fast.faults import (
    check_step_finite,
    check_validation_finite,
    told_out_of_memory,
)
from ragft.finetune.fast.lora import attach, compute_in, initial_adapter, matrices, target_linears
from ragft.finetune.fast.memory import return_free_memory, share_one_arena
from ragft.finetune.fast.probe import load_for_training
from ragft.finetune.lineage import Backend
from ragft.finetune.methods import METHODS
from ragft.finetune.optimizers import check_possible, optimizer_of, put_back, state_of
from ragft.finetune.processes import processes
from ragft.finetune.recomputing import recomputing
from ragft.finetune.report import HistoryEntry, TrainProgress, TrainReport
from ragft.finetune.start import content_of

CHECKPOINT_SECONDS = 60.0
"""Longest training time that an interruption can cost."""

STEPS_BETWEEN_RETURNS = 16
"""Optimiser steps between two returns of free memory to the operating system. Returning memory, and mapping it again,
costs about as much as a step."""

Evaluate = Callable[[torch.nn.Module], Mapping[str, float]]
"""Called with the live model at a validation; returns metrics, higher is better."""

Schedule = Callable[[int, int], float]
"""Learning rate after so many steps of so many."""

CACHED_BYTES = 512 * 2**20
"""Dequantised copies of a base model up to this size are kept, which saves a twentieth of each step."""


def keeps_dequantised(weights: int, dtype: torch.dtype) -> bool:
    """Whether dequantised copies of so many quantised weights are kept, so that quantising them saves no memory."""
    return weights * dtype.itemsize <= CACHED_BYTES


class Batch(Protocol):
    """Some rows that go through the model together."""

    @property
    def targets(self) -> torch.Tensor:
        """(K,) int64: the tokens that the loss is taken over."""


_ONLY_BITS = {"device", "threads", "token_budget", "gradient_checkpointing", "tracker", "track_answers", "start_from"}
"""Settings that change the last bits of a run at most, and not what it is: they may differ after an interruption. Of
`start_from`, the content counts."""


@dataclass
class _State:
    """The counters of a run: all that changes besides tensors. JSON keeps its floats exactly."""

    select: str = "loss"
    step: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    step_seconds: float = 0.0
    seconds: float = 0.0
    recent_loss: float = 0.0
    recent_count: int = 0
    history: list[HistoryEntry] = field(default_factory=list)

    @property
    def best(self) -> HistoryEntry:
        """The first entry that is best by what was asked for; without validation rows, the last entry."""
        last = self.history[-1]
        return last if last.validation_loss is None else min(self.history, key=lambda entry: entry.rank(self.select))

    @property
    def worse(self) -> int:
        """Number of validations since the best one."""
        return sum(entry.step > self.best.step for entry in self.history)


class Run:
    """A training run, between two of its optimiser steps.

    Another back end derives from it: it says what the model is, how rows become batches, what the loss of a batch is,
    and how what was trained is written. Order, schedule, validation, checkpoint and resumption are the same for all.

    Attributes:
        backend: its name, which goes into the fingerprint of a run.
        parallel: the rows of a step are divided among workers with one thread each; otherwise one after the other takes
            all threads.
        some_without_gradient: whether a parameter may take no part in a batch, such as an expert that is not asked.
    """

    backend: ClassVar[Backend] = "fast"
    parallel: ClassVar[bool] = True
    some_without_gradient: ClassVar[bool] = False

    def __init__(
        self, model_folder: Path, rows: Rows, validation: Rows, settings: FinetuneSection, seed: int, folder: Path,
        evaluate: Evaluate | None, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.rows, self.settings, self.seed, self.folder = rows, settings, seed, folder
        self.evaluate = evaluate
        self.schedule: Schedule = partial(learning_rate, settings)
        self.base_name = str(model_folder)
        self.alpha = settings.alpha if settings.alpha is not None else 2.0 * settings.rank
        self._row_lengths = lengths_for(rows, settings.order)
        self.steps_per_epoch = math.ceil(len(rows) / settings.batch_size)
        self.steps = max(1, round(settings.epochs * self.steps_per_epoch))
        counts = range(1, settings.eval_count + 1)
        self.validate_at = {max(1, round(self.steps * number / settings.eval_count)) for number in counts}
        self.group = processes()
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        if settings.gradient_checkpointing:
            share_one_arena()
        self.device = devices.resolve(settings.device, process=self.group.local, processes=self.group.here)
        check_possible(settings, self.device)
        self.dtype = decoder.compute_dtype(self.device)
        with told_out_of_memory("Loading the base model", settings):
            self.model = self._adapted_model(model_folder, validation)
        self.parameters = matrices(self.model)
        self.validation, self.validation_rows = self.batches(validation), len(validation)
        self.validation_count = self.count(validation)
        self.optimizer = optimizer_of(settings, self.parameter_groups(), self.device)
        self.workers = OneThreadWorkers(devices.workers(self.device) if self.parallel else 1, min_parallel=2)
        folder.mkdir(parents=True, exist_ok=True)
        values = settings.model_dump(mode="json", exclude=_ONLY_BITS)
        about = {
            **{f"finetune.{key}": value for key, value in values.items()},
            "seed": seed,
            "dtype": str(self.dtype),
            "the back end": self.backend,
        }
        if settings.start_from is not None:
            about["the adapter that it begins from"] = content_of(settings.start_from)
        run = identity(model_folder, rows, validation, about)
        self.checkpoint = Checkpoint(folder, run, self.parameters, self.optimizer, say, self.device)
        self.state = _State(settings.select)
        self._resume()

    def join(self) -> None:
        """Goes on where the leader of several processes begins or resumes: with its counters, values and moments."""
        if self.group.count == 1:
            return
        parameters = list(self.parameters.values())
        kept = [{key: value.cpu() for key, value in state_of(self.optimizer, one).items()} for one in parameters]
        shapes = [{key: (value.shape, value.dtype) for key, value in state.items()} for state in kept]
        state, shapes = self.group.tell((asdict(self.state), shapes))
        self.state = _state_of(state)
        self.group.copy(parameter.data for parameter in parameters)
        for parameter, known, told in zip(parameters, kept, shapes, strict=True):
            moments = known or {key: torch.zeros(shape, dtype=dtype) for key, (shape, dtype) in told.items()}
            self.group.copy(moments.values())
            put_back(self.optimizer, parameter, moments, self.device)
        if not self.group.leads:
            # Each process drops out of its own.
            torch.manual_seed(hash((self.seed, self.group.rank, self.state.step)))

    def close(self) -> None:
        self.workers.close()

    def _adapted_model(self, model_folder: Path, validation: Rows) -> torch.nn.Module:
        """The base model with the adapters on its linear layers that training begins from."""
        settings = self.settings
        attention_name = fused.attention_for(self.device, self.dtype)
        model = load_for_training(
            model_folder, None, max_seq_length=settings.max_seq_length, attention_name=attention_name
        )
        check_ids(model, [row.ids for row in (*self.rows, *validation)])
        weights = sum(linear.weight.numel() for linear in target_linears(model).values())
        adapter = starting_deltas(settings, initial_adapter(model, settings.rank, self.alpha, seed=self.seed))
        quantise = METHODS[settings.method].quantisation is not None
        cache = keeps_dequantised(weights, self.dtype)
        attach(model, adapter, quantise=quantise, cache=cache, device=self.device)
        compute_in(model, self.dtype)
        self.model = model
        self.check_recomputed(self.batches(sorted(self.rows, key=lambda row: len(row.ids))[:2])[0])
        return model

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The optimiser's groups of parameters; `rate` is a group's factor of the learning rate, 1 without it."""
        return [{"params": list(self.parameters.values())}]

    def batches(self, rows: Rows) -> Sequence[Batch]:
        """Rows as batches within the budget of tokens."""
        return [batch.to(self.device) for batch in micro_batches(rows, self.settings.token_budget)]

    def summed_loss(self, batch: Any) -> torch.Tensor:
        """Summed loss in nats over the trained tokens of a batch: a float32 scalar."""
        return decoder.summed_loss(self.model, batch)

    def count(self, rows: Rows) -> int:
        """What the summed loss of rows is divided by: the number of their trained tokens."""
        return sum(trained_tokens(row) for row in rows)

    def save(self, best: dict[str, torch.Tensor], adapter: Path) -> None:
        """Writes the best values of `parameters` to the folder `adapter`."""
        save_adapter(best, adapter, self.base_name, rank=self.settings.rank, alpha=self.alpha)

    def _resume(self) -> None:
        """Continues from the checkpoint of the same run, or starts where there is none."""
        self.best = dict[str, torch.Tensor]()
        torch.manual_seed(self.seed)
        if self.group.leads and (found := self.checkpoint.restore()):
            values, self.best = found
            self.state = _state_of(values)
        self.saved = time.monotonic()

    @property
    def stopped_early(self) -> bool:
        return self.state.worse >= self.settings.patience and self.state.step < self.steps

    @property
    def finished(self) -> bool:
        return self.stopped_early or self.state.step >= self.steps

    def advance(self) -> TrainProgress:
        """One optimiser step, and the validation and the checkpoint that are due after it."""
        start = time.monotonic()
        state = self.state
        rate = self.schedule(state.step, self.steps)
        with told_out_of_memory(f"Step {state.step + 1} of {self.steps}", self.settings):
            loss, norm = self._step(rate)
        if state.step % STEPS_BETWEEN_RETURNS == 0:
            return_free_memory()
        state.step_seconds += time.monotonic() - start
        validation: float | None = None
        if state.step in self.validate_at:
            with told_out_of_memory(f"The validation after step {state.step}", self.settings):
                validation = self._validate(rate)
        state.seconds += time.monotonic() - start
        due = state.step in self.validate_at or time.monotonic() - self.saved > CHECKPOINT_SECONDS
        if due and self.group.leads:
            saving = time.monotonic()
            self.checkpoint.write(asdict(state), self.best)
            self.saved = time.monotonic()
            state.seconds += self.saved - saving
        metrics = state.history[-1].metrics if state.step in self.validate_at else {}
        speed = state.tokens / state.step_seconds
        return TrainProgress(state.step, self.steps, loss, validation, speed, rate, norm, metrics)

    def _step(self, rate: float) -> tuple[float, float]:
        """One step with the gradient of a batch, summed over its micro-batches: mean loss, gradient's norm."""
        state = self.state
        epoch, number = divmod(state.step, self.steps_per_epoch)
        order = epoch_batches(
            len(self.rows), self.settings.batch_size, seed=self.seed, epoch=epoch, lengths=self._row_lengths
        )
        rows = [self.rows[index] for index in order[number]]
        count = self.count(rows)
        total = 0.0
        own = rows if self.group.count == 1 else shares(rows, self.group.count, empty=True)[self.group.rank]
        with self.in_training():
            found = self.workers.map(self._gradient, shares(own, self.workers.count))
        for loss, gradients in found:
            total += loss
            for parameter, gradient in zip(self.parameters.values(), gradients, strict=True):
                scaled = gradient / count
                parameter.grad = scaled if parameter.grad is None else parameter.grad.add_(scaled)
        if self.group.count > 1:
            total = self._sum_gradients(total)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.max_grad_norm).item()
        if self.group.leads:
            check_step_finite(state.step + 1, self.steps, total, norm, self.settings, len(rows))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("rate", 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        state.step += 1
        state.tokens += sum(len(one.ids) for row in rows for one in row.sequences)
        state.trained_tokens += sum(trained_tokens(row) for row in rows)
        state.recent_loss += total
        state.recent_count += count
        return total / count, norm

    @contextmanager
    def in_training(self) -> Iterator[None]:
        """What holds while the gradient of a step is computed, and not in validations."""
        again = self.settings.gradient_checkpointing
        with recomputing(self.model, draws=self.settings.dropout > 0) if again else nullcontext():
            yield

    def check_recomputed(self, batch: Any, gradients: Sequence[torch.Tensor] | None = None) -> None:
        """Tries gradient checkpointing, if it is asked for, on a batch.

        Args:
            gradients: of this batch without it; None: they are computed.

        Raises:
            RagftError: the model has none, or it changes gradients.
        """
        if not self.settings.gradient_checkpointing:
            return
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        where = f"{self.model.config.model_type} with finetune.method = {self.settings.method}"

        def computed() -> Sequence[torch.Tensor]:
            return torch.autograd.grad(self.summed_loss(batch), trained, materialize_grads=True)

        try:
            expected = computed() if gradients is None else gradients
            with recomputing(self.model, draws=False):
                found = computed()
        except Exception as error:
            raise RagftError(
                f"finetune.gradient_checkpointing does not work for {where} ({error}): set it to false."
            ) from error
        if not all(map(torch.equal, expected, found)):
            raise RagftError(f"finetune.gradient_checkpointing changes the gradients of {where}: set it to false.")

    def _sum_gradients(self, loss: float) -> float:
        """Sums the gradients of all processes in each of them, and returns the sum of their losses."""
        for parameter in self.parameters.values():
            if parameter.grad is None:  # fewer rows than processes
                parameter.grad = torch.zeros_like(parameter)
        self.group.sum([parameter.grad for parameter in self.parameters.values() if parameter.grad is not None])
        losses = torch.tensor([loss], dtype=torch.float64)
        self.group.sum([losses])
        return losses.item()

    def _gradient(self, rows: Rows) -> tuple[float, list[torch.Tensor]]:
        """Summed loss of some rows and its gradient with respect to the adapters, in the order of `parameters`.

        Returned instead of accumulated in `.grad`, which several threads must not share.
        """
        total, gradients = 0.0, list[torch.Tensor]()
        parameters = list(self.parameters.values())
        for batch in self.batches(rows):
            loss = self.summed_loss(batch)
            total += loss.item()
            found = torch.autograd.grad(loss, parameters, materialize_grads=self.some_without_gradient)
            gradients = [old.add_(new) for old, new in zip(gradients, found, strict=True)] if gradients else list(found)
        return total, gradients

    @torch.no_grad()  # on what the workers call, because each thread has its own gradient mode
    def _loss(self, batch: Batch) -> float:
        return self.summed_loss(batch).item()

    def _validate(self, rate: float) -> float | None:
        """Records a history entry and keeps the adapter if it is the best so far."""
        state = self.state
        train_loss = state.recent_loss / state.recent_count
        state.recent_loss, state.recent_count = 0.0, 0
        validation: float | None = None
        if self.validation:
            losses = self._validation_losses()
            if self.group.leads:
                check_validation_finite(state.step, self.steps, losses, train_loss, self.settings.learning_rate)
            validation = sum(losses) / self.validation_count
        metrics = self.group.tell(dict(self.evaluate(self.model)) if self.evaluate else {})
        state.history.append(HistoryEntry(state.step, train_loss, validation, rate, metrics))
        if state.worse == 0 and self.group.leads:
            self.best = {name: parameter.detach().to("cpu", copy=True) for name, parameter in self.parameters.items()}
        return validation

    def _validation_losses(self) -> list[float]:
        """Summed loss of each batch of validation rows, of which every process computes its share."""
        own = range(self.group.rank, len(self.validation), self.group.count)
        found = self.workers.map(self._loss, [self.validation[number] for number in own])
        if self.group.count == 1:
            return found
        losses = torch.zeros(len(self.validation), dtype=torch.float64)
        losses[list(own)] = torch.tensor(found, dtype=torch.float64)
        self.group.sum([losses])
        return losses.tolist()

    def report(self, rows_left_out: int, validation_rows_left_out: int) -> TrainReport:
        """Writes the best adapter and says what the run did."""
        adapter, state, best = self.folder / "adapter", self.state, self.state.best
        self.save(self.best, adapter)
        return TrainReport(
            adapter=adapter,
            backend=self.backend,
            steps=state.step,
            epochs=state.step / self.steps_per_epoch,
            rows=len(self.rows),
            rows_left_out=rows_left_out,
            validation_rows=self.validation_rows,
            validation_rows_left_out=validation_rows_left_out,
            tokens=state.tokens,
            trained_tokens=state.trained_tokens,
            tokens_per_second=state.tokens / state.step_seconds,
            seconds=state.seconds,
            peak_card_mib=devices.peak_mib(self.device),
            peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            history=tuple(state.history),
            best_step=best.step,
            best_loss=best.loss,
            best_metrics=best.metrics,
            stopped_early=self.stopped_early,
        )


def _state_of(values: Mapping[str, Any]) -> _State:
    """The counters that `asdict` made values of."""
    return _State(**{**values, "history": [HistoryEntry(**entry) for entry in values["history"]]})


def learning_rate(settings: FinetuneSection, step: int, steps: int) -> float:
    """Learning rate of step `step + 1` of `steps`: a linear warm-up, then the scheduler's decay towards 0."""
    warmup = math.ceil(settings.warmup_ratio * steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    fall = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}
    return settings.learning_rate * fall[settings.lr_scheduler]
