"""Packed attention by fused kernels, for cards: what `attention` computes block by block, without keeping the scores.

Two kinds. `ragft_packed_flash` is one call of flash-attention over all blocks, where that package is installed: each
block's keys, the shared prefix and its own, are laid out one after the other. `ragft_packed_sdpa` calls torch's
`scaled_dot_product_attention` once for each block. Both leave the backward pass to the kernel, which computes the
scores again.

A kind is used where it computes on the device, tried once for each format, what `attention` computes.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface

from ragft.finetune.fast.attention import FLASH, PACKED, SDPA, blocks, no_mask, packed_by, packed_in_blocks
from ragft.finetune.fast.batching import Layout

_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 2e-2}
"""Largest difference from block-wise attention, in standard deviations of its float32 results, that rounding explains.
A wrong mask is off by about one."""

_TRIAL = Layout(7, (5, 12, 1))

Packed = Callable[..., Tensor]
"""Queries (heads, T, width), keys and values (key heads, T, width), layout and scale to (T, heads, width)."""


def by_sdpa(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
    """One call of torch's fused attention for each block."""
    groups = query.shape[0] // key.shape[0]
    if groups > 1:  # torch's memory-efficient kernel knows no grouped queries, and its other one keeps all scores
        key, value = key.repeat_interleave(groups, 0), value.repeat_interleave(groups, 0)
    found = []
    for first, end, prefix in blocks(layout):
        k, v = (torch.cat((whole[:, :prefix], whole[:, first:end]), 1) for whole in (key, value))
        # Aligned to the last key: the first query sees the prefix and itself.
        seen = (
            None if not prefix else torch.ones(end - first, k.shape[1], dtype=torch.bool, device=k.device).tril(prefix)
        )
        part = functional.scaled_dot_product_attention(
            query[None, :, first:end], k[None], v[None], attn_mask=seen, is_causal=seen is None, scale=scale
        )
        found.append(part[0])
    return torch.cat(found, 1).transpose(0, 1)


def by_flash(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
    """One call of flash-attention for all blocks; its causal mask is aligned to the last key of each."""
    flash_attn_varlen_func = importlib.import_module("flash_attn").flash_attn_varlen_func

    lengths = [(end - first, prefix + end - first) for first, end, prefix in blocks(layout)]
    order = torch.cat(
        [torch.cat((torch.arange(prefix), torch.arange(first, end))) for first, end, prefix in blocks(layout)]
    ).to(key.device)
    starts = [
        torch.tensor([0, *(pair[side] for pair in lengths)], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        for side in (0, 1)
    ]
    result: Tensor = flash_attn_varlen_func(
        query.transpose(0, 1).contiguous(), key.transpose(0, 1)[order], value.transpose(0, 1)[order],
        cu_seqlens_q=starts[0].to(key.device), cu_seqlens_k=starts[1].to(key.device),
        max_seqlen_q=max(pair[0] for pair in lengths), max_seqlen_k=max(pair[1] for pair in lengths),
        softmax_scale=scale, causal=True,
    )  # fmt: skip
    return result


def attention_for(device: torch.device, dtype: torch.dtype) -> str:
    """The name of the packed attention that is used on a device, as `attn_implementation` of transformers takes it."""
    return PACKED if device.type == "cpu" else _tried(device, dtype)


@cache
def _tried(device: torch.device, dtype: torch.dtype) -> str:
    if dtype != torch.float32 and importlib.util.find_spec("flash_attn") and agrees(by_flash, device, dtype):
        return FLASH
    return SDPA if agrees(by_sdpa, device, dtype) else PACKED


def agrees(kind: Packed, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a kind gives, on a device, the results and gradients of block-wise attention; also without a prefix."""
    return all(_agrees(kind, layout, device, dtype) for layout in (_TRIAL, replace(_TRIAL, prefix=0)))


def _agrees(kind: Packed, layout: Layout, device: torch.device, dtype: torch.dtype) -> bool:
    generator = torch.Generator().manual_seed(0)
    tokens, width = layout.prefix + sum(layout.remainders), 64

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    given = [drawn(heads, tokens, width) for heads in (4, 2, 2)]
    upstream = drawn(tokens, 4, width)

    def computed(by: Packed, where: torch.device, form: torch.dtype) -> list[Tensor]:
        leaves = [tensor.to(where, form).requires_grad_() for tensor in given]
        result = by(*leaves, layout, width**-0.5)
        gradients = torch.autograd.grad(result, leaves, upstream.to(where, form))
        return [tensor.detach().float().cpu() for tensor in (result, *gradients)]

    expected = computed(packed_in_blocks, torch.device("cpu"), torch.float32)
    try:
        found = computed(kind, device, dtype)
    except Exception:  # a package of another build of torch, a card that its kernels do not know
        return False
    return all(
        ((own - wanted).abs().max() / wanted.std()).item() <= _TOLERANCE[dtype]
        for own, wanted in zip(found, expected, strict=True)
    )


def _registered(kind: Packed) -> Callable[..., tuple[Tensor, None]]:
    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
    ) -> tuple[Tensor, None]:
        return packed_by(kind, module, query, key, value, **options)

    return attend


for _name, _kind in ((SDPA, by_sdpa), (FLASH, by_flash)):
    AttentionInterface.register(_name, _registered(_kind))
    AttentionMaskInterface.register(_name, no_mask)
