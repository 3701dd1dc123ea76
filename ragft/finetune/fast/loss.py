"""Cross-entropy on trained positions only, in chunks, so that the logits of a whole batch never exist.

With a vocabulary of 49 thousand, full float32 logits of 2048 positions take 400 MB and as much again for their
gradient; here only one chunk's do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 256
"""Positions whose logits exist at the same time."""


class _CrossEntropySum(torch.autograd.Function):
    """Sum of token losses through a frozen head; the gradient is computed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(targets), CHUNK):
            part, wanted = hidden[start : start + CHUNK], targets[start : start + CHUNK]
            logits = (part @ head.t()).float()
            if bias is not None:
                logits += bias
            normaliser = logits.logsumexp(-1, keepdim=True)
            total += (normaliser[:, 0] - logits.gather(1, wanted[:, None])[:, 0]).sum()
            if gradient is not None:
                # d loss / d logits = softmax - one-hot, in place: the chunk's logits are not needed any more.
                logits.sub_(normaliser).exp_()
                logits[torch.arange(len(wanted), device=wanted.device), wanted] -= 1
                torch.matmul(logits.to(head.dtype), head, out=gradient[start : start + CHUNK])
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.to(gradient.dtype), None, None, None


def cross_entropy_sum(hidden: Tensor, head: Tensor, targets: Tensor, *, bias: Tensor | None = None) -> Tensor:
    """Summed negative log-likelihood in nats, a float32 scalar that is differentiable in `hidden` alone.

    A sum and not a mean, so that the micro-batches of an optimiser step can be divided by the trained tokens of the
    whole step; with a mean per micro-batch, a token's weight would depend on what it is packed with.

    Args:
        hidden: (positions, width), the final hidden states that predict `targets`.
        head: (vocabulary, width), the frozen output embedding; tied or not.
        targets: (positions,) int64, the tokens to predict.
        bias: (vocabulary,) of the head, if it has one.
    """
    return _CrossEntropySum.apply(hidden, head, bias, targets)
