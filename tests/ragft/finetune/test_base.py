"""A base is read with every weight accounted for, in its stored dtype, or refused in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from ragft.errors import RagftError
from ragft.finetune import base

Edit = Callable[[dict[str, torch.Tensor]], object]


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    """A base of its own for a test that spoils it."""
    for path in model_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def _edit(folder: Path, edit: Edit) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _configure(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


_UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_are_read_as_they_are_stored(copy: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    stored = {name: torch.randn_like(value, dtype=torch.float32).to(dtype) for name, value in load_file(
        copy / "model.safetensors").items()}  # fmt: skip
    save_file(stored, copy / "model.safetensors", metadata={"format": "pt"})
    _configure(copy, dtype="bfloat16")  # what the configuration says does not count
    model = base.load(copy)
    assert base.stored_dtype(copy) == dtype
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items() if name in stored)
    assert not model.training


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensors: tensors.pop(_UP), rf"1 weights are missing in the files \({_UP}\)"),
        (lambda tensors: tensors.update({"model.extra": torch.zeros(2)}), r"not in the architecture \(model\.extra\)"),
        (lambda tensors: tensors.update({_UP: tensors[_UP][:, :32].contiguous()}), r"\(96, 32\) for \(96, 64\)"),
    ],
    ids=["missing", "unexpected", "mismatched"],
)
def test_a_base_whose_weights_are_not_those_of_its_architecture_is_refused(
    copy: Path, edit: Edit, message: str
) -> None:
    _edit(copy, edit)
    with pytest.raises(RagftError, match=message):
        base.load(copy)


def test_a_head_that_is_tied_only_by_the_configuration_is_refused(copy: Path) -> None:
    embedding = load_file(copy / "model.safetensors")["model.embed_tokens.weight"]
    _configure(copy, tie_word_embeddings=True)
    _edit(copy, lambda tensors: tensors.update({"lm_head.weight": embedding.clone()}))
    base.load(copy)
    _edit(copy, lambda tensors: tensors.update({"lm_head.weight": embedding + 1}))
    with pytest.raises(RagftError, match="set tie_word_embeddings to false"):
        base.load(copy)


def test_a_truncated_file_is_named(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(RagftError, match=r"model\.safetensors is missing, truncated or damaged .*download it again"):
        base.load(copy)


def test_a_missing_shard_is_named(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-00001.safetensors"}}))
    with pytest.raises(RagftError, match=r"model-00001\.safetensors is missing"):
        base.load(copy)


def test_pickled_weights_are_not_loaded(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(RagftError, match=r"model\.safetensors is missing"):
        base.load(copy)


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        {"quant_method": "compressed-tensors"},
    ],
    ids=lambda settings: settings["quant_method"],
)
def test_a_quantised_base_is_refused_with_what_to_use(copy: Path, settings: dict[str, Any]) -> None:
    _configure(copy, quantization_config=settings)
    with pytest.raises(RagftError, match=rf"quantised \({settings['quant_method']}\).*unquantised base model"):
        base.load(copy)


def test_fp8_weights_are_refused_without_a_word_in_the_configuration(copy: Path) -> None:
    _edit(copy, lambda tensors: tensors.update({_UP: tensors[_UP].to(torch.float8_e4m3fn)}))
    with pytest.raises(RagftError, match=r"quantised \(F8_E4M3\)"):
        base.load(copy)


def test_an_unknown_architecture_is_refused_in_a_sentence(copy: Path) -> None:
    _configure(copy, model_type="unheard_of")
    with pytest.raises(RagftError, match="cannot be loaded"):
        base.load(copy)


def test_rows_beyond_the_models_positions_are_refused(model_folder: Path) -> None:
    model = base.load(model_folder)
    base.check_positions(model, 512)
    with pytest.raises(RagftError, match=r"set finetune\.max_seq_length to 512"):
        base.check_positions(model, 513)


def test_tokens_beyond_the_embedding_are_refused(model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    base.check_ids(model, [(1, 255), ()])
    with pytest.raises(RagftError, match="token 256, and the model's embedding has 256 rows"):
        base.check_ids(model, [(1, 2), (256,)])
