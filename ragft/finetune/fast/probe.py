"""Whether the fast loop trains a base exactly: tried at load on a few packed rows, never read from a list of names.

Rows of different lengths behind a shared prefix go through the loop's own path, packed, with a small adapter on every
target layer; the plain model of transformers computes the same rows one by one. Logits and the adapters' gradients must
agree to rounding in float32. Whatever the loop does not know of an architecture shows there: a state that runs from one
row into the next, attention that bypasses the interface, scaled or capped logits, a layer that takes no part.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ragft.errors import RagftError
from ragft.finetune import base
from ragft.finetune.fast import attention, decoder
from ragft.finetune.fast.batching import MicroBatch, Rows, pack
from ragft.finetune.fast.decoder import hidden_states, summed_loss
from ragft.finetune.fast.lora import LoraDelta, attach, compute_in, initial_adapter, matrices, target_linears
from ragft.messages import Rendered

MAX_DIFFERENCE = 5e-4
"""Largest difference of logits, in standard deviations of the logits, that float32 rounding explains. Measured: 1e-5
for SmolLM2-135M, at most 2e-5 for random models of all architectures; the smallest real difference among them: 0.05."""

MAX_GRADIENT_DIFFERENCE = 5e-3
"""The same of an adapter's gradient, in its largest entry. Measured: 9e-5 for SmolLM2-135M, whose 30 layers add up
rounding on the way back; a gradient that is lost or of another path is off by its whole size."""

WHOLE = 500_000_000
"""A model with more parameters is probed on its first layers alone, as many as hold one of every kind."""

_PREFIX, _LENGTHS = 5, (4, 9, 2)


class NotFast(RagftError):
    """The fast back end would not train this base exactly; another back end may."""


@dataclass(frozen=True)
class Verdict:
    """What the probe found.

    Attributes:
        reason: why the fast back end cannot train the model; None: it can.
        logits: largest difference of logits, in standard deviations of the plain model's.
        gradients: largest difference of an adapter's gradient, in the largest entry of the plain model's.
        uneven: short rows are computed differently in a batch with a row of the longest allowed length.
        windows: the sliding windows or chunks of attention, in tokens, that packed attention ignores.
    """

    reason: str | None
    logits: float = float("nan")
    gradients: float = float("nan")
    uneven: bool = False
    windows: tuple[int, ...] = ()


def load_for_training(
    folder: Path, dtype: torch.dtype | None, *, max_seq_length: int, attention_name: str = attention.PACKED
) -> nn.Module:
    """Loads a model with packed attention, see `decoder.load`, that computes and learns what transformers would.

    Args:
        attention_name: the kind of packed attention that it gets, on whatever device it goes to. The model is probed
            on the processor with `attention.PACKED`, and the kind is compared with that where it is chosen.

    Raises:
        NotFast: the fast back end would compute something else; the message says what.
        RagftError: no back end could train it: damaged, incomplete or quantised, or too few positions.
    """
    model = decoder.load(folder, None, attention_name="eager")
    base.check_positions(model, max_seq_length)
    reason = why_not_fast(model, max_seq_length=max_seq_length)
    if reason is not None:
        raise NotFast(
            f"The fast back end cannot train {model.config.model_type}: {reason}; choose a Llama-like base model, or a "
            "method of the PEFT back end."
        )
    model.set_attn_implementation(attention_name)
    if dtype is not None:
        compute_in(model, dtype)
    return model


def why_not_fast(model: nn.Module, *, max_seq_length: int) -> str | None:
    """Why a freshly loaded model with eager attention cannot be trained here; None: it can. The model is unchanged.

    Raises:
        RagftError: with rows of `max_seq_length` tokens no back end computes each row as it is served.
    """
    verdict = probe(model, max_seq_length=max_seq_length)
    if verdict.uneven:
        border = _rotary_border(model)
        raise RagftError(
            f"The rotary embedding of {model.config.model_type} changes for all rows of a batch once one is longer "
            f"than a border, which rows of finetune.max_seq_length = {max_seq_length} tokens may be: set "
            f"finetune.max_seq_length to {border if border else 'a smaller value'}."
        )
    narrowest = min(verdict.windows, default=max_seq_length)
    if verdict.reason is None and narrowest < max_seq_length:
        return (
            f"it has a sliding window of {narrowest} tokens, fewer than finetune.max_seq_length = {max_seq_length} "
            f"(set it to {narrowest} or less)"
        )
    return verdict.reason


def probe(model: nn.Module, *, max_seq_length: int) -> Verdict:
    """Compares the fast loop's path with the plain model's, in float32; the model is left as it was.

    Args:
        model: as loaded, with eager attention and without adapters.
        max_seq_length: the position up to which short rows must compute the same beside long ones.
    """
    rows = _rows(model)
    with ExitStack() as stack:
        try:
            stack.enter_context(_first_layers(model))
            stack.enter_context(_in_float32(model))
            stacked = _stacked_matrices(model)
            if stacked is not None:
                return Verdict(
                    f"it keeps the matrices of its experts in one tensor ({stacked}), which would stay as is"
                )
            try:
                adapter = _adapter(model)
            except RagftError as error:
                return Verdict(_one_line(error))
            plain = _plain(model, rows, adapter)
        except Exception as error:
            return Verdict(f"its plain model fails with an adapter on its linear layers ({_one_line(error)})")
        try:
            windows = stack.enter_context(attention.windows_seen())
            stack.enter_context(_fast_path(model, adapter))
            return _compared(model, pack(rows), plain, windows, max_seq_length)
        except Exception as error:  # whatever an architecture that the loop does not know raises
            return Verdict(_one_line(error))


@dataclass(frozen=True)
class _Plain:
    """The plain model's results: (K, vocabulary) logits at the predicting positions, and gradients by matrix."""

    logits: Tensor
    gradients: dict[str, Tensor | None]


