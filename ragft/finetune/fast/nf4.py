"""Weights in NF4, the 4-bit format of QLoRA (arXiv 2305.14314), through bitsandbytes' functions.

Never through `bitsandbytes.nn.Linear4bit`: in 0.50.2, on processors with AVX512-BF16, its forward pass in evaluation
mode repacks the weight in place, after which training drops the gradient of every frozen layer and merging reads
garbage. The functions below never see repacked weights.
"""

from __future__ import annotations

import bitsandbytes.functional as bnb
import torch

BLOCK_SIZE = 64


class Nf4Weight:
    """A frozen matrix in NF4 with doubly quantised scales: about 4.1 bits per weight.

    Args:
        weight: (out, in), any floating dtype. Equal values give equal packed bytes in any dtype.
        cache: keep the dequantised copy after its first use.
    """

    def __init__(self, weight: torch.Tensor, *, cache: bool = False) -> None:
        self._cache = cache
        self._copy: torch.Tensor | None = None
        self._packed, self._state = bnb.quantize_4bit(
            weight.detach().float().contiguous(), blocksize=BLOCK_SIZE, compress_statistics=True, quant_type="nf4"
        )

    def dequantize(self, dtype: torch.dtype) -> torch.Tensor:
        """The weight that computations see: (out, in) in `dtype`. Callers must not modify it."""
        if self._copy is not None and self._copy.dtype == dtype:
            return self._copy
        if self._packed.device.type != "cpu":
            # A card rounds to `dtype` while it dequantises; a float32 copy of the weight would be written and read.
            self._state.dtype = dtype
        weight = bnb.dequantize_4bit(self._packed, self._state).to(dtype)
        if self._cache:
            self._copy = weight
        return weight


def round_trip(weight: torch.Tensor) -> torch.Tensor:
    """`weight` after quantisation to NF4 and back, in its own dtype and shape."""
    return Nf4Weight(weight).dequantize(weight.dtype)
