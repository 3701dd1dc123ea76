"""Merging: the merged model is the live one, wherever it is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune import base
from ragft.finetune.fast import attention, decoder
from ragft.finetune.fast.adapter import load_adapter
from ragft.finetune.fast.batching import pack
from ragft.finetune.fast.trainer import train
from ragft.finetune.lineage import LiveModel
from ragft.finetune.merge import merge
from ragft.prompts import Rendered


def _logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 67)[None]).logits.float()


def _distance(one: torch.Tensor, two: torch.Tensor) -> float:
    return ((one - two).norm() / two.norm()).item()


def _distance_to_live(live: LiveModel, merged: Path) -> float:
    model = decoder.load(live.base, torch.float32, attention_name="eager")
    load_adapter(model, live.adapter, quantise=live.quantised)
    other = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32, attn_implementation="eager")
    return _distance(_logits(other), _logits(model))


@pytest.mark.medium
@pytest.mark.parametrize("quantised", [True, False])
def test_merged_onto_what_it_was_trained_on_the_model_answers_like_the_live_one(
    live: LiveModel, tmp_path: Path, quantised: bool
) -> None:
    live = replace(live, quantised=quantised)
    merge(live, tmp_path / "merged")
    # The merged weights are rounded to bfloat16 once: 8 bits, so well below a percent.
    assert _distance_to_live(live, tmp_path / "merged") < 0.01


def test_merged_onto_the_original_base_it_differs(live: LiveModel, tmp_path: Path) -> None:
    merge(live, tmp_path / "merged", onto="original")
    assert _distance_to_live(live, tmp_path / "merged") > 0.03


def test_without_quantisation_both_merges_are_the_same(live: LiveModel, tmp_path: Path) -> None:
    for onto in ("trained", "original"):
        merge(replace(live, quantised=False), tmp_path / onto, onto=onto)
    trained, original = (load_file(tmp_path / onto / "model.safetensors") for onto in ("trained", "original"))
    assert trained.keys() == original.keys()
    assert all(torch.equal(trained[key], original[key]) for key in trained)


def test_the_merged_folder_is_a_plain_model_with_the_base_models_other_files(live: LiveModel, tmp_path: Path) -> None:
    base = tmp_path / "base"
    decoder.load(live.base, torch.bfloat16, attention_name="eager").save_pretrained(base)
    (base / "chat_template.jinja").write_text("{{ messages }}")
    (base / "tokenizer.json").write_text("{}")
    (base / "pytorch_model.bin").write_bytes(b"pickled")
    (base / "modeling_remote.py").write_text("import os")
    (base / "model.safetensors.index.json").write_text("{}")
    (base / "generation_config.json").write_text('{"eos_token_id": 7}')
    merged = tmp_path / "merged"
    merge(replace(live, base=base), merged)
    names = {path.name for path in merged.iterdir()}
    assert {"config.json", "generation_config.json", "chat_template.jinja", "tokenizer.json"} <= names
    assert not {"pytorch_model.bin", "modeling_remote.py", "model.safetensors.index.json"} & names
    assert json.loads((merged / "generation_config.json").read_text()) == {"eos_token_id": 7}
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (base, merged))
    assert after["tie_word_embeddings"] == before["tie_word_embeddings"]
    assert after["dtype"] == "bfloat16"
    assert "quantization_config" not in after


@pytest.mark.medium
@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_the_merged_model_has_the_loss_that_training_measured(
    llama_folder: Path, make_rows: Callable[..., list[Rendered]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    stored: torch.dtype, compute: torch.dtype,
) -> None:  # fmt: skip
    # Whatever the base is stored in and the processor multiplies, both quantise the same weights.
    torch.manual_seed(5)
    folder = tmp_path / "base"
    random = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    for parameter in random.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    random.to(stored).save_pretrained(folder)
    monkeypatch.setattr(decoder, "compute_dtype", lambda device=None: compute)
    rows, validation = make_rows(8), make_rows(6, seed=1)
    settings = FinetuneSection(epochs=2, batch_size=4, learning_rate=1e-3, max_seq_length=128, eval_count=1)
    report = train(folder, rows, validation, settings, seed=0, folder=tmp_path / "run")
    merge(LiveModel(folder, report.adapter, quantised=True), tmp_path / "merged")
    assert base.stored_dtype(tmp_path / "merged") == stored
    model = decoder.load(tmp_path / "merged", torch.float32, attention_name=attention.PACKED)
    with torch.no_grad():
        loss = decoder.summed_loss(model, pack(validation)).item() / sum(sum(row.trained) for row in validation)
    # One rounding of the merged weights, and of each product where training computes in bfloat16.
    rounding = max(torch.finfo(stored).eps, torch.finfo(compute).eps)
    assert loss == pytest.approx(report.best_loss, rel=max(1e-5, rounding))


def test_an_existing_folder_is_not_overwritten(live: LiveModel, tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "note.txt").write_text("mine")
    with pytest.raises(RagftError, match="exists already"):
        merge(live, tmp_path / "merged")


def test_an_adapter_of_another_model_is_refused(
    llama_folder: Path, make_live: Callable[[Path], LiveModel], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(other)
    live = replace(make_live(other), base=llama_folder)
    with pytest.raises(RagftError, match="does not fit this model"):
        merge(live, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
