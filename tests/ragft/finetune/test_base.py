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
from ragft.finetune.estimate import ModelSizes

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


def _small(kind: str) -> Any:
    """A small random model of a kind that writes no answers, or not as a decoder."""
    from transformers import (
        BartConfig,
        BartForConditionalGeneration,
        BertConfig,
        BertForMaskedLM,
        LlamaConfig,
        LlamaForSequenceClassification,
        LlamaModel,
        T5Config,
        T5ForConditionalGeneration,
    )

    llama = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)
    bert = BertConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)
    bart = BartConfig(
        vocab_size=64, d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=48, decoder_ffn_dim=48,
        encoder_attention_heads=2, decoder_attention_heads=2,
    )  # fmt: skip
    return {
        "t5": lambda: T5ForConditionalGeneration(T5Config(vocab_size=64, d_model=32, d_kv=16, d_ff=48, num_layers=1)),
        "bart": lambda: BartForConditionalGeneration(bart),
        "classification": lambda: LlamaForSequenceClassification(llama),
        "masked": lambda: BertForMaskedLM(bert),
        "headless": lambda: LlamaModel(llama),
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("t5", r"is an encoder-decoder \(T5ForConditionalGeneration\), .* vLLM .*: set model\.base to a causal"),
        ("bart", r"is an encoder-decoder \(BartForConditionalGeneration\)"),
        (
            "classification",
            r"is a LlamaForSequenceClassification, which has no head .* vLLM .*: set model\.base",
        ),
        ("masked", "is a BertForMaskedLM, which has no head that predicts the next token"),
        ("headless", "is a LlamaModel, which has no head that predicts the next token"),
    ],
)
def test_a_model_of_another_kind_is_named_with_what_to_use(tmp_path: Path, kind: str, sentence: str) -> None:
    _small(kind).save_pretrained(tmp_path)
    for refuse in (base.check_writes, base.load, ModelSizes.of):
        with pytest.raises(RagftError, match=sentence):
            refuse(tmp_path)


def test_a_decoder_is_no_model_of_another_kind(model_folder: Path) -> None:
    base.check_writes(model_folder)
