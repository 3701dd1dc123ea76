"""What is done in optimiser steps alone: noise on embeddings, and activations that are computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer


@contextmanager
def noisy_embeddings(model: nn.Module, alpha: float, lengths: Callable[[], Tensor]) -> Iterator[None]:
    """NEFTune (arXiv 2310.05914): the embeddings of a row of L tokens get noise of at most alpha / sqrt(L d).

    Args:
        lengths: tokens of each row of the batch that is being computed, without padding: (rows,).
    """

    def noisy(module: nn.Module, inputs: object, embedded: Tensor) -> Tensor:
        most = alpha / (lengths() * embedded.shape[-1]).sqrt().to(embedded.dtype)
        # float32 draws, so that every dtype has the same noise.
        drawn = torch.empty(embedded.shape, dtype=torch.float32).uniform_(-1, 1).to(embedded.dtype)
        return embedded + drawn * most[:, None, None]

    hook = model.get_input_embeddings().register_forward_hook(noisy)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def recomputing(model: nn.Module) -> Iterator[None]:
    """Gradient checkpointing: of each layer only its input is kept, and the backward pass computes the rest again.

    Raises:
        ValueError: the model has no layers that can.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not layers:
        raise ValueError("it has no layers that can be computed again")
    inner.gradient_checkpointing_enable({"use_reentrant": False})
    # Transformers asks whether a layer is in training. Only the layers are: dropout, which is below them, stays off.
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
        inner.gradient_checkpointing_disable()
