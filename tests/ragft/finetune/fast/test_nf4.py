"""NF4 is that of bitsandbytes, without the trap in its layers."""

from __future__ import annotations

import pytest
import torch

from ragft.finetune.fast.nf4 import Nf4Weight, round_trip


@pytest.mark.medium
@pytest.mark.parametrize("shape", [(576, 192), (50, 33)])
def test_nf4_is_that_of_bitsandbytes_linear_layers(shape: tuple[int, int]) -> None:
    import bitsandbytes as bnb

    torch.manual_seed(0)
    weight = torch.randn(shape).to(torch.bfloat16)
    layer = bnb.nn.Linear4bit(shape[1], shape[0], bias=False, quant_type="nf4", compress_statistics=True)
    layer.weight = bnb.nn.Params4bit(weight.clone(), requires_grad=False, quant_type="nf4", compress_statistics=True)
    layer = layer.to("cpu")
    reference = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(torch.bfloat16)
    assert torch.equal(Nf4Weight(weight).dequantize(torch.bfloat16), reference.view(shape))
    assert torch.equal(round_trip(weight), reference.view(shape))
    error = (reference.view(shape) - weight).float().norm() / weight.float().norm()
    assert 0.05 < error < 0.12
