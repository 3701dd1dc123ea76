"""Every method trains on a processor, resumes to the same bits, and equals the fast loop where both can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    BertConfig,
    BertLMHeadModel,
)

from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune.fast import decoder
from ragft.finetune.fast import trainer as fast
from ragft.finetune.methods import METHODS
from ragft.finetune.peft_backend import trainer
from ragft.finetune.peft_backend.trainer import train
from ragft.finetune.report import TrainProgress
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]
Settings = Callable[..., FinetuneSection]
pytestmark = pytest.mark.slow  # together, the methods take minutes

ANSWERED = [name for name, method in METHODS.items() if method.rows == "answers"]


class _PowerCut(Exception):
    pass


def _values(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def _same(one: Path, two: Path) -> bool:
    a, b = _values(one), _values(two)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("method", ANSWERED)
def test_every_method_lowers_the_loss_and_counts_like_the_fast_loop(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path, method: str
) -> None:
    rows, seen = make_rows(24), list[TrainProgress]()
    settings = make_settings(method=method, epochs=4, virtual_tokens=4)
    report = train(float_folder, rows, make_rows(6, seed=1), settings, seed=0, folder=tmp_path, progress=seen.append)
    assert report.backend == "peft"
    assert report.steps == len(seen) == 24
    assert report.tokens == 4 * sum(len(row.ids) for row in rows)
    assert report.trained_tokens == 4 * sum(sum(row.trained) for row in rows)
    assert [entry.step for entry in report.history] == [6, 12, 18, 24]
    assert report.history[-1].train_loss < report.history[0].train_loss
    assert report.best_loss == min(entry.loss for entry in report.history)
    assert all(torch.isfinite(value).all() for value in _values(report.adapter).values())


@pytest.mark.parametrize("method", ANSWERED)
def test_every_method_trains_where_products_are_in_bfloat16(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:  # fmt: skip
    losses = {}
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(decoder, "compute_dtype", lambda device=None, dtype=dtype: dtype)
        settings = make_settings(method=method, epochs=1, virtual_tokens=4)
        report = train(float_folder, make_rows(12), [], settings, seed=0, folder=tmp_path / str(dtype))
        losses[dtype] = [entry.train_loss for entry in report.history]
        values = _values(report.adapter).values()
        assert all(value.dtype == torch.float32 for value in values), "masters are float32"
    assert losses[torch.bfloat16] != losses[torch.float32], "products were not in bfloat16"
    assert losses[torch.bfloat16] == pytest.approx(losses[torch.float32], abs=0.02)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_lora_and_qlora_have_the_losses_of_the_fast_loop(
    model_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(decoder, "compute_dtype", lambda device=None: torch.float32)
    settings, rows, validation = make_settings(method=method, learning_rate=5e-3), make_rows(18), make_rows(5, seed=1)
    losses: dict[str, list[float]] = {"fast": [], "peft": []}
    for module in (fast, trainer):
        name = "fast" if module is fast else "peft"
        module.train(
            model_folder, rows, validation, settings, seed=3, folder=tmp_path / name,
            progress=lambda state, name=name: losses[name].append(state.train_loss),
        )  # fmt: skip
    assert len(losses["fast"]) == 15
    assert losses["peft"] == pytest.approx(losses["fast"], abs=1e-5)


@pytest.mark.parametrize("method", ANSWERED)
def test_a_run_interrupted_anywhere_ends_with_the_same_bits(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:  # fmt: skip
    rows, validation = make_rows(10), make_rows(3, seed=1)
    # Dropout and noise draw from the random state, which must be resumed, too.
    dropout = 0.2 if "dropout" in METHODS[method].keys else 0.0
    settings = make_settings(method=method, dropout=dropout, neftune_alpha=5.0, virtual_tokens=3)
    whole = train(float_folder, rows, validation, settings, seed=3, folder=tmp_path / "whole")
    monkeypatch.setattr("ragft.finetune.fast.run.CHECKPOINT_SECONDS", 0.0)
    steps: list[int] = []

    def cut(progress: TrainProgress) -> None:
        steps.append(progress.step)
        if len(steps) in (2, 5):
            raise _PowerCut

    for _ in range(2):
        with pytest.raises(_PowerCut):
            train(float_folder, rows, validation, settings, seed=3, folder=tmp_path / "cut", progress=cut)
    report = train(float_folder, rows, validation, settings, seed=3, folder=tmp_path / "cut", progress=cut)
    assert steps == list(range(1, 10))
    assert whole.history == report.history
    assert _same(whole.adapter, report.adapter)


def test_a_checkpoint_of_the_other_back_end_is_not_continued(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path
) -> None:
    rows, settings, steps = make_rows(8), make_settings(method="lora"), list[int]()
    fast.train(float_folder, rows, [], settings, seed=0, folder=tmp_path)
    train(float_folder, rows, [], settings, seed=0, folder=tmp_path, progress=lambda p: steps.append(p.step))
    assert steps[0] == 1


def test_training_stops_early_and_keeps_the_best(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path
) -> None:
    settings = make_settings(
        method="full", epochs=60, learning_rate=5e-3, eval_count=12, patience=2, lr_scheduler="constant"
    )
    report = train(float_folder, make_rows(4), make_rows(6, seed=9), settings, seed=0, folder=tmp_path)
    assert report.stopped_early
    assert report.history[-3].step == report.best_step < report.steps < 60


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path
) -> None:
    settings = make_settings(method="full", learning_rate=1e30, max_grad_norm=1e9)
    with pytest.raises(RagftError, match=r"diverged at step \d of 6.*lower finetune\.learning_rate"):
        train(float_folder, make_rows(8), [], settings, seed=0, folder=tmp_path)


@pytest.mark.parametrize(("method", "trained"), [("layers", {2}), ("lora", {2}), ("layers", {0, 3}), ("dora", {3})])
def test_only_the_chosen_layers_are_trained(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path, method: str, trained: set[int]
) -> None:
    settings = make_settings(method=method, layers=[number - 4 for number in trained], epochs=1)
    report = train(float_folder, make_rows(4), [], settings, seed=0, folder=tmp_path)
    found = {int(name.partition("layers.")[2].partition(".")[0]) for name in _values(report.adapter)}
    assert found == trained


def test_the_last_quarter_of_the_layers_is_trained_by_default(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path
) -> None:
    report = train(float_folder, make_rows(4), [], make_settings(method="layers"), seed=0, folder=tmp_path)
    assert all(name.startswith("model.layers.3.") for name in _values(report.adapter))


def test_full_training_changes_every_weight_at_a_small_rate(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path
) -> None:
    settings = make_settings(method="full", learning_rate=1e-6, epochs=1, lr_scheduler="constant", warmup_ratio=0)
    report = train(float_folder, make_rows(4), [], settings, seed=0, folder=tmp_path)
    before = dict(decoder.load(float_folder, torch.float32, attention_name="eager").named_parameters())
    for name, after in _values(report.adapter).items():
        moved = (after != before[name]).float().mean().item()
        assert moved > (0.0 if "embed" in name else 0.5), name
    assert set(_values(report.adapter)) == set(before)


def test_only_named_modules_get_adapters(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path
) -> None:
    settings = make_settings(method="rslora", target_modules=["q_proj", "down_proj"], epochs=1)
    report = train(float_folder, make_rows(4), [], settings, seed=0, folder=tmp_path)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in _values(report.adapter)} == {"q_proj", "down_proj"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "lora", "target_modules": ["query"]}, "names query, and the linear layers .* are .*q_proj"),
        ({"method": "lora", "target_modules": ["lm_head"]}, "names lm_head"),
        ({"method": "layers", "layers": [4]}, "names 4, and the model has the layers 0 to 3"),
        ({"method": "lora", "layers": [-5]}, "names -5"),
        ({"method": "prefix-tuning", "virtual_tokens": 500}, "positions for 512 tokens, .* and 500 virtual tokens"),
    ],
)
def test_what_the_model_has_not_is_refused_before_anything_is_trained(
    float_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path, changes: dict[str, object],
    sentence: str,
) -> None:  # fmt: skip
    steps: list[int] = []
    with pytest.raises(RagftError, match=sentence):
        train(
            float_folder, make_rows(4), [], make_settings(**changes), seed=0, folder=tmp_path,
            progress=lambda state: steps.append(state.step),
        )  # fmt: skip
    assert steps == []


def test_a_method_that_peft_lacks_for_an_architecture_is_refused_in_a_sentence(
    model_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path
) -> None:
    if "qwen" not in model_folder.name:
        pytest.skip("LLaMA-Adapter knows Llama")
    with pytest.raises(RagftError, match=r"finetune\.method = adapter is not possible for qwen2 .*choose lora or full"):
        train(model_folder, make_rows(4), [], make_settings(method="adapter"), seed=0, folder=tmp_path)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_model_that_sees_what_it_should_predict_is_refused(
    make_rows: Rows, make_settings: Settings, tmp_path: Path, method: str
) -> None:
    config = BertConfig(
        vocab_size=256, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4
    )
    model = BertLMHeadModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(tmp_path / "bert")
    with pytest.raises(RagftError, match="bert looks at the tokens that it should predict"):
        train(tmp_path / "bert", make_rows(4), [], make_settings(method=method), seed=0, folder=tmp_path / "run")


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_architectures_that_the_fast_loop_does_not_know_are_trained(
    unusual_folder: Path, make_rows: Rows, make_settings: Settings, tmp_path: Path, method: str
) -> None:
    settings = make_settings(method=method, epochs=4)
    report = train(unusual_folder, make_rows(12), make_rows(3, seed=1), settings, seed=0, folder=tmp_path)
    assert report.history[-1].train_loss < report.history[0].train_loss
