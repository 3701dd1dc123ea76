"""Training through PEFT: the run of the fast loop with other layers, on padded rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.nn import functional

from index.durable import write_file
from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune.base import check_ids, check_positions
from ragft.finetune.fast import decoder
from ragft.finetune.fast import trainer as fast
from ragft.finetune.fast.adapter import save_adapter
from ragft.finetune.fast.batching import Rows
from ragft.finetune.fast.checkpoint import identity
from ragft.finetune.fast.run import Run
from ragft.finetune.methods import METHODS
from ragft.finetune.peft_backend.attach import (
    SHIFTS_BASE,
    attach,
    cannot,
    factors_of,
    low_rank_matrices,
    quantise,
    shift_base,
)
from ragft.finetune.peft_backend.batching import PaddedBatch, pad, padded_batches
from ragft.finetune.peft_backend.forward import cast_frozen, logits_at
from ragft.finetune.peft_backend.start import load_start
from ragft.finetune.peft_backend.steps import noisy_embeddings
from ragft.finetune.peft_backend.weights import save_weights
from ragft.finetune.report import TrainReport
from ragft.messages import Rendered

INITIAL = "initial.safetensors"
"""In the folder of a run: the first values of adapters that are a part of the weights. They are computed once, because
another number of threads would give other bits, and a base with another part taken out of it."""

_BEGINS_ELSEWHERE = ("prompt-tuning", "p-tuning", "prefix-tuning")
"""Methods whose virtual tokens change what the model computes from the first step on."""

_BEGIN_TOLERANCE = 1e-3
"""Largest difference of logits, in their standard deviations, that rounding in float32 explains."""

_PADDING_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Share of the loss of two rows by which rounding may change it when they are padded."""


def train(
    model_folder: Path,
    train_rows: Rows,
    validation_rows: Rows,
    settings: FinetuneSection,
    **others: Any,
) -> TrainReport:
    """Trains by any method that takes answers; arguments and result are those of `ragft.finetune.fast.trainer.train`.

    Raises:
        RagftError: as there, or the method is not possible for this architecture.
    """
    return fast.train(model_folder, train_rows, validation_rows, settings, back_end=PeftRun, **others)


