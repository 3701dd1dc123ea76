"""The optimiser of a training, by `finetune.optimizer`, and its state as tensors that a checkpoint can hold.

What bitsandbytes can do depends on its version and on the device, and where it cannot page it goes on without: so it is
tried on one tensor before anything is loaded, and never looked up in a list.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ragft.config import FinetuneSection
from ragft.errors import RagftError

_TRIED = 2**17
"""Elements of the tensor that is tried: below 4096 bitsandbytes keeps 32 bits, below 100,000 it does not page."""

_TOLERANCE = 0.2
"""Share of a step, in its mean, by which moments in 8 bits may change the second one; on a processor it is 0.006."""

_MADE_ANEW = ("qmap1", "qmap2")
"""Parts of a state that every optimiser of bitsandbytes has alike: the values that 8 bits stand for."""


def optimizer_of(
    settings: FinetuneSection, groups: list[dict[str, Any]], device: torch.device
) -> torch.optim.Optimizer:
    """The optimiser over groups of parameters on a device; see `check_possible`."""
    common: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=True, **common)
    import bitsandbytes

    paged = settings.optimizer == "paged-adamw-8bit"
    kind = bitsandbytes.optim.PagedAdamW8bit if paged else bitsandbytes.optim.AdamW8bit
    made: torch.optim.Optimizer = kind(groups, **common)
    return made


def check_possible(settings: FinetuneSection, device: torch.device) -> None:
    """Tries two steps of the optimiser on a tensor of the device.

    Raises:
        RagftError: this machine cannot do it, or would do something else.
    """
    if settings.optimizer == "adamw":
        return
    if reason := _why_not(settings, device):
        advice = "adamw" if settings.optimizer == "adamw-8bit" else "adamw-8bit or adamw"
        raise RagftError(
            f"finetune.optimizer is {settings.optimizer}, which is not possible on {device}: {reason}; set it to "
            f"{advice}."
        )


def _why_not(settings: FinetuneSection, device: torch.device) -> str | None:
    draw = torch.Generator().manual_seed(0)
    gradients = [torch.empty(_TRIED).normal_(generator=draw).to(device) for _ in range(2)]
    trial = settings.model_copy(update={"learning_rate": 1.0, "weight_decay": 0.0})
    ends, state = list[Tensor](), dict[str, Any]()
    try:
        for kind in ("adamw", settings.optimizer):
            parameter = torch.nn.Parameter(torch.zeros(_TRIED, device=device))
            optimizer = optimizer_of(trial.model_copy(update={"optimizer": kind}), [{"params": [parameter]}], device)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for gradient in gradients:
                    parameter.grad = gradient.clone()
                    optimizer.step()
            ends.append(parameter.detach())
            state = optimizer.state[parameter]
        off = (ends[1] - ends[0]).abs().mean().item()
    except Exception as error:  # what a library that was built for another card raises is anything
        reason = " ".join(str(error).split()).rstrip(".")
        return f"bitsandbytes fails there ({type(error).__name__}: {reason[:200]})"
    if state["state1"].dtype != torch.uint8:
        return f"bitsandbytes keeps its moments in {str(state['state1'].dtype).removeprefix('torch.')} there"
    if settings.optimizer == "paged-adamw-8bit" and not getattr(state["state1"], "is_paged", False):
        return "bitsandbytes pages moments between a card and the processor, and does not here"
    if not off <= _TOLERANCE:
        return f"its steps are not those of AdamW there (off by {off:.2g} of a step)"
    return None


def state_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """What the optimiser knows of a parameter, by name; empty before the first step. Counters become int64 tensors."""
    known = optimizer.state[parameter].items()
    return {
        key: value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.int64)
        for key, value in known
        if key not in _MADE_ANEW
    }


def put_back(
    optimizer: torch.optim.Optimizer, parameter: Tensor, state: Mapping[str, Tensor], device: torch.device
) -> None:
    """Restores what `state_of` told of a parameter, on whatever device its tensors are."""
    known = optimizer.state[parameter]
    if state and not known and not isinstance(optimizer, torch.optim.AdamW):
        _begin(optimizer, parameter)
    for key, value in state.items():
        if value.dtype == torch.int64 and value.ndim == 0:
            known[key] = int(value)
        elif key in known:
            known[key].copy_(value)  # in place: it may be a buffer that is paged
        else:
            known[key] = value.to(device, copy=True)


def _begin(optimizer: Any, parameter: Tensor) -> None:
    """Makes the buffers of a parameter as bitsandbytes does at its first step."""
    for group_number, group in enumerate(optimizer.param_groups):
        for number, own in enumerate(group["params"]):
            if own is parameter:
                optimizer.init_state(group, parameter, group_number, number)
