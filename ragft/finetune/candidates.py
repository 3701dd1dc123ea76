"""Two merges of one adapter, onto the weights it was trained on and onto the original ones: which one is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragft.config import MergeSection
from ragft.errors import RagftError
from ragft.finetune.merge import Onto
from ragft.finetune.proof import Proof, check_proof
from ragft.messages import Rendered


@dataclass(frozen=True)
class Candidate:
    """A merge with its proof; `figures` are those of the proof, and `validation_loss` where it was measured."""

    onto: Onto
    folder: Path
    proof: Proof
    figures: dict[str, Any]


def choose(candidates: Sequence[Candidate], limits: MergeSection) -> tuple[Candidate, str]:
    """The better one of those that pass their proof, and a sentence that says why.

    The answers' form decides first, as the merged and the served model keep it; where it is the same, the loss on
    validation rows; where that is the same too, the earlier candidate.

    Raises:
        RagftError: none passes.
    """
    refused: dict[str, RagftError] = {}
    for candidate in candidates:
        try:
            check_proof(candidate.figures, limits)
        except RagftError as error:
            refused[candidate.onto] = error
    passing = [candidate for candidate in candidates if candidate.onto not in refused]
    if not passing:
        raise refused[candidates[0].onto]
    taken = min(passing, key=lambda candidate: (-_form(candidate), candidate.figures["validation_loss"]))
    others = "; ".join(
        f"onto the {other.onto} weights: {refused.get(other.onto) or _told(other)}"
        for other in candidates
        if other is not taken
    )
    return taken, f"Merged onto the {taken.onto} weights ({_told(taken)}); {others}"


def validation_loss(folder: Path, rows: Sequence[Rendered], device: str = "cpu") -> float:
    """Mean loss of a merged model over the trained tokens of rows, in nats.

    Raises:
        RagftError: there are no rows, or the model cannot be loaded.
    """
    import torch

    from ragft.finetune import devices
    from ragft.finetune.fast import attention, decoder
    from ragft.finetune.fast.batching import micro_batches

    if not rows:
        raise RagftError("merge.onto: auto needs validation rows: raise data.split.validation_share.")
    where = devices.resolve(device)
    model = decoder.load(folder, decoder.compute_dtype(where), attention_name=attention.PACKED, device=where)
    batches = micro_batches(rows, _TOKENS_AT_ONCE)
    with torch.inference_mode():
        total = sum(decoder.summed_loss(model, batch).item() for batch in batches)
    return total / sum(sum(row.trained) for row in rows)


_TOKENS_AT_ONCE = 2048


def _form(candidate: Candidate) -> float:
    """The lower format validity of the merged and the served model; without a declared format all are alike."""
    return min(candidate.figures[f"format_valid_{model}"] or 0.0 for model in ("merged", "served"))


def _told(candidate: Candidate) -> str:
    figures = candidate.figures
    form = "" if figures["format_valid_served"] is None else f"in the house format {_form(candidate):.0%}, "
    return f"{form}divergence {figures['divergence']:.4f}, validation loss {figures['validation_loss']:.4f}"