def _compared(model: nn.Module, batch: MicroBatch, plain: _Plain, windows: Sequence[int], longest: int) -> Verdict:
    head = model.get_output_embeddings()
    with torch.no_grad():
        hidden = hidden_states(model, batch)
        logits = head(hidden)
        positions = batch.positions.clone()
        positions[0, -1] = longest - 1
        beside_a_long_row = hidden_states(model, replace(batch, positions=positions))
    off = ((logits - plain.logits).abs().max() / plain.logits.std()).item()
    if not off <= MAX_DIFFERENCE:  # written so that NaN is refused
        return Verdict(
            f"packed rows give other logits than transformers gives for each row alone (by {off:.2g} standard "
            "deviations), as with a recurrent state, scaled logits or attention of its own",
            off,
        )
    trainable = matrices(model)
    found = torch.autograd.grad(summed_loss(model, batch), list(trainable.values()), allow_unused=True)
    gradients = dict(zip(trainable, found, strict=True))
    worst, where = _worst(gradients, plain.gradients)
    if not worst <= MAX_GRADIENT_DIFFERENCE:
        return Verdict(f"the gradient of {where} is not the one that transformers computes", off, worst)
    # All rows but the last, whose own token was moved.
    kept = len(batch.targets) - _LENGTHS[-1]
    moved = (beside_a_long_row[:kept] - hidden[:kept]).abs().max() / hidden.std()
    return Verdict(None, off, worst, not moved <= MAX_DIFFERENCE, tuple(windows))


def _stacked_matrices(model: nn.Module) -> str | None:
    """The first parameter of stacked matrices, if any: PEFT adapts those of experts, the fast loop linear layers."""
    for name, module in model.get_decoder().named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if parameter.ndim == 3 and min(parameter.shape) > 1 and "conv" not in type(module).__name__.lower():
                return f"{name}.{own}"
    return None


def _rotary_border(model: nn.Module) -> int | None:
    """The length at which a model's rotary embedding changes, if its configuration tells."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    border = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    return border if isinstance(border, int) else None


def _worst(found: Mapping[str, Tensor | None], expected: Mapping[str, Tensor | None]) -> tuple[float, str]:
    """The largest difference of a gradient, in the largest entry of the expected one, and where it is."""
    worst, where = 0.0, ""
    largest = max((g.abs().max().item() for g in expected.values() if g is not None), default=0.0)
    for name, wanted in expected.items():
        own = found.get(name)
        if own is None or wanted is None:
            return float("inf"), name
        # A gradient far below the others is the difference of larger numbers: its rounding is theirs.
        scale = max(wanted.abs().max().item(), 1e-3 * largest)
        off = (own - wanted).abs().max().item() / scale if scale else float("inf")
        if not off <= worst:
            worst, where = off, name
    return worst, where


def _plain(model: nn.Module, rows: Rows, adapter: Mapping[str, LoraDelta]) -> _Plain:
    """Each row alone through the plain model, its linear layers' outputs changed by the adapter through autograd."""
    trainable, hooks = dict[str, Tensor](), []
    linears = target_linears(model)
    for name, delta in adapter.items():
        A, B = delta.A.clone().requires_grad_(), delta.B.clone().requires_grad_()
        trainable |= {f"{name}.A": A, f"{name}.B": B}
        hooks.append(linears[name].register_forward_hook(partial(_adapted_output, A, B, delta.scale)))
    try:
        loss, logits = torch.zeros(()), []
        for row in rows:
            own = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0, :-1][
                torch.tensor(row.trained[1:])
            ]
            wanted = torch.tensor([token for token, trained in zip(row.ids, row.trained, strict=True) if trained])
            loss = loss + functional.cross_entropy(own, wanted, reduction="sum")
            logits.append(own.detach())
        found = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    return _Plain(torch.cat(logits), dict(zip(trainable, found, strict=True)))


