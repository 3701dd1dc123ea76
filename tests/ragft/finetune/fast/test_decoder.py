"""The loss of a row is the one that transformers computes; models for which it would not be are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from ragft.errors import RagftError
from ragft.finetune.fast import decoder
from ragft.finetune.fast.batching import pack
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]


def test_a_row_has_the_loss_that_transformers_computes(model_folder: Path, make_rows: Rows) -> None:
    reference = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
    model = decoder.load_for_training(model_folder, torch.float32, max_seq_length=512)
    rows = make_rows(4)
    expected = 0.0
    for row in rows:
        logits = reference(torch.tensor([row.ids])).logits[0, :-1]
        kept = torch.tensor(row.trained[1:])
        expected += functional.cross_entropy(logits[kept], torch.tensor(row.ids[1:])[kept], reduction="sum").item()
    with torch.no_grad():
        assert decoder.summed_loss(model, pack(rows)).item() == pytest.approx(expected, rel=1e-5)


def test_a_model_with_sliding_attention_is_refused_beyond_its_window(tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=128,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(tmp_path)
    decoder.load_for_training(tmp_path, torch.float32, max_seq_length=128)
    with pytest.raises(RagftError, match=r"set finetune\.max_seq_length to 128"):
        decoder.load_for_training(tmp_path, torch.float32, max_seq_length=129)


@pytest.mark.parametrize("key", ["final_logit_softcapping", "logit_scale", "logits_scaling"])
def test_a_model_that_changes_its_logits_is_refused(llama_folder: Path, tmp_path: Path, key: str) -> None:
    for path in llama_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), key: 0.5}))
    with pytest.raises(RagftError, match=f"{key}.*choose a Llama-like base model"):
        decoder.load_for_training(tmp_path, torch.float32, max_seq_length=64)


def test_a_folder_without_safetensors_is_refused_in_a_sentence(llama_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((llama_folder / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(RagftError, match="cannot be loaded"):
        decoder.load(tmp_path, torch.float32, attention_name="eager")
