"""Training from preferences and rewards: the run of the PEFT back end with losses that TRL computes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ragft.config import FinetuneSection
from ragft.errors import MissingDependency, RagftError
from ragft.finetune.fast import trainer as fast
from ragft.finetune.fast.batching import Rows, grouped, trained_tokens
from ragft.finetune.methods import METHODS
from ragft.finetune.peft_backend.batching import PaddedBatch
from ragft.finetune.peft_backend.forward import computing_in
from ragft.finetune.peft_backend.trainer import PeftRun
from ragft.finetune.report import TrainReport
from ragft.finetune.trl_backend.losses import PreferenceLoss, RewardLoss
from ragft.messages import Preferred, Rewarded

_PACKAGES = ("trl", "datasets", "accelerate")


def train(
    model_folder: Path, train_rows: Rows, validation_rows: Rows, settings: FinetuneSection, **others: Any
) -> TrainReport:
    """Trains by a method that takes preferences or prompts; arguments and result are those of
    `ragft.finetune.fast.trainer.train`, with losses that are no nats: see `PreferenceRun` and `RewardRun`.

    Args:
        train_rows, validation_rows: `Preferred` or `Rewarded`, as `Method.rows` says.

    Raises:
        MissingDependency: TRL is not installed.
        RagftError: as there, or the rows are not such as the method learns from.
    """
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise MissingDependency(
            f"finetune.method is {settings.method}, which needs {' and '.join(missing)}: pip install 'ragft[trl]', or "
            "set finetune.method to lora."
        )
    kind = RewardRun if METHODS[settings.method].rows == "prompts" else PreferenceRun
    kind.check(train_rows, validation_rows, settings)
    return fast.train(model_folder, train_rows, validation_rows, settings, back_end=kind, **others)


@dataclass(frozen=True)
class PreferenceBatch:
    """Rows as TRL takes them, and how many terms their loss has."""

    tensors: dict[str, Tensor]
    count: int


class PreferenceRun(PeftRun):
    """A run on better and worse answers. Losses are those of the method, per pair, or for kto per answer."""

    @staticmethod
    def check(rows: Rows, validation: Rows, settings: FinetuneSection) -> None:
        """Refuses rows that the method cannot learn from."""
        lacking = sum(not isinstance(row, Preferred) or row.rejected is None for row in (*rows, *validation))
        if settings.method != "kto" and lacking:
            raise RagftError(
                f"finetune.method = {settings.method} learns from pairs of a better and a worse answer, and {lacking} "
                f"of {len(rows) + len(validation)} rows have no worse one: add `rejected` to their examples, or set "
                "finetune.method to kto, which takes both kinds."
            )
        if settings.method == "kto" and not any(isinstance(row, Preferred) and row.rejected for row in rows):
            raise RagftError(
                f"finetune.method = kto learns from worse answers, too, and none of the {len(rows)} training rows has "
                "one: add `rejected` to some examples, or set finetune.method to lora."
            )

    def _adapted_model(self, model_folder: Path, validation: Rows) -> nn.Module:
        model = super()._adapted_model(model_folder, validation)
        if not self.together:
            raise RagftError(
                f"finetune.method = {self.settings.method} is not possible for {model.config.model_type}: padding "
                "behind a row changes what the model computes for it; choose lora or full."
            )
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.loss = self._loss_of(model)
        after = {name: one.dtype for name, one in model.named_parameters() if one.requires_grad}
        if after != dict.fromkeys(trained, torch.float32):
            raise RagftError("TRL changed which weights are trained, or their format: use the version of the lock.")
        return model

    def _loss_of(self, model: nn.Module) -> Any:
        return PreferenceLoss(model, self.settings)

    def count(self, rows: Rows) -> int:
        return sum(self.loss.answers(row) for row in rows)

    def batches(self, rows: Rows) -> Sequence[Any]:
        if not rows:
            return []
        return [PreferenceBatch(self.loss.batch(group), self.count(group)) for group in self._groups(list(rows))]

    def _groups(self, rows: list[Any]) -> list[list[Any]]:
        """Rows that go through the model together: all of a step where their loss is not a sum over rows."""
        size = self.settings.batch_size
        if not self.loss.by_row:
            return [rows[start : start + size] for start in range(0, len(rows), size)]
        return grouped(rows, _padded_tokens, self.settings.token_budget)

    def summed_loss(self, batch: Any) -> Tensor:
        if isinstance(batch, PaddedBatch):  # of the trial, before there is a loss of preferences
            return super().summed_loss(batch)
        with computing_in(self.dtype):
            return self.loss.mean(self.model, batch.tensors).float() * batch.count


class RewardRun(PreferenceRun):
    """A run on prompts, which the model answers several times for each step. Losses are 1 minus the mean reward."""

    @staticmethod
    def check(rows: Rows, validation: Rows, settings: FinetuneSection) -> None:
        if not all(isinstance(row, Rewarded) for row in (*rows, *validation)):
            raise RagftError(f"finetune.method = {settings.method} needs rows that say how an answer is rewarded.")

    def _loss_of(self, model: nn.Module) -> Any:
        longest = max(map(trained_tokens, self.rows))
        room = self.settings.max_seq_length - max(len(row.prompt) for row in self.rows)
        return RewardLoss(
            model, self.settings, end=self.rows[0].ids[-1],
            # A model that has not learnt to stop should cost little.
            max_tokens=max(1, min(2 * longest, room)),
        )  # fmt: skip

    def count(self, rows: Rows) -> int:
        return len(rows)

    def batches(self, rows: Rows) -> Sequence[Any]:
        return list(rows)

    @contextmanager
    def in_training(self) -> Iterator[None]:
        """Nothing: in a step, the model answers, too."""
        yield

    def _gradient(self, rows: Rows) -> tuple[float, list[Tensor]]:
        """As in `Run`; the value is that of the rewards, because GRPO's loss is near 0 whatever is learnt."""
        parameters = list(self.parameters.values())
        total, gradients = 0.0, [torch.zeros_like(parameter) for parameter in parameters]
        for row in rows:
            with computing_in(self.dtype):
                sampled = self.loss.sample(row)
                total += 1 - sum(self.loss.rewards) / len(self.loss.rewards)
                loss = self.loss.mean(self.model, sampled)
            found = torch.autograd.grad(loss, parameters, materialize_grads=True)
            gradients = [old.add_(new) for old, new in zip(gradients, found, strict=True)]
        return total, gradients

    @torch.no_grad()
    def _loss(self, batch: Any) -> float:
        with computing_in(self.dtype):
            self.loss.sample(batch)
        return 1 - sum(self.loss.rewards) / len(self.loss.rewards)


def _padded_tokens(rows: Rows) -> int:
    """Tokens of better and worse answers side by side, with their padding."""
    return 2 * len(rows) * max(len(one.ids) for row in rows for one in row.sequences)
