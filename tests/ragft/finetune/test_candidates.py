"""`merge.onto: auto`: what passes its proof is compared by form, then by loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragft.config import MergeSection
from ragft.errors import RagftError
from ragft.finetune.candidates import Candidate, choose, validation_loss
from ragft.finetune.merge import Onto
from ragft.finetune.proof import Proof
from ragft.prompts import Rendered


def candidate(onto: Onto, **figures: Any) -> Candidate:
    good = {
        "prompts": 10, "same_prompt_ids": 10, "divergence": 0.001, "reference_divergence": 0.0,
        "format_valid_live": 1.0, "format_valid_merged": 1.0, "format_valid_served": 1.0, "validation_loss": 2.0,
    }  # fmt: skip
    return Candidate(onto, Path(onto), Proof("v", {}, ()), {**good, **figures})


LENIENT = MergeSection(max_divergence=1.0, max_format_loss=0.2)


@pytest.mark.parametrize(
    ("original", "limits", "taken"),
    [
        ({"validation_loss": 1.9}, MergeSection(), "original"),
        ({"validation_loss": 2.1}, MergeSection(), "trained"),
        ({}, MergeSection(), "trained"),
        ({"validation_loss": 1.9, "divergence": 0.25}, MergeSection(), "trained"),
        ({"validation_loss": 1.9, "divergence": 0.25}, LENIENT, "original"),
        ({"validation_loss": 1.9, "format_valid_served": 0.9}, LENIENT, "trained"),
    ],
    ids=["lower loss", "higher loss", "same", "beyond the limit", "limit raised", "form first"],
)
def test_form_decides_then_loss_among_those_within_the_limits(
    original: dict[str, Any], limits: MergeSection, taken: str
) -> None:
    found, why = choose([candidate("trained"), candidate("original", **original)], limits)
    assert found.onto == taken
    assert why.startswith(f"Merged onto the {taken} weights") and why.count("weights") >= 2


def test_without_a_format_loss_decides() -> None:
    unscored = {f"format_valid_{model}": None for model in ("live", "merged", "served")}
    both = [candidate("trained", **unscored), candidate("original", **unscored, validation_loss=1.0)]
    assert choose(both, MergeSection())[0].onto == "original"


def test_where_none_passes_the_merge_onto_the_trained_weights_is_refused() -> None:
    both = [candidate("trained", divergence=0.5), candidate("original", divergence=0.9)]
    with pytest.raises(RagftError, match=r"diverges from the live one by 0\.5000"):
        choose(both, MergeSection())


def test_validation_loss_is_the_mean_over_trained_tokens(
    llama_folder: Path, make_rows: Callable[..., list[Rendered]]
) -> None:
    rows = make_rows(5)
    alone = [validation_loss(llama_folder, [row]) for row in rows]
    counts = [sum(row.trained) for row in rows]
    mean = sum(loss * count for loss, count in zip(alone, counts, strict=True)) / sum(counts)
    assert validation_loss(llama_folder, rows) == pytest.approx(mean, rel=0.01)
    with pytest.raises(RagftError, match="needs validation rows"):
        validation_loss(llama_folder, [])
