"""Noise on embeddings, and activations that are computed again: in steps alone, and only where they are right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.tiny_decoders import build, config
from torch import nn

from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune.fast import run
from ragft.finetune.peft_backend.steps import noisy_embeddings
from ragft.finetune.peft_backend.trainer import train
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]
Settings = Callable[..., FinetuneSection]


def test_noise_is_bounded_by_the_length_of_each_row_and_ends_with_its_block() -> None:
    model, ids, lengths = (
        build(config("llama", hidden_size=16)),
        torch.ones(2, 8, dtype=torch.int64),
        torch.tensor([2, 8]),
    )
    plain = model.get_input_embeddings()(ids)
    with noisy_embeddings(model, 5.0, lambda: lengths):
        noise = (model.get_input_embeddings()(ids) - plain).abs()
    most = 5.0 / (lengths * 16).sqrt()
    assert (noise.amax(dim=(1, 2)) <= most + 1e-6).all()
    assert (noise.amax(dim=(1, 2)) > 0.9 * most).all(), "uniform up to the bound"
    assert torch.equal(model.get_input_embeddings()(ids), plain)


@pytest.mark.medium
@pytest.mark.parametrize("method", ["lora", "dora", "full", "ia3", "adapter", "prompt-tuning"])
def test_gradient_checkpointing_changes_no_bit(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path, method: str
) -> None:
    rows, validation = make_rows(8), make_rows(3, seed=1)
    dropout = {"dropout": 0.2} if method in ("lora", "dora") else {}
    histories = [
        train(
            float_folder, rows, validation,
            make_settings(method=method, gradient_checkpointing=again, epochs=1, virtual_tokens=3, **dropout),
            seed=0, folder=tmp_path / str(again),
        ).history
        for again in (False, True)
    ]  # fmt: skip
    assert histories[0] == histories[1]


def test_steps_with_gradient_checkpointing_compute_layers_again_after_a_validation(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[bool] = []
    real = run.recomputing

    def watched(model: nn.Module, **options: bool) -> object:
        entered.append(True)
        return real(model, **options)

    monkeypatch.setattr(run, "recomputing", watched)
    settings = make_settings(method="lora", gradient_checkpointing=True, epochs=1)
    report = train(float_folder, make_rows(8), make_rows(2, seed=1), settings, seed=0, folder=tmp_path)
    assert len(entered) == 1 + report.steps, "the trial and each step"


def test_gradient_checkpointing_that_cannot_be_is_refused_in_a_sentence(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path
) -> None:
    settings = make_settings(method="prefix-tuning", gradient_checkpointing=True, virtual_tokens=3)
    with pytest.raises(RagftError, match=r"finetune\.gradient_checkpointing .* prefix-tuning.*: set it to false"):
        train(float_folder, make_rows(8), [], settings, seed=0, folder=tmp_path)


@pytest.mark.medium
@pytest.mark.parametrize("method", ["lora", "full", "prompt-tuning"])
def test_noise_changes_a_training_by_its_seed_and_not_the_first_validation(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path, method: str
) -> None:
    rows = make_rows(8)

    def trained(alpha: float | None, folder: str) -> list[float]:
        settings = make_settings(method=method, neftune_alpha=alpha, epochs=1, virtual_tokens=3)
        report = train(float_folder, rows, rows, settings, seed=0, folder=tmp_path / folder)
        return [entry.train_loss for entry in report.history]

    noisy = trained(5.0, "noisy")
    assert noisy == trained(5.0, "again")
    assert noisy != trained(None, "plain") and noisy != trained(1.0, "less")
