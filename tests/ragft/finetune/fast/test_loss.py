"""The loss is cross-entropy, however it is chunked."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from ragft.finetune.fast import loss as loss_module
from ragft.finetune.fast.loss import cross_entropy_sum


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunked_loss_is_cross_entropy(bias: bool, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "CHUNK", chunk)
    torch.manual_seed(0)
    hidden = torch.randn(23, 16, requires_grad=True)
    head, targets = torch.randn(50, 16), torch.randint(0, 50, (23,))
    offset = torch.randn(50) if bias else None
    expected = functional.cross_entropy(functional.linear(hidden, head, offset), targets, reduction="sum")
    (wanted,) = torch.autograd.grad(expected / 5, hidden)
    loss = cross_entropy_sum(hidden, head, targets, bias=offset)
    (found,) = torch.autograd.grad(loss / 5, hidden)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
