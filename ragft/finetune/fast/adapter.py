"""Adapters on disk, in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

What is written here loads with `peft.PeftModel.from_pretrained`, and LoRA adapters that PEFT wrote load here.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from index.durable import publish_folder
from ragft.errors import RagftError
from ragft.finetune.fast.lora import LoraLinear, adapted, replace, target_linears
from ragft.finetune.fast.nf4 import round_trip

_PREFIX = "base_model.model."
# Settings under which an adapter is more than y + scale · B A x, with the values that mean "not used".
_BEYOND_PLAIN: dict[str, tuple[Any, ...]] = {
    "use_dora": (None, False),
    "lora_bias": (None, False),
    "fan_in_fan_out": (None, False),
    "use_qalora": (None, False),
    "bias": (None, "none"),
    "modules_to_save": (None, []),
    "alpha_pattern": (None, {}),
    "layer_replication": (None, []),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
    # These start from changed base weights, so that the adapter does not fit the unchanged ones.
    "init_lora_weights": (None, True, False, "gaussian", "eva", "orthogonal"),
}


@dataclass(frozen=True)
class LoraDelta:
    """One layer's adapter: the layer's weight changes by scale · B A.

    Attributes:
        A: (rank, in) float32.
        B: (out, rank) float32.
        scale: alpha / rank, or what the adapter's configuration says instead.
    """

    A: torch.Tensor
    B: torch.Tensor
    scale: float

    def product(self) -> torch.Tensor:
        """scale · B A: (out, in) float32."""
        return (self.B @ self.A).mul_(self.scale)


def save_adapter(
    model: nn.Module,
    folder: Path,
    base_name: str,
    *,
    rank: int,
    alpha: float,
    tensors: dict[str, torch.Tensor] | None = None,
) -> None:
    """Writes the adapters of `model` into `folder`, which appears whole or not at all and replaces an older
    one.

    Args:
        model: a model with adapters attached.
        folder: where to.
        base_name: what the adapter's configuration names as its base model.
        rank: the adapters' rank.
        alpha: the adapters' alpha.
        tensors: values to write instead of the model's present ones, by parameter name (`….A`, `….B`).
    """
    layers = dict(adapted(model))
    if not layers:
        raise RagftError("There is nothing to save: no adapter is attached to this model.")
    values: dict[str, torch.Tensor] = {}
    for name, layer in layers.items():
        for letter, own in (("A", layer.A), ("B", layer.B)):
            tensor = own if tensors is None else tensors[f"{name}.{letter}"]
            values[f"{_PREFIX}{name}.lora_{letter}.weight"] = tensor.detach().float().contiguous()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({name.rpartition(".")[2] for name in layers}),
        "inference_mode": True,
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    save_file(values, building / "adapter_model.safetensors", metadata={"format": "pt"})
    (building / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    publish_folder(building, folder)


def read_adapter(folder: Path) -> dict[str, LoraDelta]:
    """The adapters in `folder` by the name of the layer they change.

    Raises:
        RagftError: the folder holds no adapter, or one that is more than plain LoRA.
    """
    config = _plain_config(folder)
    try:
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        raise RagftError(f"The adapter in {folder} has no readable adapter_model.safetensors: {error}") from None
    deltas: dict[str, LoraDelta] = {}
    for key in sorted(tensors):
        name, _, ending = key.removeprefix(_PREFIX).rpartition(".lora_")
        if not key.startswith(_PREFIX) or ending not in ("A.weight", "B.weight"):
            raise RagftError(f"The adapter in {folder} is not plain LoRA: it holds {key!r}; train one with LoRA alone.")
        if ending == "B.weight":
            continue
        A, B = tensors[key].float(), tensors.get(f"{_PREFIX}{name}.lora_B.weight")
        if B is None or A.ndim != 2 or B.ndim != 2 or B.shape[1] != A.shape[0]:
            raise RagftError(
                f"The adapter in {folder} is damaged: A of {name!r} has the shape {tuple(A.shape)}, and B "
                f"{'is missing' if B is None else f'has {tuple(B.shape)}'}."
            )
        rank = A.shape[0]
        scale = float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)
        deltas[name] = LoraDelta(A, B.float(), scale)
    if not deltas:
        raise RagftError(f"The adapter in {folder} is empty: adapter_model.safetensors holds no LoRA matrices.")
    return deltas


def check_fits(deltas: dict[str, LoraDelta], linears: dict[str, nn.Linear], folder: Path) -> None:
    """Refuses an adapter whose layers or shapes are not those of the model.

    Raises:
        RagftError: naming the first layer that does not fit, with both shapes.
    """
    for name, delta in deltas.items():
        linear = linears.get(name)
        if linear is None:
            raise RagftError(
                f"The adapter in {folder} does not fit this model: it changes {name!r}, which the model has not among "
                "its linear layers; use the base model that it was trained on."
            )
        wanted = (delta.B.shape[0], delta.A.shape[1])
        if tuple(linear.weight.shape) != wanted:
            raise RagftError(
                f"The adapter in {folder} does not fit this model: it changes {name!r} as {wanted}, which is "
                f"{tuple(linear.weight.shape)} here; use the base model that it was trained on."
            )


def load_adapter(model: nn.Module, folder: Path, *, quantise: bool, cache: bool = False) -> None:
    """Puts the adapter in `folder` onto a plain model, in place.

    Args:
        model: a causal language model without adapters.
        folder: an adapter in PEFT's format.
        quantise: put the model's linear layers into NF4 first, as QLoRA does, those without an adapter too.
        cache: keep dequantised copies of NF4 weights.

    Raises:
        RagftError: the adapter is not plain LoRA, or does not fit the model.
    """
    deltas = read_adapter(folder)
    linears = target_linears(model)
    check_fits(deltas, linears, folder)
    model.requires_grad_(False)
    unused = torch.Generator().manual_seed(0)
    for name, linear in linears.items():
        delta = deltas.get(name)
        if delta is None:
            if quantise:
                linear.weight.data = round_trip(linear.weight.data)
            continue
        rank = delta.A.shape[0]
        layer = LoraLinear(linear, rank, delta.scale, quantise=quantise, cache=cache, generator=unused)
        layer.A.data, layer.B.data = delta.A, delta.B
        replace(model, name, layer)


def _plain_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration, if it describes plain LoRA."""
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RagftError(f"{folder} holds no adapter in PEFT's format: adapter_config.json: {error}") from None
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise RagftError(f"The adapter in {folder} is of the kind {kind!r}; only LoRA adapters can be used here.")
    for key, unused in _BEYOND_PLAIN.items():
        if config.get(key) not in unused:
            raise RagftError(
                f"The adapter in {folder} is not plain LoRA: its adapter_config.json sets {key} to {config[key]!r}; "
                "train one without it."
            )
    return config
