"""Training on a card against training on the processor: losses, gradients, NF4, resumption, and the PEFT back end."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from ragft.config import FinetuneSection
from ragft.finetune import devices
from ragft.finetune.fast import decoder, fused
from ragft.finetune.fast.attention import PACKED
from ragft.finetune.fast.batching import pack
from ragft.finetune.fast.lora import attach, compute_in, initial_adapter, matrices
from ragft.finetune.fast.nf4 import Nf4Weight
from ragft.finetune.training import train
from ragft.prompts import Rendered

VOCABULARY = 256
CPU, CARD = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=192, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=64, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    where = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(where)
    return where


@pytest.fixture(autouse=True)
def _exact_products() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False


def _rows(count: int, seed: int = 0) -> list[Rendered]:
    draw = random.Random(seed)
    shared = [draw.randrange(3, VOCABULARY) for _ in range(12)]
    rows = []
    for _ in range(count):
        own = [draw.randrange(3, VOCABULARY) for _ in range(draw.randint(6, 24))]
        rows.append(Rendered((*shared, *own), (False,) * 15 + (True,) * (len(own) - 3)))
    return rows


def _settings(**changes: object) -> FinetuneSection:
    values: dict[str, object] = {
        "method": "lora", "rank": 4, "epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "max_seq_length": 64,
        "eval_count": 2, "patience": 9, "device": "cuda",
    }  # fmt: skip
    return FinetuneSection.model_validate({**values, **changes})


def _gradients(folder: Path, device: torch.device, kind: str, *, quantise: bool) -> tuple[float, list[torch.Tensor]]:
    model = decoder.load(folder, None, attention_name=kind)
    attach(model, initial_adapter(model, 4, 8.0, seed=1), quantise=quantise, device=device)
    compute_in(model, torch.float32)
    generator = torch.Generator().manual_seed(2)
    for name, matrix in matrices(model).items():
        if name.endswith(".B"):
            matrix.data.copy_(torch.empty(matrix.shape).normal_(std=0.1, generator=generator))
    loss = decoder.summed_loss(model, pack(_rows(5)))
    gradients = torch.autograd.grad(loss, list(matrices(model).values()))
    return loss.item(), [gradient.cpu() for gradient in gradients]


@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("kind", ["blocks", "fused"])
def test_losses_and_gradients_are_those_of_the_processor(folder: Path, kind: str, quantise: bool) -> None:
    name = PACKED if kind == "blocks" else fused.attention_for(CARD, torch.float32)
    expected, wanted = _gradients(folder, CPU, PACKED, quantise=quantise)
    loss, found = _gradients(folder, CARD, name, quantise=quantise)
    assert loss == pytest.approx(expected, rel=1e-5)
    for one, two in zip(wanted, found, strict=True):
        assert (one - two).abs().max() <= 1e-4 * one.abs().max()


def test_a_fused_attention_is_found_in_the_format_of_training() -> None:
    assert fused.attention_for(CARD, decoder.compute_dtype(CARD)) != PACKED


def test_nf4_weights_are_those_of_the_processor() -> None:
    weight = torch.randn(128, 256, generator=torch.Generator().manual_seed(0))
    here, there = (Nf4Weight(weight.to(device)) for device in (CPU, CARD))
    for dtype in (torch.float32, torch.bfloat16):
        assert torch.allclose(here.dequantize(dtype), there.dequantize(dtype).cpu(), atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"method": "qlora"}, {"method": "full"}, {"method": "dora"}], ids=str)
def test_training_on_a_card_ends_where_that_on_the_processor_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(decoder, "compute_dtype", lambda device=CPU: torch.float32)
    reports = [
        train(folder, _rows(16), _rows(4, 1), _settings(device=name, **changes), seed=0, folder=tmp_path / name)
        for name in ("cpu", "cuda")
    ]
    for one, two in zip(*(report.history for report in reports), strict=True):
        assert two.validation_loss == pytest.approx(one.validation_loss, rel=1e-3)
    assert reports[1].peak_card_mib > 0


@pytest.mark.parametrize("changes", [{"method": "qlora"}, {"dropout": 0.3}], ids=str)
def test_an_interrupted_training_ends_with_the_same_values(
    folder: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    class Cut(Exception):
        pass

    def cut(state: Any) -> None:
        if state.step == 5:
            raise Cut

    arguments = (folder, _rows(16), _rows(4, 1), _settings(**changes))
    whole = train(*arguments, seed=0, folder=tmp_path / "whole")
    with pytest.raises(Cut):
        train(*arguments, seed=0, folder=tmp_path / "cut", progress=cut)
    resumed = train(*arguments, seed=0, folder=tmp_path / "cut")
    one, two = (load_file(report.adapter / "adapter_model.safetensors") for report in (whole, resumed))
    # Sums on a card are taken in an order that changes, so that bits may differ; a lost moment would show.
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_free_memory_of_the_card_is_told() -> None:
    assert devices.free_mib(CARD) > 0
