"""How much memory a training will take, by a model fitted on sizes, and how long, by timing a few of its real steps.

Knows nothing of documents, prompts or the application. The figures behind the constants are those of
`benchmarks/estimates.py`.
"""

from __future__ import annotations

import contextlib
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune import devices
from ragft.finetune.base import check_writes
from ragft.finetune.fast import decoder
from ragft.finetune.fast.attention import tiles
from ragft.finetune.fast.batching import MicroBatch, Rows, epoch_batches, lengths_for, micro_batches, shares, trainable
from ragft.finetune.fast.faults import advise_recomputing
from ragft.finetune.fast.loss import CHUNK
from ragft.finetune.fast.memory import return_free_memory
from ragft.finetune.methods import METHODS
from ragft.finetune.training import train

if TYPE_CHECKING:
    from ragft.finetune.report import TrainProgress

LIBRARIES_MIB = 660
"""Resident memory of a process that has imported torch, transformers, PEFT and bitsandbytes, and trains a model of no
size."""

ACTIVATIONS_FACTOR = 1.4
WEIGHTS_FACTOR = 1.5
"""What is resident over what is counted: intermediate results of the backward pass, copies made while loading, and the
holes that these leave between tensors."""

TIMED_SECONDS = 10.0
TIMED_STEPS = 5
"""Steps are timed until so many seconds or steps are over, and at least one is."""

CARD_WEIGHTS_FACTOR = 1.1
CARD_LIBRARIES_MIB = 300
"""The same of a card: torch's allocator leaves smaller holes, and what its libraries reserve when they are first asked
for a product. Reckoned, never measured."""

_FORWARD_SHARE = 0.4
"""Time of a forward pass as a share of forward and backward: of three passes over frozen weights two remain, and of
three over attention one."""


