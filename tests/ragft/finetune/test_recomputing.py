"""Activations that are computed again: fewer are kept, the gradient is the same, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from support.tiny_decoders import build, config
from torch import Tensor, nn

from ragft.finetune.recomputing import recomputing

IDS = torch.arange(32)[None]


@pytest.fixture
def model() -> nn.Module:
    return build(config("llama", num_hidden_layers=8))


def gradient(model: nn.Module) -> tuple[list[Tensor], int]:
    """Of the sum of the logits, and how many bytes were kept for it."""
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        total = model(input_ids=IDS).logits.sum()
    return list(torch.autograd.grad(total, list(model.parameters()))), kept


def test_fewer_activations_are_kept_for_the_same_gradient(model: nn.Module) -> None:
    expected, before = gradient(model)
    with recomputing(model, draws=False):
        found, kept = gradient(model)
    assert all(map(torch.equal, expected, found)) and kept < before / 3
    assert gradient(model)[1] == before


def test_layers_are_computed_twice_and_nothing_else_is_in_training(model: nn.Module) -> None:
    calls, layer = list[bool](), model.model.layers[0]
    layer.mlp.register_forward_pre_hook(lambda module, inputs: calls.append(module.training))
    with recomputing(model, draws=True):
        gradient(model)
    assert calls == [False, False] and not layer.training


def test_a_model_without_layers_that_can_is_named_as_such() -> None:
    with (
        pytest.raises(ValueError, match="no layers that can be computed again"),
        recomputing(nn.Linear(2, 2), draws=False),
    ):
        pass
