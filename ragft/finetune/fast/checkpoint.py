"""The state of a training run on disk: one safetensors file, replaced atomically, no pickle.

It holds all that decides the rest of a run (adapters, the optimiser's moments and step count, torch's random state, the
best adapters so far and the counters), so that a resumed run ends with the same bits as an undisturbed one, and a hash
of all that, so that damage is noticed. The one before it is kept as a second chance.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from blake3 import blake3
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from index.durable import write_file
from ragft.finetune.devices import CPU, random_states, set_random_state
from ragft.finetune.fast.batching import Rows
from ragft.finetune.optimizers import put_back, state_of

# Raise this when a run's arithmetic or the file's layout changes: runs then ignore older checkpoints and start over.
FORMAT = 4

LATEST, PREVIOUS = "checkpoint.safetensors", "checkpoint-previous.safetensors"


def identity(model_folder: Path, rows: Rows, validation: Rows, about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that decides a run, by names that a person knows: JSON values, contents as hashes.

    Args:
        about: settings, seed and dtype.
    """
    weights = blake3()
    for path in sorted([*model_folder.glob("*.safetensors"), model_folder / "config.json"]):
        weights.update(blake3(max_threads=blake3.AUTO).update_mmap(path).digest())

    def content(part: Rows) -> str:
        return blake3(
            json.dumps([[(one.ids, one.trained) for one in row.sequences] for row in part]).encode()
        ).hexdigest()

    contents = {"the base model": weights.hexdigest(), "the training rows": content(rows)}
    return {"the checkpoint's format": FORMAT, **contents, "the validation rows": content(validation), **about}


def differences(kept: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What tells two runs apart, in words: settings with both values, contents by their names."""
    found = []
    for name in [*now, *(kept.keys() - now.keys())]:
        before, after = kept.get(name), now.get(name)
        if before != after:
            found.append(name if name.startswith("the ") else f"{name} (it was {before}, now {after})")
    return ", ".join(found)


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint in `folder` of the run that `run` identifies, whose optimiser is over `parameters`."""

    folder: Path
    run: Mapping[str, Any]
    parameters: dict[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    say: Callable[[str], None]
    device: torch.device = CPU

    def write(self, state: dict[str, Any], best: dict[str, torch.Tensor]) -> None:
        """Writes the run as it is, its counters as JSON values, and its best adapters so far, by name."""
        tensors = random_states(self.device)
        for name, parameter in self.parameters.items():
            tensors[f"adapter:{name}"] = parameter.detach().cpu()
            for key, value in state_of(self.optimizer, parameter).items():
                tensors[f"{key}:{name}"] = value.cpu()
        for name, value in best.items():
            tensors[f"best:{name}"] = value
        about = {"run": json.dumps(self.run), "state": json.dumps(state)}
        data = save(tensors, metadata={**about, "content": content_of(about, tensors)})
        latest = self.folder / LATEST
        if latest.exists():
            latest.replace(self.folder / PREVIOUS)
        write_file(latest, data)

    def restore(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
        """Restores parameters, optimiser and random state; returns what else `write` was given.

        Returns None where there is nothing to go on from, and says why if there is a checkpoint that is damaged or
        belongs to another run: the caller then starts over.
        """
        for path in (self.folder / LATEST, self.folder / PREVIOUS):
            if not path.exists():
                continue
            kept = _run_of(path)
            if kept is not None and kept != self.run:
                self.say(
                    f"The checkpoint in {self.folder} is of another training, which differs in "
                    f"{differences(kept, self.run)}: training starts at step 1 and replaces it."
                )
                return None
            found = None if kept is None else _read(path)
            if found is not None:
                state, tensors = found
                self.say(f"Training resumes after step {state['step']}, from its checkpoint.")
                return state, self._put_back(tensors)
            self.say(f"The checkpoint {path} is damaged and cannot be resumed from: what was before it is taken.")
        self._say_others()
        return None

    def _say_others(self) -> None:
        """Names interrupted trainings beside this one, which someone may have expected to be continued."""
        for path in sorted(self.folder.parent.glob(f"*/{LATEST}")):
            kept = _run_of(path)
            if path.parent != self.folder and kept is not None:
                self.say(
                    f"Training starts at step 1: the interrupted one in {path.parent} differs in "
                    f"{differences(kept, self.run) or 'what it was made for'}, and stays."
                )

    def _put_back(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Restores all that this run computes with, and returns the best adapters."""
        best: dict[str, torch.Tensor] = {}
        states: dict[str, dict[str, torch.Tensor]] = {}
        for key, tensor in tensors.items():
            kind, _, name = key.partition(":")
            if not name:
                set_random_state(kind, tensor, self.device)
            elif kind == "adapter":
                self.parameters[name].data.copy_(tensor)
            elif kind == "best":
                best[name] = tensor
            else:
                states.setdefault(name, {})[kind] = tensor
        for name, state in states.items():
            put_back(self.optimizer, self.parameters[name], state, self.device)
        return best


def content_of(about: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    """Hash of a checkpoint's values."""
    digest = blake3(json.dumps([about["run"], about["state"]]).encode(), max_threads=blake3.AUTO)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _run_of(path: Path) -> dict[str, Any] | None:
    """The identity of the run that a checkpoint belongs to; None if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
        # Earlier formats had one hash of everything.
        kept = json.loads(about["run"]) if "run" in about else {"the checkpoint's format": None}
    except (OSError, SafetensorError, ValueError):
        return None
    return kept if isinstance(kept, dict) else None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
    """State and tensors of a checkpoint, if they are as they were written."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in list(file.keys())}
        if content_of(about, tensors) != about["content"]:
            return None
        return json.loads(about["state"]), tensors
    except (OSError, SafetensorError, ValueError, KeyError):
        return None
