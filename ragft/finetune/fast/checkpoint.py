"""The state of a training run on disk: one safetensors file, replaced atomically, no pickle.

Whatever decides the rest of a run is in it, so that a resumed run ends with the same bits as an undisturbed
one: adapters, AdamW's moments and step count, torch's random state, the best adapters so far and the
counters.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from blake3 import blake3
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from index.durable import write_file
from ragft.prompts import Rendered

# Raise this when a run's arithmetic or the file's layout changes: older checkpoints then start anew.
FORMAT = 1


def fingerprint(model_folder: Path, rows: list[Rendered], validation: list[Rendered], about: dict[str, Any]) -> str:
    """Hash of everything that decides a run: base weights, rows in their order, and `about` (settings, seed,
    dtype)."""
    digest = blake3(json.dumps({"format": FORMAT, **about}, sort_keys=True).encode())
    for path in sorted([*model_folder.glob("*.safetensors"), model_folder / "config.json"]):
        digest.update(blake3(max_threads=blake3.AUTO).update_mmap(path).digest())
    for part in (rows, validation):
        digest.update(json.dumps([(row.ids, row.trained) for row in part]).encode())
    return digest.hexdigest()


def write(
    path: Path,
    print_: str,
    state: dict[str, Any],
    parameters: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    best: dict[str, torch.Tensor],
) -> None:
    """Replaces the checkpoint at `path`; killed at any moment, the old or the new one is whole."""
    tensors: dict[str, torch.Tensor] = {"rng": torch.get_rng_state()}
    for name, parameter in parameters.items():
        tensors[f"adapter:{name}"] = parameter.detach()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}:{name}"] = value
    for name, value in best.items():
        tensors[f"best:{name}"] = value
    write_file(path, save(tensors, metadata={"fingerprint": print_, "state": json.dumps(state)}))


def read(
    path: Path, print_: str, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
    """Puts a checkpoint back into the run; returns its counters and best adapters.

    None if there is none, it is unreadable, or it belongs to another run: the caller then starts anew.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("fingerprint") != print_:
                return None
            tensors = {key: file.get_tensor(key) for key in list(file.keys())}
    except (OSError, SafetensorError):
        return None
    best: dict[str, torch.Tensor] = {}
    moments: dict[str, dict[str, torch.Tensor]] = {name: {} for name in parameters}
    for key, tensor in tensors.items():
        kind, _, name = key.partition(":")
        if kind == "rng":
            torch.set_rng_state(tensor)
        elif kind == "adapter":
            parameters[name].data.copy_(tensor)
        elif kind == "best":
            best[name] = tensor
        else:
            moments[name][kind] = tensor
    for name, parameter in parameters.items():
        if moments[name]:
            optimizer.state[parameter].update(moments[name])
    return json.loads(about["state"]), best
