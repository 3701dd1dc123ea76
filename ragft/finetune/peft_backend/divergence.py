"""How far a merged model is from the live one, where the fast back end's layers cannot load them: one prompt at a time.

Slower than `ragft.finetune.divergence`, and right for any architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ragft.errors import RagftError
from ragft.finetune import devices
from ragft.finetune.divergence import Divergence, distances, stop_tokens
from ragft.finetune.fast import decoder
from ragft.finetune.lineage import LiveModel
from ragft.finetune.peft_backend.forward import cast_frozen, computing_in, greedy
from ragft.finetune.peft_backend.live import load_live

Answers = list[list[int]]


def compare(
    live: LiveModel, merged: Path, prompts: Sequence[Sequence[int]], *, max_tokens: int, ends: Sequence[int] = (),
    device: torch.device = devices.CPU,
) -> Divergence:  # fmt: skip
    """Compares the live model with the merged one; see `ragft.finetune.divergence.compare`.

    Raises:
        RagftError: no prompts, or the adapter does not fit.
    """
    if not prompts:
        raise RagftError("A merge cannot be proven without prompts: give at least one.")
    dtype = decoder.compute_dtype(device)
    model = load_live(live, device)
    cast_frozen(model.requires_grad_(False), dtype)
    stops = stop_tokens(model, live.base, ends)
    live_ids = greedy(model, prompts, stops, max_tokens, dtype)
    expected = _logits(model, prompts, live_ids, dtype)
    del model
    model = decoder.load(merged, dtype, attention_name="eager", device=device)
    merged_ids = greedy(model, prompts, stops, max_tokens, dtype)
    kl, agree = distances(expected, _logits(model, prompts, live_ids, dtype))
    return Divergence(
        divergence=kl.mean().item(),
        divergence_max=kl.max().item(),
        top1_agreement=agree.float().mean().item(),
        reference_divergence=0.0,  # the live model is PEFT's own here
        live_ids=_without(live_ids, stops),
        merged_ids=_without(merged_ids, stops),
    )


@torch.inference_mode()
def _logits(model: nn.Module, prompts: Sequence[Sequence[int]], answers: Answers, dtype: torch.dtype) -> list[Tensor]:
    """Logits that predict each answer: (tokens of the answer, vocabulary)."""
    found = []
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([[*prompt, *answer]], device=devices.of(model))
        with computing_in(dtype, ids.device):
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        found.append(logits[0, len(prompt) - 1 : -1])
    return found


def _without(answers: Answers, stops: list[int]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(token for token in ids if token not in stops) for ids in answers)
