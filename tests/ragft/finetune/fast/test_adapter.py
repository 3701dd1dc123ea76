"""Adapters on disk: PEFT reads what is written here, and what is not plain LoRA is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from ragft.errors import RagftError
from ragft.finetune.fast import decoder
from ragft.finetune.fast.adapter import load_adapter, save_adapter
from ragft.finetune.fast.lora import matrices

Adapt = Callable[..., nn.Module]


def _logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids).logits


def test_an_adapter_written_here_answers_the_same_in_peft(model_folder: Path, adapt: Adapt, tmp_path: Path) -> None:
    from peft import PeftModel

    ours = adapt(decoder.load(model_folder, torch.float32, attention_name="eager"))
    save_adapter(matrices(ours), tmp_path / "adapter", "base", rank=4, alpha=8.0)
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
    ids = torch.arange(3, 43)[None]
    before = _logits(base, ids)
    theirs = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    torch.testing.assert_close(_logits(ours, ids), _logits(theirs, ids), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before, _logits(ours, ids), atol=1e-2)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2}},
        {"alpha_pattern": {"v_proj": 3}, "layers_to_transform": [1], "target_modules": ["v_proj", "up_proj"]},
    ],
)
def test_an_adapter_that_peft_wrote_answers_the_same_here(
    llama_folder: Path, peft_model: Adapt, tmp_path: Path, settings: dict[str, object]
) -> None:
    peft = peft_model(llama_folder, **settings)
    peft.save_pretrained(tmp_path)
    ours = decoder.load(llama_folder, torch.float32, attention_name="eager")
    load_adapter(ours, tmp_path, quantise=False)
    ids = torch.arange(3, 43)[None]
    torch.testing.assert_close(_logits(ours, ids), _logits(peft, ids), rtol=1e-4, atol=1e-4)


def test_dora_is_refused_in_a_sentence(llama_folder: Path, peft_model: Adapt, tmp_path: Path) -> None:
    peft_model(llama_folder, use_dora=True).save_pretrained(tmp_path)
    model = decoder.load(llama_folder, torch.float32, attention_name="eager")
    with pytest.raises(RagftError, match="use_dora"):
        load_adapter(model, tmp_path, quantise=False)


def test_an_adapter_of_another_shape_is_refused_with_both_shapes(
    llama_folder: Path, peft_model: Adapt, tmp_path: Path
) -> None:
    peft_model(llama_folder).save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    key = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"
    tensors[key] = tensors[key][:, :-1].contiguous()
    save_file(tensors, path)
    model = decoder.load(llama_folder, torch.float32, attention_name="eager")
    with pytest.raises(RagftError, match=r"down_proj' as \(64, 95\), which is \(64, 96\) here"):
        load_adapter(model, tmp_path, quantise=False)


@pytest.mark.medium
def test_an_adapter_of_a_layer_that_the_model_lacks_is_refused(
    llama_folder: Path, peft_model: Adapt, tmp_path: Path
) -> None:
    peft_model(llama_folder).save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = {key.replace("layers.1", "layers.7"): tensor for key, tensor in load_file(path).items()}
    save_file(tensors, path)
    model = decoder.load(llama_folder, torch.float32, attention_name="eager")
    with pytest.raises(
        RagftError, match=r"layers\.7.* which is no linear layer that can be adapted here; use the base model"
    ):
        load_adapter(model, tmp_path, quantise=False)


def _without_layer(tensors: dict[str, torch.Tensor]) -> None:
    for letter in "AB":
        tensors.pop(f"base_model.model.model.layers.0.self_attn.q_proj.lora_{letter}.weight")


def test_layers_that_the_configuration_leaves_out_are_refused(
    llama_folder: Path, peft_model: Adapt, tmp_path: Path
) -> None:
    peft_model(llama_folder).save_pretrained(tmp_path)
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "exclude_modules": ["v_proj"]}))
    model = decoder.load(llama_folder, torch.float32, attention_name="eager")
    with pytest.raises(RagftError, match=r"matrices of 'model.*0.*v_proj' and 1 other layer, which .* leaves out"):
        load_adapter(model, tmp_path, quantise=False)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tensors: tensors.pop(next(key for key in sorted(tensors) if "lora_B" in key)), "damaged.* missing"),
        (lambda tensors: tensors.update({"base_model.model.lm_head.weight": torch.ones(2, 2)}), "not plain LoRA"),
        (lambda tensors: tensors.clear(), "empty"),
        (
            lambda tensors: tensors.pop(next(key for key in sorted(tensors) if "lora_A" in key)),
            "damaged.* A is missing",
        ),
        (
            lambda tensors: _without_layer(tensors),
            r"damaged: .*holds no matrices of '.*q_proj', which .* says it changes",
        ),
        (lambda tensors: next(iter(tensors.values())).view(-1)[3:4].fill_(float("nan")), "damaged.* not finite"),
        (lambda tensors: tensors.update({key: value.to(torch.int8) for key, value in tensors.items()}), "torch.int8"),
    ],
    ids=["without a B", "with a whole layer", "without matrices", "without an A", "without a layer", "NaN", "integers"],
)
def test_a_damaged_adapter_is_refused(
    llama_folder: Path,
    peft_model: Adapt,
    tmp_path: Path,
    damage: Callable[[dict[str, torch.Tensor]], object],
    message: str,
) -> None:
    peft_model(llama_folder).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    damage(tensors)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    model = decoder.load(llama_folder, torch.float32, attention_name="eager")
    with pytest.raises(RagftError, match=message):
        load_adapter(model, tmp_path, quantise=False)


def test_what_is_no_adapter_is_refused(llama_folder: Path, tmp_path: Path) -> None:
    model = decoder.load(llama_folder, torch.float32, attention_name="eager")
    with pytest.raises(RagftError, match="holds no adapter"):
        load_adapter(model, tmp_path, quantise=False)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    with pytest.raises(RagftError, match="kind 'IA3'"):
        load_adapter(model, tmp_path, quantise=False)
