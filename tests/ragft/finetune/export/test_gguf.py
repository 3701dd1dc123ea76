"""A GGUF file says all that the model is: read back, it computes the same; what it could not say is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf as files
import pytest
import torch
from support.exports import ROWS, SHAPES, tiny_model
from transformers import AutoTokenizer

from ragft.errors import RagftError
from ragft.finetune.base import load
from ragft.finetune.export import gguf
from ragft.finetune.export.gguf_tokenizer import PROBES

IDS = torch.tensor([[1, 70, 80, 90, 100, 110, 120, 250, 260, 7, 9]])


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(IDS).logits[0]


def exported(tmp_path: Path, kind: str, type_: gguf.Type, **changes: Any) -> tuple[Path, Path]:
    model = tiny_model(tmp_path / kind, kind, **changes)
    gguf.write(model, tmp_path / "model.gguf", type_, name="tiny", end=2)
    return model, tmp_path / "model.gguf"


@pytest.mark.medium
@pytest.mark.parametrize("kind", SHAPES)
def test_a_file_read_back_computes_what_the_model_does(kind: str, tmp_path: Path) -> None:
    model, file = exported(tmp_path, kind, "f16")
    assert torch.allclose(logits(gguf.read(file, torch.float32)), logits(load(model).float()), rtol=1e-3, atol=2e-3)


@pytest.mark.medium
@pytest.mark.parametrize("kind", SHAPES)
def test_eight_bits_change_little(kind: str, tmp_path: Path) -> None:
    model, file = exported(tmp_path, kind, "q8_0")
    expected = logits(load(model).float())
    assert 0 < (logits(gguf.read(file, torch.float32)) - expected).norm() / expected.norm() < 0.05
    types = {tensor.tensor_type.name for tensor in files.GGUFReader(str(file)).tensors}
    assert types == {"Q8_0", "F32"}


def test_the_tokenizer_in_the_file_is_the_models(tmp_path: Path) -> None:
    model, file = exported(tmp_path, "llama", "f16")
    original = AutoTokenizer.from_pretrained(model)
    found = AutoTokenizer.from_pretrained(tmp_path, gguf_file=file.name)
    for text in (*PROBES, "<|im_start|>user\nWhen?<|im_end|>\n"):
        assert found.encode(text, add_special_tokens=False) == original.encode(text, add_special_tokens=False)
    assert found.chat_template == original.chat_template
    reader = files.GGUFReader(str(file))

    def value(name: str) -> Any:
        return reader.get_field(f"tokenizer.ggml.{name}").contents()

    assert value("model") == "gpt2" and value("pre") == "gpt-2"
    assert len(value("tokens")) == len(value("token_type")) == ROWS
    assert value("tokens")[-1] == f"[PAD{ROWS - 1}]" and value("token_type")[-1] == files.TokenType.UNUSED
    assert [value("token_type")[number] for number in (1, 2)] == [files.TokenType.CONTROL] * 2
    assert (value("eos_token_id"), value("eot_token_id"), value("add_bos_token")) == (2, 2, False)


@pytest.mark.parametrize(
    ("kind", "changes", "why"),
    [
        ("gemma", {"head_dim": 64}, "these can: llama, mistral, qwen2, qwen3"),
        ("llama", {"attention_bias": True}, "no place for model.layers.0.self_attn"),
        ("llama", {"hidden_act": "gelu"}, "activation is gelu"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "scaled"),
        ("mistral", {"sliding_window": 64}, "sees 64 tokens"),
        ("qwen2", {"head_dim": 32}, "heads have 32"),
    ],
)
def test_what_a_file_would_not_say_is_refused(kind: str, changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(RagftError, match=why):
        exported(tmp_path, kind, "f16", **changes)
    assert not (tmp_path / "model.gguf").exists()


def test_rows_that_do_not_divide_into_blocks_need_float16(tmp_path: Path) -> None:
    with pytest.raises(RagftError, match=r"down_proj.*rows of 100 weights.*--type f16"):
        exported(tmp_path, "llama", "q8_0", intermediate_size=100)
    gguf.write(tmp_path / "llama", tmp_path / "model.gguf", "f16", name="tiny", end=None)


def test_queries_and_keys_alternate_the_halves_of_each_head() -> None:
    rows = torch.arange(8.0)[:, None]
    assert gguf.interleaved(rows, 2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
