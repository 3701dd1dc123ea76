"""What is done in optimiser steps alone: noise on embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


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
