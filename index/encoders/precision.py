"""Which number format a processor or GPU multiplies fastest, probed once per process.

Encoder, training, the proof of a merge and vLLM all ask here, so that none of them runs in a format that the machine
only emulates.
"""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Literal

FloatFormat = Literal["float32", "bfloat16"]

FORCED = "RAGFT_BFLOAT16"
"""Environment variable that answers instead of the probe, `native` or `emulated`, so that tests cover both."""

_SIZE = 256
_ROUNDS, _MOST_ROUNDS = 3, 50
"""Fewest and most. On a busy machine, float32 was three times so slow that an emulated bfloat16 looked native."""
_MAX_RATIO = 2.0
"""A bfloat16 product that takes longer than this many float32 products is emulated. On Zen 5, which multiplies bfloat16
in hardware, it took a quarter of the time of one; on Zen 3, which does not, 65 times as long."""


def native_format(device: str = "cpu") -> FloatFormat:
    """bfloat16 where the torch device multiplies it in hardware, else float32."""
    if device.startswith("cuda"):
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if _cpu_multiplies_bfloat16() else "float32"


@cache
def _cpu_multiplies_bfloat16() -> bool:
    forced = os.environ.get(FORCED)
    if forced is not None:
        return forced == "native"
    import torch

    factors = [torch.rand(_SIZE, _SIZE).to(dtype) for dtype in (torch.float32, torch.bfloat16)]
    best = [float("inf"), float("inf")]
    # In turns, so that other load on the machine slows both.
    for done in range(1, _MOST_ROUNDS + 1):
        for number, matrix in enumerate(factors):
            begin = time.perf_counter()
            matrix @ matrix
            best[number] = min(best[number], time.perf_counter() - begin)
        if done >= _ROUNDS and best[1] > _MAX_RATIO * best[0]:
            return False
    return True
