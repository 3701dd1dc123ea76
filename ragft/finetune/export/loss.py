"""What another form of a model costs: its answers and next-token distributions beside those of the merged model.

Both answer the same held-out prompts greedily. Answers are scored by the metrics of the evaluation; distributions are
compared over the answers of the merged model, end tokens included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ragft.errors import RagftError
from ragft.evaluate.metrics import Rules
from ragft.finetune.asking import Prompt, SampleAnswer, scored
from ragft.finetune.divergence import distances
from ragft.finetune.fast.memory import return_free_memory
from ragft.finetune.peft_backend.batching import padded_batches
from ragft.finetune.peft_backend.forward import greedy, logits_at
from ragft.messages import Rendered

_TOKENS_AT_ONCE = 2048


@dataclass(frozen=True)
class Loss:
    """The two models beside each other.

    Attributes:
        prompts: how many were answered.
        divergence: mean KL divergence of the export from the merged model, nats per token.
        divergence_max: the largest one of a single token.
        top1_agreement: share of the positions at which both prefer the same token.
        format_valid: share of answers in the house format, of the merged model and of the export; None where no format
            is declared.
        exact_match: the same for answers with the reference's value.
        same_answers: how many answers are the same text.
    """

    prompts: int
    divergence: float
    divergence_max: float
    top1_agreement: float
    format_valid: tuple[float, float] | None
    exact_match: tuple[float, float]
    same_answers: int

    def figures(self) -> dict[str, Any]:
        """As a manifest holds them: `format_valid_merged`, `format_valid_exported` and so on."""
        values = asdict(self)
        for name in ("format_valid", "exact_match"):
            merged, exported = values.pop(name) or (None, None)
            values |= {f"{name}_merged": merged, f"{name}_exported": exported}
        return values


@dataclass(frozen=True)
class Limits:
    """What an export may lose at most: shares of the prompts, and nats per token."""

    divergence: float
    format_loss: float
    exact_loss: float


def measure(
    merged: Callable[[], nn.Module],
    exported: Callable[[], nn.Module],
    prompts: Sequence[Prompt],
    rules: Rules,
    *,
    ends: Callable[[nn.Module], Sequence[int]],
    max_tokens: int,
    decode: Callable[[Sequence[int]], str],
    dtype: torch.dtype,
) -> Loss:
    """Asks both models, of which only one is in memory at a time.

    Args:
        merged, exported: load the model and its export.
        ends: tokens that end an answer, of the merged model.
        dtype: of products, see `ragft.finetune.fast.decoder.compute_dtype`.

    Raises:
        RagftError: there are no prompts.
    """
    if not prompts:
        raise RagftError("What an export loses cannot be measured without prompts: give at least one.")
    asked = [one.ids for one in prompts]
    model = merged()
    stops = ends(model)
    merged_ids = greedy(model, asked, stops, max_tokens, dtype)
    rows = [Rendered.answered(*pair) for pair in zip(asked, merged_ids, strict=True)]
    expected = _logits(model, rows, dtype)
    del model
    return_free_memory()
    model = exported()
    kl, agree = distances(expected, _logits(model, rows, dtype))
    exported_ids = greedy(model, asked, stops, max_tokens, dtype)

    def judged(found: Sequence[Sequence[int]]) -> list[SampleAnswer]:
        texts = [decode([token for token in ids if token not in stops]) for ids in found]
        ended = [bool(ids) and ids[-1] in stops for ids in found]
        return [scored(*each, rules) for each in zip(prompts, texts, ended, strict=True)]

    both = judged(merged_ids), judged(exported_ids)
    form = [sum(bool(each.form) for each in one) / len(prompts) for one in both]
    exact = [sum(each.exact for each in one) / len(prompts) for one in both]
    return Loss(
        prompts=len(prompts),
        divergence=kl.mean().item(),
        divergence_max=kl.max().item(),
        top1_agreement=agree.float().mean().item(),
        format_valid=(form[0], form[1]) if rules.format else None,
        exact_match=(exact[0], exact[1]),
        same_answers=sum(one.answer == other.answer for one, other in zip(*both, strict=True)),
    )


def check(loss: Loss, limits: Limits) -> None:
    """Refuses an export that lost more than the limits allow; the RagftError names figures, limits and what to do."""
    faults = []
    if not loss.divergence <= limits.divergence:  # written so that NaN is refused
        faults.append(
            f"diverges from the merged model by {loss.divergence:.4f} nats per token (limit {limits.divergence:g})"
        )
    form = loss.format_valid
    if form is not None and form[1] < form[0] - limits.format_loss:
        faults.append(
            f"answers {form[1]:.0%} of the prompts in the house format, where the merged model answers {form[0]:.0%} "
            f"(limit {limits.format_loss:g})"
        )
    merged, exported = loss.exact_match
    if exported < merged - limits.exact_loss:
        faults.append(
            f"answers {exported:.0%} of the prompts right, where the merged model answers {merged:.0%} (limit "
            f"{limits.exact_loss:g})"
        )
    if faults:
        raise RagftError(
            f"The export {' and '.join(faults)}, measured on {loss.prompts} held-out prompts: nothing was written; "
            "take a form that loses less (gguf with --type q8_0 or f16), or serve the merged model as it is."
        )


@torch.inference_mode()
def _logits(model: nn.Module, rows: Sequence[Rendered], dtype: torch.dtype) -> list[Tensor]:
    """Logits at the positions of the answers, batch by batch: (positions, vocabulary)."""
    return [logits_at(model, batch, dtype) for batch in padded_batches(rows, _TOKENS_AT_ONCE)]
