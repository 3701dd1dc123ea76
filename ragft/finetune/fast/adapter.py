"""Adapters on disk, in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

What is written here loads with `peft.PeftModel.from_pretrained`, and LoRA adapters that PEFT wrote load here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ragft.config import FinetuneSection
from ragft.console import counted
from ragft.errors import RagftError
from ragft.finetune.fast.lora import LoraDelta, attach, target_linears
from ragft.finetune.fast.plain_lora import CONFIG, PlainLora, read_plain_lora
from ragft.finetune.start import adapter_in, check_layers, other_form

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def save_adapter(matrices: Mapping[str, Tensor], folder: Path, base_name: str, *, rank: int, alpha: float) -> None:
    """Writes `lora.matrices` (float32), whose products are scaled by alpha / rank, over an older one in `folder`."""
    values, modules = {}, set()
    for name, matrix in matrices.items():
        layer, _, letter = name.rpartition(".")
        values[f"{_PREFIX}{layer}.lora_{letter}.weight"] = matrix.detach().contiguous()
        modules.add(layer.rpartition(".")[2])
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base_name, "r": rank,
        "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none", "target_modules": sorted(modules),
        "inference_mode": True,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    save_file(values, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_adapter(
    model: nn.Module, folder: Path, *, quantise: bool, cache: bool = False, device: torch.device | None = None
) -> None:
    """Attaches the adapter in `folder` to a plain model, in place; see `ragft.finetune.fast.lora.attach`.

    Raises:
        RagftError: the adapter is not plain LoRA, does not fit the model, or changes other layers than it promises.
    """
    config, linears = read_plain_lora(folder), target_linears(model)
    adapter = _read_deltas(folder, config)
    for name, delta in adapter.items():
        wanted = (delta.B.shape[0], delta.A.shape[1])
        here = tuple(linears[name].weight.shape) if name in linears else "no linear layer that can be adapted"
        if here != wanted:
            raise RagftError(
                f"The adapter in {folder} does not fit this model: it changes {name!r} as {wanted}, which is {here} "
                "here; use the base model that it was trained on."
            )
    promised = config.changed((name for name, _ in model.named_modules()), linears)
    for names, what in (
        (promised - adapter.keys(), f"{WEIGHTS} holds no matrices of {{}}, which {CONFIG} says it changes"),
        (adapter.keys() - promised, f"{WEIGHTS} holds matrices of {{}}, which {CONFIG} leaves out"),
    ):
        if names:
            raise RagftError(f"The adapter in {folder} is damaged: {what.format(_listed(names))}; restore it.")
    attach(model, adapter, quantise=quantise, cache=cache, device=device)


def read_adapter(folder: Path) -> dict[str, LoraDelta]:
    """The deltas of the plain LoRA adapter in `folder`, by the name of the layer that they change.

    Raises:
        RagftError: the adapter is not plain LoRA, or is damaged.
    """
    return _read_deltas(folder, read_plain_lora(folder))


def starting_deltas(settings: FinetuneSection, fresh: Mapping[str, LoraDelta]) -> dict[str, LoraDelta]:
    """The values that training begins from, for the layers of a fresh adapter.

    Raises:
        RagftError: the adapter has another form than the fresh one.
    """
    if settings.start_from is None:
        return dict(fresh)
    adapter = adapter_in(settings.start_from)
    found = read_adapter(adapter)
    check_layers(adapter, set(found), set(fresh))
    for name, delta in found.items():
        here = fresh[name]
        rank, wanted = delta.A.shape[0], here.A.shape[0]
        if rank != wanted:
            raise other_form(adapter, f"its rank is {rank}, and finetune.rank is {wanted}: set finetune.rank to {rank}")
        if delta.scale != here.scale:
            told = f"its alpha is {delta.scale * rank:g}, and here it would be {here.scale * rank:g}"
            raise other_form(adapter, f"{told}: set finetune.alpha to {delta.scale * rank:g}")
        if (delta.A.shape, delta.B.shape) != (here.A.shape, here.B.shape):
            raise other_form(adapter, f"{name!r} has another shape: use the base model that it was trained on")
    return found


def _listed(names: Collection[str]) -> str:
    first, *others = sorted(names)
    return f"{first!r}" + (f" and {counted(len(others), 'other layer')}" if others else "")


def _read_deltas(folder: Path, config: PlainLora) -> dict[str, LoraDelta]:
    """The deltas in `folder` by the name of the layer that they change."""
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise RagftError(f"The adapter in {folder} has no readable {WEIGHTS}: {error}") from None
    pairs = dict[str, dict[str, Tensor]]()
    for key, tensor in sorted(tensors.items()):
        name, _, ending = key.removeprefix(_PREFIX).rpartition(".lora_")
        if not key.startswith(_PREFIX) or ending not in ("A.weight", "B.weight"):
            raise RagftError(f"The adapter in {folder} is not plain LoRA: it holds {key!r}; train one with LoRA alone.")
        if tensor.dtype not in _DTYPES:
            raise RagftError(f"The adapter in {folder} is not plain LoRA: {key!r} is in {tensor.dtype}.")
        if not tensor.isfinite().all():
            raise RagftError(f"The adapter in {folder} is damaged: {key!r} holds values that are not finite.")
        pairs.setdefault(name, {})[ending[0]] = tensor.float()
    if not pairs:
        raise RagftError(f"The adapter in {folder} is empty: {WEIGHTS} holds no LoRA matrices.")
    return {name: _delta(folder, config, name, pair) for name, pair in pairs.items()}


def _delta(folder: Path, config: PlainLora, name: str, pair: Mapping[str, Tensor]) -> LoraDelta:
    """One layer's delta, whose matrices must have the rank that the configuration says."""
    rank, scale = config.shape(name)
    if pair.keys() == {"A", "B"}:
        A, B = pair["A"], pair["B"]
        if A.ndim == B.ndim == 2 and A.shape[0] == B.shape[1] == rank:
            return LoraDelta(A, B, scale)
    shapes = (
        f"{letter} {'has ' + str(tuple(pair[letter].shape)) if letter in pair else 'is missing'}" for letter in "AB"
    )
    raise RagftError(
        f"The adapter in {folder} is damaged: of {name!r}, {' and '.join(shapes)}, where {CONFIG} says rank {rank}."
    )