def _adapted_output(A: Tensor, B: Tensor, scale: float, module: nn.Module, given: tuple[Tensor], out: Tensor) -> Tensor:
    return out + scale * functional.linear(functional.linear(given[0], A), B)


def _rows(model: nn.Module) -> Rows:
    """Rows of `_LENGTHS` trained tokens behind a shared prefix; no special tokens, which may stand for images."""
    source, config = random.Random(0), model.config.get_text_config()
    special = {value for part in (config, model.config) for key, value in part.to_dict().items() if "token" in key
               and isinstance(value, int)}  # fmt: skip
    ids = [token for token in range(min(config.vocab_size, 4096)) if token not in special]
    prefix = [source.choice(ids) for _ in range(_PREFIX)]
    # The first token after the prefix differs, so that the prefix is what is shared and no more.
    firsts = source.sample(ids, len(_LENGTHS))
    return [
        Rendered(
            (*prefix, first, *(source.choice(ids) for _ in range(length - 1))),
            (False,) * _PREFIX + (True,) * length,
        )
        for first, length in zip(firsts, _LENGTHS, strict=True)
    ]


def _adapter(model: nn.Module) -> dict[str, LoraDelta]:
    """A small adapter for every target layer that changes what it computes."""
    generator = torch.Generator().manual_seed(0)
    fresh = initial_adapter(model, 2, 2.0, seed=0)
    return {
        name: replace(delta, B=torch.empty_like(delta.B).normal_(std=0.05, generator=generator))
        for name, delta in fresh.items()
    }


@contextmanager
def _fast_path(model: nn.Module, adapter: Mapping[str, LoraDelta]) -> Iterator[None]:
    """The model as the fast loop trains it: packed attention, and the adapter attached."""
    linears, before = target_linears(model), model.config._attn_implementation
    model.set_attn_implementation(attention.PACKED)
    attach(model, adapter, quantise=False)
    try:
        yield
    finally:
        for name, linear in linears.items():
            model.set_submodule(name, linear)
        model.set_attn_implementation(before)


@contextmanager
def _in_float32(model: nn.Module) -> Iterator[None]:
    """All weights in float32; the stored values come back exactly, as every narrower float is one of float32."""
    before = [(tensor, tensor.dtype) for tensor in (*model.parameters(), *model.buffers())]
    compute_in(model, torch.float32)
    try:
        yield
    finally:
        for tensor, dtype in before:
            tensor.data = tensor.data.to(dtype)


@contextmanager
def _first_layers(model: nn.Module) -> Iterator[None]:
    """A large model with its first layers alone, as many as hold one of every kind, and at least two."""
    lists = [
        (name, module) for name, module in model.get_decoder().named_modules() if isinstance(module, nn.ModuleList)
    ]
    if sum(p.numel() for p in model.parameters()) <= WHOLE or not lists:
        yield
        return
    name, layers = max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()))
    kinds = [_kind(layer) for layer in layers]
    count = max(2, *(kinds.index(kind) + 1 for kind in kinds))
    model.get_decoder().set_submodule(name, nn.ModuleList(layers[:count]))
    try:
        yield
    finally:
        model.get_decoder().set_submodule(name, layers)


def _kind(layer: nn.Module) -> object:
    """What tells a layer from another besides its weights and its number."""
    return [
        (type(module).__qualname__, sorted(
            (key, value) for key, value in vars(module).items()
            if isinstance(value, bool | int | float | str) and "idx" not in key and not key.startswith("_")
        ))
        for module in layer.modules()
    ]  # fmt: skip


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    named = text if isinstance(error, RagftError) else f"{type(error).__name__}: {text}"
    return named if len(named) <= 300 else f"{named[:297]}..."
