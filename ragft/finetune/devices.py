"""Where a model trains: the processor or a card, by `finetune.device`, and what differs between them.

A card changes the last bits of a run and its speed, never what is computed. What only a card has (its random state, its
memory, a fused attention) is asked here, so that the rest of training names no device.
"""

from __future__ import annotations

import os

import torch
from torch import nn

from ragft.errors import RagftError

CPU = torch.device("cpu")


def resolve(setting: str, *, process: int = 0, processes: int = 1) -> torch.device:
    """The device that `finetune.device` names on this machine.

    Args:
        setting: `auto`, `cpu`, `cuda` or `cuda:n`.
        process: the number of this one among `processes` on this machine, each of which takes a card of its own.

    Raises:
        RagftError: there is no such card, or not one for each process.
    """
    if setting == "cpu" or (setting == "auto" and not torch.cuda.is_available()):
        return CPU
    if not torch.cuda.is_available():
        raise RagftError(f"finetune.device is {setting}, and {_why_no_card()}; set finetune.device to cpu or auto.")
    cards = torch.cuda.device_count()
    if setting.startswith("cuda:"):
        if processes > 1:
            raise RagftError(
                f"finetune.device is {setting}, one card, for {processes} processes that each take one: set it to cuda."
            )
        number = int(setting.removeprefix("cuda:"))
    elif processes > 1:
        number = process
    else:
        number = torch.cuda.current_device()
    if number >= cards:
        wanted = f"{processes} processes take a card each" if processes > 1 else f"finetune.device is {setting}"
        known = "cuda:0" if cards == 1 else f"cuda:0 to cuda:{cards - 1}"
        raise RagftError(
            f"{wanted}, and this machine has {known}: "
            f"{'start fewer processes' if processes > 1 else 'set finetune.device to one of them'}."
        )
    return torch.device("cuda", number)


def _why_no_card() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA (make setup GPU=1 installs one with it)"
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return "CUDA_VISIBLE_DEVICES hides every card"
    return "torch finds no card (look at nvidia-smi and the driver)"


def of(model: nn.Module) -> torch.device:
    """The device of a model that is on one device."""
    return next(model.parameters()).device


def workers(device: torch.device) -> int:
    """Threads that compute batches beside each other: a card takes one batch after the other."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def free_mib(device: torch.device) -> float:
    """Memory of a card that nobody uses, in MiB."""
    free, _ = torch.cuda.mem_get_info(device)
    return free / 2**20


def release() -> None:
    """Gives memory of cards that this process does not use any more to other processes."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def peak_mib(device: torch.device) -> float:
    """Most memory of a card that this process has used so far, in MiB; 0 on the processor."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The random states that a run on this device draws from, by name, in memory of the processor."""
    states = {"rng": torch.get_rng_state()}
    if device.type == "cuda":
        states["rng-cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_state(name: str, state: torch.Tensor, device: torch.device) -> None:
    """Restores one of `random_states`; that of a card is ignored by a run that goes on without one."""
    if name == "rng":
        torch.set_rng_state(state)
    elif device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