@dataclass(frozen=True)
class ModelSizes:
    """What decides how much a decoder computes and holds.

    Attributes:
        width, inner, key_width: of the hidden states, of the middle of an MLP, and of all keys of a token.
        linear, others: parameters of the linear layers without the head, and all others; tied ones count once.
        sides: sum of inputs and outputs over all linear layers: parameters of adapters of rank 1.
    """

    layers: int
    width: int
    inner: int
    heads: int
    key_width: int
    vocabulary: int
    linear: int
    others: int
    sides: int

    @classmethod
    def of(cls, folder: Path) -> ModelSizes:
        """The sizes of the model in a folder; reads its configuration, not its weights."""
        from transformers import AutoConfig, AutoModelForCausalLM

        from ragft.finetune.fast.lora import target_linears

        check_writes(folder)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        config, linears = config.get_text_config(), target_linears(model).values()
        linear = sum(module.weight.numel() for module in linears)
        heads = getattr(config, "num_attention_heads", None) or 1  # a model of states has none
        keys = getattr(config, "num_key_value_heads", None) or heads
        return cls(
            layers=config.num_hidden_layers, width=config.hidden_size,
            inner=getattr(config, "intermediate_size", None) or 4 * config.hidden_size, heads=heads,
            key_width=keys * (getattr(config, "head_dim", None) or config.hidden_size // heads),
            vocabulary=config.vocab_size, linear=linear,
            others=sum(parameter.numel() for parameter in model.parameters()) - linear,
            sides=sum(sum(module.weight.shape) for module in linears),
        )  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """Peak of the memory of a training by part, in MiB: resident memory of the process, or memory of the card."""

    libraries: float
    weights: float
    adapters: float
    activations: float
    vocabulary: float

    @property
    def total(self) -> float:
        return self.libraries + self.weights + self.adapters + self.activations + self.vocabulary

    def most(self) -> str:
        """The name of the largest part that settings can change."""
        parts = {name: getattr(self, name) for name in ("weights", "adapters", "activations", "vocabulary")}
        return max(parts, key=parts.__getitem__)


def memory(sizes: ModelSizes, rows: Rows, settings: FinetuneSection, device: torch.device = devices.CPU) -> Memory:
    """Peak memory of training on these rows, of which there is at least one, on the processor or a card."""
    itemsize, workers = decoder.compute_dtype(device).itemsize, _workers(settings, device)
    kept = sizes.linear * itemsize
    frozen = kept
    if METHODS[settings.method].quantisation is not None:
        frozen = sizes.linear / 2 + (0 if quantising_saves(sizes, device) else kept)
    moments = _moments(settings, device)
    # Masters, moments and the best so far; gradients of each worker, their sum, and a scaled copy.
    adapters = round(4 * settings.rank * sizes.sides * (2 + moments + workers + 2))
    if METHODS[settings.method].yields == "weights":
        # Masters in float32, their gradient, moments and the best so far; all but the gradient stand a second time in
        # memory while a checkpoint is written.
        trained = _trained_share(sizes, settings) * (sizes.linear + sizes.others)
        adapters = round(4 * (5 + 2 * moments) * trained)
    batches = [_parallel(batch, settings, workers) for batch in _batches(rows, settings, epoch=0)]
    again = settings.gradient_checkpointing
    activations = max(
        sum(max(_activation_bytes(sizes, micro, itemsize, again) for micro in share) for share in batch)
        for batch in batches
    )
    chunks = max(sum(min(CHUNK, max(len(micro.targets) for micro in share)) for share in batch) for batch in batches)
    # The logits in float32, as much for their exponentials, and a copy in the format of the head's products.
    vocabulary = chunks * sizes.vocabulary * (8 + itemsize)
    on_card = device.type != "cpu"
    if on_card and METHODS[settings.method].quantisation is not None:
        frozen += max(sizes.width, sizes.inner) ** 2 * 4  # one layer in float32, while it is quantised
    weights = (CARD_WEIGHTS_FACTOR if on_card else WEIGHTS_FACTOR) * (sizes.others * itemsize + frozen)
    parts = (weights, adapters, ACTIVATIONS_FACTOR * activations, vocabulary)
    return Memory(CARD_LIBRARIES_MIB if on_card else LIBRARIES_MIB, *(part / 2**20 for part in parts))


def quantising_saves(sizes: ModelSizes, device: torch.device = devices.CPU) -> bool:
    """Whether a quantised base takes less memory: of a small one, the dequantised weights are kept besides."""
    from ragft.finetune.fast.run import keeps_dequantised

    return not keeps_dequantised(sizes.linear, decoder.compute_dtype(device))


def refuse_small_card(model_folder: Path, rows: Rows, settings: FinetuneSection) -> None:
    """Refuses a training that the card's free memory will not hold, before anything is loaded.

    Raises:
        RagftError: that, or there is no such card.
    """
    device, usable = devices.resolve(settings.device), trainable(rows, settings.max_seq_length)
    if device.type == "cpu" or not usable:
        return
    sizes = ModelSizes.of(model_folder)
    needed, free = memory(sizes, usable, settings, device), devices.free_mib(device)
    if needed.total > free:
        plain = METHODS[settings.method].quantisation is None
        quantise = "set finetune.method to qlora, " if plain and quantising_saves(sizes, device) else ""
        raise RagftError(
            f"Training would take about {needed.total / 1024:.1f} GiB on {device}, most of it for {needed.most()}, and "
            f"{free / 1024:.1f} GiB are free there: {advise_recomputing(settings)}lower "
            f"finetune.token_budget, {quantise}take a smaller model, or set finetune.device to cpu."
        )


def _moments(settings: FinetuneSection, device: torch.device) -> float:
    """Memory of the optimiser's two moments, in float32 copies of what is trained."""
    if settings.optimizer == "adamw":
        return 2.0
    if settings.optimizer == "paged-adamw-8bit" and device.type != "cpu":
        return 0.0  # they leave a card that is full
    return 2 * (1 / 4 + 1 / 256)  # a byte each, and a float32 for every block of 256


def _trained_share(sizes: ModelSizes, settings: FinetuneSection) -> float:
    """Share of the weights that are trained themselves."""
    if settings.method != "layers":
        return 1.0
    return (len(settings.layers) or math.ceil(sizes.layers / 4)) / sizes.layers


def seconds(sizes: ModelSizes, rows: Rows, validation: Rows, settings: FinetuneSection, *, rate: float) -> float:
    """How long a whole training takes, validations included, at so many seconds per unit of `_cost`."""
    workers = _workers(settings)
    per_epoch = sum(_batch_cost(sizes, batch, settings, workers) for batch in _batches(rows, settings, epoch=0))
    checks = micro_batches(validation, settings.token_budget)
    one_check = sum(_cost(sizes, micro) for micro in checks) / min(workers, max(1, len(checks)))
    return rate * (settings.epochs * per_epoch + settings.eval_count * _FORWARD_SHARE * one_check)


def measured_rate(
    model_folder: Path, sizes: ModelSizes, rows: Rows, settings: FinetuneSection, *, seed: int,
    fell_back: Callable[[RagftError], None] | None = None,
) -> float:  # fmt: skip
    """Seconds per unit of `_cost`, of real steps of the method on some of the rows; what they train is thrown away.

    The first step is not counted: it makes what later ones find made.

    Args:
        fell_back: as for `train`.

    Raises:
        RagftError: as `train` of the method.
    """
    wanted = min(len(rows), (TIMED_STEPS + 1) * settings.batch_size)
    some = random.Random(seed).sample(list(rows), wanted)
    steps_per_epoch = math.ceil(wanted / settings.batch_size)
    # One step more than are taken, so that there is no validation and no last checkpoint.
    shortened = settings.model_copy(update={"epochs": (TIMED_STEPS + 2) / steps_per_epoch, "eval_count": 1})
    ends: list[float] = []

    def note(_: TrainProgress) -> None:
        ends.append(time.monotonic())
        if len(ends) > 1 and (len(ends) > TIMED_STEPS or ends[-1] - ends[0] > TIMED_SECONDS):
            raise _Enough

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_Enough):
        train(model_folder, some, (), shortened, seed=seed, folder=Path(folder), progress=note, fell_back=fell_back)
    return_free_memory()
    workers = _workers(settings)
    costs = [
        _batch_cost(sizes, batch, settings, workers)
        for epoch in range(math.ceil(len(ends) / steps_per_epoch))
        for batch in _batches(some, settings, epoch=epoch, seed=seed)
    ]
    return (ends[-1] - ends[0]) / sum(costs[1 : len(ends)])


