"""The state of a training run on disk: one safetensors file, replaced atomically, no pickle.

It holds all that decides the rest of a run (adapters, AdamW's moments and step count, torch's random state, the best
adapters so far and the counters), so that a resumed run ends with the same bits as an undisturbed one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from blake3 import blake3
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from index.durable import write_file
from ragft.finetune.fast.batching import Rows

# Raise this when a run's arithmetic or the file's layout changes: runs then ignore older checkpoints and start over.
FORMAT = 3


def fingerprint(model_folder: Path, rows: Rows, validation: Rows, about: dict[str, Any]) -> str:
    """Hash of everything that decides a run: base weights, rows in their order, and `about` (settings, seed, dtype)."""
    digest = blake3(json.dumps({"format": FORMAT, **about}, sort_keys=True).encode())
    for path in sorted([*model_folder.glob("*.safetensors"), model_folder / "config.json"]):
        digest.update(blake3(max_threads=blake3.AUTO).update_mmap(path).digest())
    for part in (rows, validation):
        digest.update(json.dumps([[(one.ids, one.trained) for one in row.sequences] for row in part]).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of the run with the fingerprint `run`, whose AdamW is over `parameters`."""

    path: Path
    run: str
    parameters: dict[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer

    def write(self, state: dict[str, Any], best: dict[str, torch.Tensor]) -> None:
        """Writes the run as it is, its counters as JSON values, and its best adapters so far, by name."""
        tensors: dict[str, torch.Tensor] = {"rng": torch.get_rng_state()}
        for name, parameter in self.parameters.items():
            tensors[f"adapter:{name}"] = parameter.detach()
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"{key}:{name}"] = value
        for name, value in best.items():
            tensors[f"best:{name}"] = value
        write_file(self.path, save(tensors, metadata={"fingerprint": self.run, "state": json.dumps(state)}))

    def restore(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
        """Restores parameters, optimiser and random state; returns what else `write` was given.

        None if there is no checkpoint, it is unreadable, or it belongs to another run: the caller then starts over.
        """
        try:
            with safe_open(self.path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("fingerprint") != self.run:
                    return None
                tensors = {key: file.get_tensor(key) for key in list(file.keys())}
        except (OSError, SafetensorError):
            return None
        best: dict[str, torch.Tensor] = {}
        for key, tensor in tensors.items():
            kind, _, name = key.partition(":")
            if kind == "rng":
                torch.set_rng_state(tensor)
            elif kind == "adapter":
                self.parameters[name].data.copy_(tensor)
            elif kind == "best":
                best[name] = tensor
            else:
                self.optimizer.state[self.parameters[name]][kind] = tensor
        return json.loads(about["state"]), best
