"""Divergence: measured on the live model's own answers, which do not depend on how prompts are grouped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from index.encoders.parallel import OneThreadWorkers
from ragft.errors import RagftError
from ragft.finetune import divergence
from ragft.finetune.divergence import Greedy, compare
from ragft.finetune.fast import attention, decoder
from ragft.finetune.fast.adapter import load_adapter, save_adapter
from ragft.finetune.fast.lora import adapted, initial_adapter
from ragft.finetune.lineage import LiveModel
from ragft.finetune.merge import merge
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]


@pytest.mark.medium
def test_a_good_merge_is_told_from_a_bad_one(live: LiveModel, tmp_path: Path, make_rows: Rows) -> None:
    prompts = [row.ids[:-6] for row in make_rows(11)]
    merge(live, tmp_path / "good")
    good = compare(live, tmp_path / "good", prompts, max_tokens=8)
    unmerged = compare(live, live.base, prompts, max_tokens=8)
    assert good.divergence < 0.01 < unmerged.divergence
    assert good.divergence <= good.divergence_max
    assert good.reference_divergence < 1e-3
    assert good.top1_agreement > unmerged.top1_agreement
    assert len(good.live_ids) == len(good.merged_ids) == 11
    assert good.live_ids == unmerged.live_ids


def test_a_model_does_not_diverge_from_itself(llama_folder: Path, tmp_path: Path, make_rows: Rows) -> None:
    model = decoder.load(llama_folder, torch.bfloat16, attention_name="eager")
    nothing = {f"{name}.{letter}": matrix for name, delta in initial_adapter(model, 4, 8.0, seed=0).items()
               for letter, matrix in (("A", delta.A), ("B", delta.B))}  # fmt: skip
    save_adapter(nothing, tmp_path / "adapter", "base", rank=4, alpha=8.0)
    live = LiveModel(llama_folder, tmp_path / "adapter", quantised=False)
    found = compare(live, llama_folder, [row.ids[:-6] for row in make_rows(5)], max_tokens=8)
    assert found.divergence == pytest.approx(0, abs=1e-6)
    assert found.top1_agreement == 1
    assert found.live_ids == found.merged_ids


@pytest.mark.medium
@pytest.mark.parametrize("prefix", [0, 12])
def test_a_prompt_is_answered_alone_as_among_others(model_folder: Path, make_rows: Rows, prefix: int) -> None:
    # In float32, where a random model's close calls do not depend on the shape of a product.
    model = decoder.load(model_folder, torch.float32, attention_name=attention.GROUPED)
    reference = decoder.load(model_folder, torch.float32, attention_name="eager")
    prompts = [row.ids[:-6] for row in make_rows(19, prefix=prefix)]
    with closing(OneThreadWorkers(2, min_parallel=2)) as workers:
        together = Greedy(prompts, [2], 6, workers).answers(model)
    for prompt, answer in zip(prompts, together, strict=True):
        whole = reference.generate(input_ids=torch.tensor([prompt]), max_new_tokens=6, do_sample=False, eos_token_id=2)
        assert answer == whole[0, len(prompt) :].tolist()


def test_a_proof_needs_prompts(live: LiveModel) -> None:
    with pytest.raises(RagftError, match="at least one"):
        compare(live, live.base, [], max_tokens=8)


@pytest.mark.medium
@pytest.mark.parametrize("mistake", ["quantisation", "scale"])
def test_a_live_model_that_peft_answers_differently_is_noticed(
    live: LiveModel, make_rows: Rows, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    prompts = [row.ids[:-6] for row in make_rows(3)]
    right = compare(live, live.base, prompts, max_tokens=8).reference_divergence

    def wrong(model: torch.nn.Module, folder: Path, *, quantise: bool, **others: Any) -> None:
        load_adapter(model, folder, quantise=quantise and mistake != "quantisation", **others)
        if mistake == "scale":
            for _, layer in adapted(model):
                layer.scale /= 2

    monkeypatch.setattr(divergence, "load_adapter", wrong)
    assert compare(live, live.base, prompts, max_tokens=8).reference_divergence > 5 * right
