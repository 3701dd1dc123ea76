"""int8 compressed-tensors: weights in int8, one scale for each output channel, and activations in int8, one scale for
each token, taken as they come.

This is what vLLM's processor kernels multiply in int8 (oneDNN, W8A8; their kernel for int8 weights beside 16-bit
activations takes four bits only), and its GPU kernels do, too. The output head and the embedding stay as they are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.quantization_config import CompressedTensorsConfig

from index.durable import write_file
from ragft.errors import RagftError
from ragft.finetune.export.weights import Weights

LARGEST = 127
"""Symmetric: -128 is not used."""

SHARD_BYTES = 4 * 2**30
"""Size from which the next file of weights is begun: what is held in memory at once."""

_EIGHT_BITS = {"num_bits": 8, "type": "int", "symmetric": True}
SCHEME: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {**_EIGHT_BITS, "strategy": "channel", "dynamic": False},
            "input_activations": {**_EIGHT_BITS, "strategy": "token", "dynamic": True},
        }
    },
}
_NOT_COPIED = {".safetensors", ".bin", ".pt", ".pth", ".gguf"}
_NOT_OF_AN_EXPORT = {"config.json", "model.safetensors.index.json", "manifest.json", "proof.jsonl"}


def write(model: Path, folder: Path) -> None:
    """Writes a merged model as int8 into an existing, empty folder, with tokenizer, template and licence.

    Raises:
        RagftError: the model has weights of a kind that this format has no place for.
    """
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    weights = Weights(model)
    layers, kept = _layers(model, weights)
    shards: dict[str, str] = {}
    for number, tensors in enumerate(_shards(weights, layers), start=1):
        name = f"model-{number:05d}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        shards |= dict.fromkeys(tensors, name)
    if len(set(shards.values())) == 1:
        (folder / "model-00001.safetensors").rename(folder / "model.safetensors")
    else:
        index = {"metadata": {}, "weight_map": shards}
        write_file(folder / "model.safetensors.index.json", json.dumps(index, indent=1).encode())
    config["quantization_config"] = {**SCHEME, "ignore": kept}
    write_file(folder / "config.json", json.dumps(config, indent=2).encode())
    for path in sorted(model.iterdir()):
        if path.is_file() and path.suffix not in _NOT_COPIED and path.name not in _NOT_OF_AN_EXPORT:
            shutil.copyfile(path, folder / path.name)


def read(folder: Path, dtype: torch.dtype) -> nn.Module:
    """Reads an export: weights as they stand in int8, and activations rounded to int8 in front of every layer."""
    model = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=dtype, local_files_only=True, trust_remote_code=False,
        quantization_config=CompressedTensorsConfig(dequantize=True),
    )  # fmt: skip
    return model.eval()


def quantised(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (out, in) as int8, and the scale of each output channel: (out, 1) float32."""
    weight = weight.float()
    scale = weight.abs().amax(dim=1, keepdim=True) / LARGEST
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # a channel of zeros
    return (weight / scale).round().clamp(-LARGEST, LARGEST).to(torch.int8), scale


def _layers(model: Path, weights: Weights) -> tuple[set[str], list[str]]:
    """Names of the weights that are quantised, and of the linear layers that are not."""
    config = AutoConfig.from_pretrained(str(model), local_files_only=True)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    head, embedding = empty.get_output_embeddings(), empty.get_input_embeddings()
    linear = {name for name, layer in empty.named_modules() if isinstance(layer, nn.Linear)}
    kept = sorted(name for name, layer in empty.named_modules() if layer is head and name in linear)
    layers = {f"{name}.weight" for name in linear if name not in kept}
    known = layers | {f"{name}.weight" for name, layer in empty.named_modules() if layer in (head, embedding)}
    others = [name for name in weights if len(weights.shape(name)) > 1 and name not in known]
    missing = sorted(layers - set(weights))
    if others or missing:
        raise RagftError(
            f"A {config.model_type} model cannot be exported to int8: {(others or missing)[0]} is no matrix of a plain "
            "linear layer, and only those have an int8 form that vLLM reads; serve the merged model as it is."
        )
    return layers, kept


def _shards(weights: Weights, layers: set[str]) -> Iterator[dict[str, torch.Tensor]]:
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        if name in layers:
            tensors[name], tensors[f"{name}_scale"] = quantised(tensor)
        else:
            tensors[name] = tensor
        if sum(each.nbytes for each in tensors.values()) >= SHARD_BYTES:
            yield tensors
            tensors = {}
    if tensors:
        yield tensors
