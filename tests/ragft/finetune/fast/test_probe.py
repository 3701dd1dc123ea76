"""The probe: a base that the fast loop would train otherwise than transformers is refused at load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_decoders
from torch import nn

from ragft.errors import RagftError
from ragft.finetune import base
from ragft.finetune.fast import probe
from ragft.finetune.fast.probe import NotFast, load_for_training

_REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "state that runs across rows": ("lfm2", {}),
    "gated linear attention": ("qwen3_5_text", {}),
    "Mamba beside attention": ("granitemoehybrid", {}),
    "attention that bypasses the interface": ("bloom", {}),
    "scaled logits": ("granite", {"logits_scaling": 8.0}),
    "capped logits": ("gemma2", {"attn_logit_softcapping": None}),
    "multiplied head": ("cohere", {"logit_scale": 0.25}),
    "attention sinks": ("gpt_oss", {}),
    "no linear layers": ("gpt2", {}),
    "experts": ("mixtral", {}),
}


@pytest.mark.medium
@pytest.mark.parametrize("what", _REFUSED)
def test_what_the_fast_loop_would_compute_otherwise_is_refused(what: str, tmp_path: Path) -> None:
    architecture, changes = _REFUSED[what]
    tiny_decoders.build(tiny_decoders.config(architecture, **changes)).save_pretrained(tmp_path)
    with pytest.raises(NotFast, match=rf"cannot train {architecture}: .*PEFT back end"):
        load_for_training(tmp_path, torch.float32, max_seq_length=128)


@pytest.mark.medium
@pytest.mark.parametrize("architecture", ["mistral", "gemma3_text", "olmo3"])
def test_a_sliding_window_is_found_without_rows_that_fill_it(tmp_path: Path, architecture: str) -> None:
    tiny_decoders.build(tiny_decoders.config(architecture, sliding_window=128)).save_pretrained(tmp_path)
    load_for_training(tmp_path, torch.float32, max_seq_length=128)
    with pytest.raises(NotFast, match=r"window of 128 tokens.*\(set it to 128 or less\)"):
        load_for_training(tmp_path, torch.float32, max_seq_length=129)


def test_rows_across_the_border_of_longrope_are_refused(tmp_path: Path) -> None:
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4,
            "original_max_position_embeddings": 64}  # fmt: skip
    settings = tiny_decoders.config("phi3", rope_parameters=rope, original_max_position_embeddings=64)
    tiny_decoders.build(settings).save_pretrained(tmp_path)
    load_for_training(tmp_path, torch.float32, max_seq_length=64)
    with pytest.raises(RagftError, match=r"set finetune\.max_seq_length to 64"):
        load_for_training(tmp_path, torch.float32, max_seq_length=65)


def test_a_model_of_text_and_images_trains_its_text_model(tmp_path: Path) -> None:
    tiny_decoders.build(tiny_decoders.config("gemma3")).save_pretrained(tmp_path)
    from ragft.finetune.fast.lora import target_linears

    names = target_linears(load_for_training(tmp_path, torch.float32, max_seq_length=128))
    assert names
    assert all("vision" not in name for name in names)


def test_a_layer_that_takes_no_part_is_named(llama_folder: Path) -> None:
    model = base.load(llama_folder)
    model.model.layers[1].add_module("unused", nn.Linear(64, 64, dtype=torch.bfloat16))
    assert "model.layers.1.unused" in str(probe.probe(model, max_seq_length=64).reason)


@pytest.mark.parametrize("whole", [True, False])
def test_the_probe_leaves_the_model_as_it_was(model_folder: Path, monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    if not whole:
        monkeypatch.setattr(probe, "WHOLE", 0)
    model = base.load(model_folder)
    values = {name: value.clone() for name, value in model.state_dict().items()}
    modules = [(name, type(module)) for name, module in model.named_modules()]
    verdict = probe.probe(model, max_seq_length=64)
    assert verdict.reason is None
    # Rounding in float32, far below what any of the refused architectures shows.
    assert verdict.logits < 0.1 * probe.MAX_DIFFERENCE
    assert verdict.gradients < 0.1 * probe.MAX_GRADIENT_DIFFERENCE
    assert modules == [(name, type(module)) for name, module in model.named_modules()]
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) and value.dtype == after[name].dtype for name, value in values.items())


def test_a_large_model_is_probed_on_as_many_layers_as_hold_one_of_every_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "WHOLE", 0)
    kinds = ["full_attention"] * 3 + ["conv"] + ["full_attention"] * 2
    model = tiny_decoders.build(tiny_decoders.config("lfm2", layer_types=kinds, num_hidden_layers=6))
    with probe._first_layers(model):
        assert len(model.model.layers) == 4
    assert len(model.model.layers) == 6
    assert probe.probe(model, max_seq_length=64).reason is not None
