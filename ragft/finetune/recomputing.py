"""Gradient checkpointing: activations that are computed again instead of kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer


@contextmanager
def recomputing(model: nn.Module, *, draws: bool) -> Iterator[None]:
    """Of each layer only its input is kept, and the backward pass computes the rest again (arXiv 1604.06174).

    Args:
        draws: whether layers draw numbers, as dropout does, which must be the same the second time. Keeping the random
            state is not for several threads.

    Raises:
        ValueError: the model has no layers that can.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not layers:
        raise ValueError("it has no layers that can be computed again")
    inner.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": draws})
    # Transformers asks whether a layer is in training. Only the layers are: dropout, which is below them, stays off.
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
        inner.gradient_checkpointing_disable()