class PeftRun(Run):
    """A run over PEFT's layers, or over the model's own weights."""

    backend = "peft"
    # Dropout draws from one random state, which threads would share in any order.
    parallel = False
    # Experts that no token asked, and layers whose weight goes past its adapter into a fused kernel.
    some_without_gradient = True

    def _adapted_model(self, model_folder: Path, validation: Rows) -> nn.Module:
        """The base model with what the method trains. What is trained is float32; products are in `dtype`."""
        settings, method = self.settings, METHODS[self.settings.method]
        if settings.method in SHIFTS_BASE and self.group.count > 1:
            raise RagftError(
                f"finetune.method = {settings.method} is trained by one process, because the part that it takes out of "
                "the base must be the same everywhere: start ragft without torch.distributed.run, or choose lora."
            )
        model = self._base(model_folder)
        check_ids(model, [one.ids for row in (*self.rows, *validation) for one in row.sequences])
        virtual = settings.virtual_tokens if "virtual_tokens" in method.keys else 0
        check_positions(model, settings.max_seq_length, virtual_tokens=virtual)
        if method.quantisation is not None:
            quantise(model)
        plain = self._trial_logits(model, self._trial_rows())
        self._check_causal(model)
        wrapped = attach(model, settings, self.alpha, seed=self.seed)
        if settings.method in SHIFTS_BASE:
            self.first = self._first_factors(model_folder)
            shift_base(wrapped, self.first)
        if settings.method not in _BEGINS_ELSEWHERE:
            self._check_unchanged(plain, self._trial_logits(wrapped, self._trial_rows()))
        load_start(wrapped, settings)
        if settings.method not in SHIFTS_BASE:
            cast_frozen(wrapped, self.dtype)
        self.model = wrapped
        self.together = self._tried()
        return wrapped

    def _base(self, model_folder: Path) -> nn.Module:
        return decoder.load(model_folder, torch.float32, attention_name="eager", device=self.device)

    def _first_factors(self, model_folder: Path) -> dict[str, torch.Tensor]:
        """The part of the weights that the adapters begin as; that of the first start, where there was one."""
        about = {"initial": self.settings.model_dump(include={"method", "rank", "alpha", "target_modules", "layers"})}
        run = json.dumps(identity(model_folder, [], [], about), sort_keys=True)
        path = self.folder / INITIAL
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("fingerprint") == run:
                    return {key: file.get_tensor(key) for key in list(file.keys())}
        except (OSError, SafetensorError):
            pass
        factors = factors_of(self._base(model_folder), self.settings, self.alpha)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(path, save(factors, metadata={"fingerprint": run}))
        return factors

    def _trial_rows(self) -> list[Rendered]:
        """Two short rows, of different lengths where there are such."""
        first = min(self.rows, key=lambda row: len(row.ids))
        return [first, next((row for row in self.rows if len(row.ids) != len(first.ids)), first)]

    @torch.no_grad()
    def _trial_logits(self, model: nn.Module, rows: Rows) -> torch.Tensor:
        try:
            return logits_at(model, pad(rows), torch.float32)
        except Exception as error:
            raise cannot(self.settings.method, model, error) from error

    def _check_causal(self, model: nn.Module) -> None:
        """Refuses a model that sees the answer which it should predict, such as an encoder."""
        ids = self._trial_rows()[-1].ids
        seen = max(1, len(ids) // 2)
        others = (*ids[:seen], *reversed(ids[seen:]), ids[0])
        first, second = (
            self._trial_logits(model, [Rendered(row, (True,) * (seen + 1) + (False,) * (len(row) - seen - 1))])
            for row in (ids, others)
        )
        off = ((first - second).abs().max() / first.std()).item()
        if not off <= _BEGIN_TOLERANCE:
            raise RagftError(
                f"{model.config.model_type} looks at the tokens that it should predict (its logits change with later "
                "tokens): it is no causal language model; choose another base model."
            )

    def _check_unchanged(self, plain: torch.Tensor, wrapped: torch.Tensor) -> None:
        """Refuses what computes something else than the base before it has learnt anything."""
        off = ((wrapped - plain).abs().max() / plain.std()).item()
        if not off <= _BEGIN_TOLERANCE:
            raise RagftError(
                f"finetune.method = {self.settings.method} changes what this base model computes before it is trained "
                f"(logits by {off:.2g} standard deviations): PEFT does not fit the architecture; choose lora or full."
            )

    def _tried(self) -> bool:
        """Tries two rows before anything is trained; returns whether a row is the same with padding behind it.

        Raises:
            RagftError: the architecture cannot be computed with this method, or the loss does not reach it.
        """
        rows = self._trial_rows()
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        try:
            loss = self.summed_loss(pad(rows))
            gradients = torch.autograd.grad(loss, trained, materialize_grads=True)
            with torch.no_grad():
                alone = [self.summed_loss(pad([row])) for row in rows]
        except Exception as error:
            raise cannot(self.settings.method, self.model, error) from error
        if not any(gradient.any() for gradient in gradients):
            raise cannot(self.settings.method, self.model, ValueError("the loss does not reach what would be trained"))
        self.check_recomputed(pad(rows), gradients)
        return bool((loss - sum(alone)).abs() <= _PADDING_TOLERANCE[self.dtype] * sum(alone))

    def parameter_groups(self) -> list[dict[str, Any]]:
        if self.settings.method != "lora+":
            return super().parameter_groups()
        B = [parameter for name, parameter in self.parameters.items() if ".lora_B." in name]
        others = [parameter for name, parameter in self.parameters.items() if ".lora_B." not in name]
        return [{"params": others}, {"params": B, "rate": self.settings.lora_plus_ratio}]

    def batches(self, rows: Rows) -> Sequence[PaddedBatch]:
        batches = padded_batches(rows, self.settings.token_budget, together=self.together)
        return [batch.to(self.device) for batch in batches]

    def summed_loss(self, batch: PaddedBatch) -> torch.Tensor:
        self._batch_lengths = batch.mask.sum(1)
        logits = logits_at(self.model, batch, self.dtype)
        return functional.cross_entropy(logits.float(), batch.targets.to(logits.device), reduction="sum")

    @contextmanager
    def in_training(self) -> Iterator[None]:
        """Dropout and noise, besides."""
        noise = self.settings.neftune_alpha
        with ExitStack() as until:
            until.enter_context(super().in_training())
            if noise:
                until.enter_context(noisy_embeddings(self.model, noise, lambda: self._batch_lengths))
            self._drop_out(self.settings.dropout > 0)
            until.callback(self._drop_out, False)
            yield

    def _drop_out(self, active: bool) -> None:
        """Dropout of the adapters alone: the base model's own stays off."""
        for module in self.model.modules():
            if isinstance(module, BaseTunerLayer):
                module.train(active)

    def save(self, best: dict[str, torch.Tensor], adapter: Path) -> None:
        if METHODS[self.settings.method].yields == "weights":
            save_weights(best, adapter, self.base_name)
            return
        for name, parameter in self.parameters.items():
            parameter.data.copy_(best[name])
        if self.settings.method in SHIFTS_BASE:
            # Relative to the base as it was: s (B A - B0 A0) is one adapter of twice the rank.
            last = low_rank_matrices(self.model)
            joined = {
                name: torch.cat([last[name], first]) if name.endswith(".A") else torch.cat([last[name], -first], dim=1)
                for name, first in self.first.items()
            }
            save_adapter(joined, adapter, self.base_name, rank=2 * self.settings.rank, alpha=2 * self.alpha)
            return
        self.model.save_pretrained(adapter, safe_serialization=True, save_embedding_layers=False)
        (adapter / "README.md").unlink(missing_ok=True)  # PEFT's empty form of a model card
