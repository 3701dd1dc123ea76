"""What a model computes, with whatever PEFT has put around it: logits where they are asked for, and greedy answers."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ragft.finetune import devices
from ragft.finetune.peft_backend.batching import PaddedBatch


def logits_at(model: nn.Module, batch: PaddedBatch, dtype: torch.dtype) -> Tensor:
    """Logits at the positions that predict a trained token: (K, vocabulary)."""
    longest = batch.ids.shape[1]
    # Prompts are long and answers short: the logits of a prompt would take most of the memory.
    kept = longest - int(batch.position.min())
    batch = batch.to(devices.of(model))
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    few = {"logits_to_keep": kept} if "logits_to_keep" in inspect.signature(inner.forward).parameters else {}
    with computing_in(dtype, batch.ids.device):
        found = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False, **few).logits
    # Counted from the end, because virtual tokens may stand in front.
    return found[batch.row, batch.position - longest]


@torch.inference_mode()
def greedy(
    model: nn.Module, prompts: Sequence[Sequence[int]], stops: Sequence[int], max_tokens: int, dtype: torch.dtype
) -> list[list[int]]:
    """Greedy continuations of at most `max_tokens`, each with the end token, one of `stops`, that ended it."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)], device=devices.of(model))
        with computing_in(dtype, ids.device):
            row = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False,
                num_beams=1, repetition_penalty=1.0, eos_token_id=list(stops), pad_token_id=stops[0],
            )[0]  # fmt: skip
        found.append(row[len(prompt) :].tolist())
    return found


def computing_in(dtype: torch.dtype, device: torch.device = devices.CPU) -> torch.autocast:
    """Products in bfloat16, over weights in float32 or bfloat16; with float32, nothing is cast."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def cast_frozen(model: nn.Module, dtype: torch.dtype) -> None:
    """Frozen parameters to `dtype`, in place; buffers, such as the frequencies of rotary embeddings, stay."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else dtype)
