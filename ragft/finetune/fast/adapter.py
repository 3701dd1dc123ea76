"""Adapters on disk, in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

What is written here loads with `peft.PeftModel.from_pretrained`, and LoRA adapters that PEFT wrote load here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ragft.errors import RagftError
from ragft.finetune.fast.lora import LoraDelta, attach, target_linears

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."
# Settings under which an adapter is more than y + scale · B A x, with the values that mean "not used".
_BEYOND_PLAIN: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("use_dora", "lora_bias", "fan_in_fan_out", "use_qalora"), (None, False)),
    **dict.fromkeys(("modules_to_save", "layer_replication", "target_parameters"), (None, [])),
    "alpha_pattern": (None, {}),
    "trainable_token_indices": (None, [], {}),
    "bias": (None, "none"),
    # Other initialisations change the base weights, so that the adapter does not fit the unchanged ones.
    "init_lora_weights": (None, True, False, "gaussian", "eva", "orthogonal"),
}


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


def load_adapter(model: nn.Module, folder: Path, *, quantise: bool, cache: bool = False) -> None:
    """Attaches the adapter in `folder` to a plain model, in place; see `ragft.finetune.fast.lora.attach`.

    Raises:
        RagftError: the adapter is not plain LoRA, or does not fit the model.
    """
    adapter, linears = read_adapter(folder), target_linears(model)
    for name, delta in adapter.items():
        wanted = (delta.B.shape[0], delta.A.shape[1])
        here = tuple(linears[name].weight.shape) if name in linears else "no linear layer"
        if here != wanted:
            raise RagftError(
                f"The adapter in {folder} does not fit this model: it changes {name!r} as {wanted}, which is {here} "
                "here; use the base model that it was trained on."
            )
    attach(model, adapter, quantise=quantise, cache=cache)


def read_adapter(folder: Path) -> dict[str, LoraDelta]:
    """The deltas in `folder` by the name of the layer that they change."""
    config = _plain_config(folder)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise RagftError(f"The adapter in {folder} has no readable {WEIGHTS}: {error}") from None
    adapter: dict[str, LoraDelta] = {}
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
        adapter[name] = LoraDelta(A, B.float(), scale)
    if not adapter:
        raise RagftError(f"The adapter in {folder} is empty: {WEIGHTS} holds no LoRA matrices.")
    return adapter


def _plain_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration, if it describes plain LoRA."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RagftError(f"{folder} holds no adapter in PEFT's format: {CONFIG}: {error}") from None
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise RagftError(f"The adapter in {folder} is of the kind {kind!r}; only LoRA adapters can be used here.")
    for key, unused in _BEYOND_PLAIN.items():
        if config.get(key) not in unused:
            raise RagftError(
                f"The adapter in {folder} is not plain LoRA: its {CONFIG} sets {key} to {config[key]!r}; train one "
                "without it."
            )
    return config