class _Enough(Exception):
    """Enough steps were timed."""


def _workers(settings: FinetuneSection, device: torch.device | None = None) -> int:
    device = devices.resolve(settings.device) if device is None else device
    return settings.threads or torch.get_num_threads() if device.type == "cpu" else 1


def _batches(rows: Rows, settings: FinetuneSection, *, epoch: int, seed: int = 0) -> list[Rows]:
    """The optimiser batches of an epoch."""
    lengths = lengths_for(rows, settings.order)
    orders = epoch_batches(len(rows), settings.batch_size, seed=seed, epoch=epoch, lengths=lengths)
    return [[rows[number] for number in order] for order in orders]


def _parallel(batch: Rows, settings: FinetuneSection, workers: int) -> list[list[MicroBatch]]:
    """The micro-batches of an optimiser batch, for each worker those that it computes one after the other."""
    return [micro_batches(share, settings.token_budget) for share in shares(batch, workers)]


def operations(sizes: ModelSizes, batches: Iterable[Rows], settings: FinetuneSection) -> float:
    """Floating-point operations of optimiser batches of LoRA, forward and back."""
    workers = _workers(settings)
    parallel = (share for batch in batches for share in _parallel(batch, settings, workers))
    return sum(_cost(sizes, micro, settings.gradient_checkpointing) for share in parallel for micro in share)


def _batch_cost(sizes: ModelSizes, batch: Rows, settings: FinetuneSection, workers: int) -> float:
    """Cost of a step: that of the worker that has most to do."""
    again = settings.gradient_checkpointing
    return max(sum(_cost(sizes, micro, again) for micro in share) for share in _parallel(batch, settings, workers))


def _cost(sizes: ModelSizes, micro: MicroBatch, again: bool = False) -> float:
    """Floating-point operations of a micro-batch, forward and back; with frozen weights each product has two.

    Args:
        again: layers go forward twice.
    """
    linear = (6 if again else 4) * micro.ids.shape[1] * sizes.linear
    attention = (16 if again else 12) * sizes.layers * sizes.width * _scores(micro)
    return float(linear + attention + 4 * len(micro.targets) * sizes.vocabulary * sizes.width)


def _scores(micro: MicroBatch) -> int:
    """Pairs of a token and one that it is compared with."""
    return sum((end - first) * (prefix + end - own) for first, end, prefix, own in tiles(micro.layout))


def _activation_bytes(sizes: ModelSizes, micro: MicroBatch, itemsize: int, again: bool) -> float:
    """What the layers keep of a micro-batch for the backward pass.

    Args:
        again: each keeps its input alone, and one at a time computes the rest again.
    """
    # Twice the residual, its norm, queries, and what goes into the output; keys and values; four in the MLP.
    elements = 6 * sizes.width + 2 * sizes.key_width + 4 * sizes.inner
    norms = 0 if itemsize == 4 else 2 * 4 * sizes.width  # computed in float32, from copies
    tokens = micro.ids.shape[1]
    layer = tokens * (elements * itemsize + norms) + sizes.heads * _scores(micro) * itemsize
    # Of the one layer at work, as much again is kept, its gradients, and what they are computed from.
    return float(4 * layer + sizes.layers * tokens * sizes.width * itemsize if again else sizes.layers * layer)
