"""Merging: the merged model is the live one, wherever it is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from ragft.errors import RagftError
from ragft.finetune import merge as merge_module
from ragft.finetune.fast import attention, decoder
from ragft.finetune.fast.adapter import load_adapter, save_adapter
from ragft.finetune.fast.lora import adapted, attach
from ragft.finetune.fast.parallel import Workers
from ragft.finetune.merge import divergence, merge
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]


def _make_adapter(base: Path, folder: Path) -> Path:
    model = decoder.load(base, torch.bfloat16, attention_name="eager")
    attach(model, 4, 8.0, quantise=True, seed=1)
    torch.manual_seed(5)
    for _, layer in adapted(model):
        torch.nn.init.normal_(layer.B, std=0.1)
    save_adapter(model, folder, "base", rank=4, alpha=8.0)
    return folder


@pytest.fixture
def adapter(model_folder: Path, tmp_path: Path) -> Path:
    return _make_adapter(model_folder, tmp_path / "adapter")


def _logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 67)[None]).logits.float()


def _distance(one: torch.Tensor, two: torch.Tensor) -> float:
    return ((one - two).norm() / two.norm()).item()


@pytest.mark.parametrize("quantised", [True, False])
def test_merged_onto_what_it_was_trained_on_the_model_answers_like_the_live_one(
    model_folder: Path, adapter: Path, tmp_path: Path, quantised: bool
) -> None:
    live = decoder.load(model_folder, torch.float32, attention_name="eager")
    load_adapter(live, adapter, quantise=quantised)
    folder = merge(model_folder, adapter, tmp_path / "merged", quantised=quantised)
    merged = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    # The merged weights are rounded to bfloat16 once: 8 bits, so well below a percent.
    assert _distance(_logits(merged), _logits(live)) < 0.01


def test_merged_onto_the_original_base_it_differs(model_folder: Path, adapter: Path, tmp_path: Path) -> None:
    live = decoder.load(model_folder, torch.float32, attention_name="eager")
    load_adapter(live, adapter, quantise=True)
    folder = merge(model_folder, adapter, tmp_path / "merged", onto="original")
    merged = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    assert _distance(_logits(merged), _logits(live)) > 0.03


def test_the_merged_folder_is_a_plain_model_with_the_base_models_other_files(
    model_folder: Path, adapter: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    decoder.load(model_folder, torch.bfloat16, attention_name="eager").save_pretrained(base)
    (base / "chat_template.jinja").write_text("{{ messages }}")
    (base / "tokenizer.json").write_text("{}")
    (base / "pytorch_model.bin").write_bytes(b"pickled")
    folder = merge(base, adapter, tmp_path / "merged")
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "generation_config.json", "chat_template.jinja", "tokenizer.json"} <= names
    assert "pytorch_model.bin" not in names
    before, after = (json.loads((f / "config.json").read_text()) for f in (base, folder))
    assert after["tie_word_embeddings"] == before["tie_word_embeddings"]
    assert after["dtype"] == "bfloat16"
    assert "quantization_config" not in after


def test_an_existing_folder_is_not_overwritten(model_folder: Path, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "note.txt").write_text("mine")
    with pytest.raises(RagftError, match="exists already"):
        merge(model_folder, adapter, tmp_path / "merged")


def test_an_adapter_of_another_model_is_refused(llama_folder: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    other = tmp_path / "other"
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(other)
    adapter = _make_adapter(other, tmp_path / "adapter")
    with pytest.raises(RagftError, match="does not fit this model"):
        merge(llama_folder, adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_the_proof_tells_a_good_merge_from_a_bad_one(
    model_folder: Path, adapter: Path, tmp_path: Path, make_rows: Rows
) -> None:
    prompts = [row.ids[:-6] for row in make_rows(11)]
    good = merge(model_folder, adapter, tmp_path / "good")
    proof = divergence(model_folder, adapter, good, prompts, max_tokens=8)
    unmerged = divergence(model_folder, adapter, model_folder, prompts, max_tokens=8)
    assert proof.kl_mean < 0.01 < unmerged.kl_mean
    assert proof.kl_mean <= proof.kl_max
    assert proof.top1_agreement > unmerged.top1_agreement
    assert len(proof.live_ids) == len(proof.merged_ids) == 11
    assert proof.live_ids == unmerged.live_ids


@pytest.mark.parametrize("prefix", [0, 12])
def test_a_prompt_is_answered_alone_as_among_others(model_folder: Path, make_rows: Rows, prefix: int) -> None:
    # In float32, where a random model's close calls do not depend on the shape of a product.
    model = decoder.load(model_folder, torch.float32, attention_name=attention.ANSWERING)
    reference = decoder.load(model_folder, torch.float32, attention_name="eager")
    prompts = [row.ids[:-6] for row in make_rows(19, prefix=prefix)]
    with closing(Workers(2)) as workers:
        together = merge_module._answers(model, prompts, [2], 6, workers)
    for prompt, answer in zip(prompts, together, strict=True):
        whole = reference.generate(input_ids=torch.tensor([prompt]), max_new_tokens=6, do_sample=False, eos_token_id=2)
        assert answer == whole[0, len(prompt) :].tolist()


def test_a_proof_needs_prompts(model_folder: Path, adapter: Path) -> None:
    with pytest.raises(RagftError, match="at least one"):
        divergence(model_folder, adapter, model_folder, [])
