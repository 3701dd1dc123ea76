"""Every method of preferences and rewards learns what it is for, resumes to the same bits, and merges."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from ragft.config import FinetuneSection
from ragft.errors import MissingDependency, RagftError
from ragft.finetune.lineage import LiveModel
from ragft.finetune.merge import merge
from ragft.finetune.methods import METHODS
from ragft.finetune.peft_backend.live import load_live
from ragft.finetune.report import TrainProgress, TrainReport
from ragft.finetune.training import train
from ragft.finetune.trl_backend import trainer
from ragft.messages import Preferred, Rendered, Rewarded

Settings = Callable[..., FinetuneSection]
Preferences = Callable[..., list[Preferred]]
Rewards = Callable[..., list[Rewarded]]
PAIRED = [name for name, method in METHODS.items() if method.rows == "preferences"]
ALL = [name for name, method in METHODS.items() if method.rows != "answers"]

pytestmark = pytest.mark.slow


class _PowerCut(Exception):
    pass


@torch.no_grad()
def _log_likelihood(model: nn.Module, row: Rendered) -> float:
    """Of the answer of a row, in nats."""
    logits = model(input_ids=torch.tensor([row.ids])).logits[0].float().log_softmax(-1)
    return sum(logits[at - 1, row.ids[at]].item() for at in range(1, len(row.ids)) if row.trained[at])


def _margin(model: nn.Module, rows: list[Preferred]) -> float:
    return sum(_log_likelihood(model, row) - _log_likelihood(model, row.rejected) for row in rows) / len(rows)


@torch.no_grad()
def _chance_to_earn(model: nn.Module, rows: list[Rewarded]) -> float:
    """The probability that an answer's first token earns something."""
    chances = [model(input_ids=torch.tensor([row.prompt])).logits[0, -1].softmax(-1)[:32].sum() for row in rows]
    return float(sum(chances) / len(chances))


def _values(report: TrainReport) -> dict[str, torch.Tensor]:
    return load_file(report.adapter / "adapter_model.safetensors")


def _merged(base: Path, report: TrainReport, folder: Path) -> nn.Module:
    merge(LiveModel(base, report.adapter, False, "peft"), folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.parametrize("method", PAIRED)
def test_better_answers_win_by_more_and_the_result_merges(
    float_folder: Path, preferences: Preferences, make_settings: Settings, tmp_path: Path, method: str
) -> None:
    rows, held_out = preferences(8, unpaired=2 if method == "kto" else 0), preferences(4, seed=1)
    seen: list[TrainProgress] = []
    settings = make_settings(method=method)
    report = train(float_folder, rows, held_out, settings, seed=0, folder=tmp_path / "run", progress=seen.append)
    assert report.backend == "peft"
    assert report.steps == len(seen) == 4
    assert report.tokens == 2 * sum(len(one.ids) for row in rows for one in row.sequences)
    assert [entry.step for entry in report.history] == [2, 4]
    assert report.history[-1].validation_loss < report.history[0].validation_loss
    assert not any((tmp_path / "run").glob("trl*"))
    assert all(value.dtype == torch.float32 for value in _values(report).values())
    base = AutoModelForCausalLM.from_pretrained(float_folder, dtype=torch.float32)
    merged = _merged(float_folder, report, tmp_path / "merged")
    assert _margin(merged, held_out) > _margin(base, held_out) + 0.5
    live = load_live(LiveModel(float_folder, report.adapter, False, "peft"))
    assert _margin(live, held_out) == pytest.approx(_margin(merged, held_out), abs=1e-4)


def test_grpo_answers_earn_more_and_the_losses_are_those_of_the_rewards(
    float_folder: Path, rewarded: Rewards, make_settings: Settings, tmp_path: Path
) -> None:
    rows = rewarded(2)
    settings = make_settings(method="grpo", epochs=12, generations=12, lr_scheduler="constant")
    report = train(float_folder, rows, [], settings, seed=0, folder=tmp_path / "run")
    assert report.steps == 12
    assert all(0.0 <= entry.train_loss <= 1.0 for entry in report.history)
    assert any(value.abs().max() > 1e-3 for name, value in _values(report).items() if "lora_B" in name)
    base = AutoModelForCausalLM.from_pretrained(float_folder, dtype=torch.float32)
    merged = _merged(float_folder, report, tmp_path / "merged")
    assert _chance_to_earn(merged, rows) > _chance_to_earn(base, rows) + 0.1


@pytest.mark.parametrize("method", ALL)
def test_an_interrupted_run_ends_with_the_same_bits(
    float_folder: Path, preferences: Preferences, rewarded: Rewards, make_settings: Settings, tmp_path: Path,
    method: str,
) -> None:  # fmt: skip
    rows = rewarded(4) if method == "grpo" else preferences(4)
    settings = make_settings(method=method, generations=2, batch_size=2, eval_count=4, dropout=0.1)

    def at_2(state: TrainProgress) -> None:
        if state.step == 2:
            raise _PowerCut

    whole = train(float_folder, rows, rows[:2], settings, seed=0, folder=tmp_path / "whole")
    with pytest.raises(_PowerCut):
        train(float_folder, rows, rows[:2], settings, seed=0, folder=tmp_path / "cut", progress=at_2)
    steps: list[int] = []
    resumed = train(
        float_folder, rows, rows[:2], settings, seed=0, folder=tmp_path / "cut",
        progress=lambda state: steps.append(state.step),
    )  # fmt: skip
    assert steps == [3, 4]
    assert whole.history == resumed.history
    assert all(torch.equal(value, _values(resumed)[name]) for name, value in _values(whole).items())


@pytest.mark.parametrize("method", ["orpo", "simpo"])
def test_methods_that_compare_with_no_base_go_on_where_an_adapter_was(
    float_folder: Path, preferences: Preferences, make_settings: Settings, tmp_path: Path, method: str
) -> None:
    rows, held_out, nowhere = preferences(6), preferences(4, seed=1), {"learning_rate": 1e-12, "epochs": 1}
    reports: list[TrainReport] = []
    for name in ("before", "stayed", "anew"):
        changes = {} if name == "before" else nowhere
        if name == "stayed":
            changes = {**changes, "start_from": reports[0].adapter}
        settings = make_settings(method=method, **changes)
        reports.append(train(float_folder, rows, held_out, settings, seed=0, folder=tmp_path / name))
    before, stayed, anew = (report.best_loss for report in reports)
    assert stayed == pytest.approx(before, abs=1e-5) and anew > before + 0.01


def test_the_losses_are_those_of_the_papers(
    float_folder: Path, preferences: Preferences, make_settings: Settings, tmp_path: Path
) -> None:
    """At the first step the adapter is zero, so that each loss is known from the base model alone."""
    rows = preferences(4)
    base = AutoModelForCausalLM.from_pretrained(float_folder, dtype=torch.float32)
    of_token = [
        tuple(_log_likelihood(base, one) / len(one.answer) for one in row.sequences) for row in rows
    ]  # fmt: skip
    expected = {
        "dpo": math.log(2),
        "kto": 0.5,
        "simpo": sum(math.log1p(math.exp(0.5 - 2.0 * (better - worse))) for better, worse in of_token) / len(rows),
    }
    for method, loss in expected.items():
        settings = make_settings(method=method, epochs=1)
        seen: list[TrainProgress] = []
        train(float_folder, rows, [], settings, seed=0, folder=tmp_path / method, progress=seen.append)
        assert seen[0].train_loss == pytest.approx(loss, abs=1e-4), method


@pytest.mark.parametrize(("method", "key", "value"), [
    ("dpo", "beta", 0.5), ("kto", "beta", 0.5), ("orpo", "beta", 0.5), ("simpo", "beta", 1.0),
    ("simpo", "margin", 1.5), ("grpo", "generations", 3), ("grpo", "beta", 0.5),
])  # fmt: skip
def test_another_value_of_a_key_trains_another_adapter(
    float_folder: Path, preferences: Preferences, rewarded: Rewards, make_settings: Settings, tmp_path: Path,
    method: str, key: str, value: float,
) -> None:  # fmt: skip
    rows = rewarded(2) if method == "grpo" else preferences(2)
    short = {"method": method, "epochs": 2, "batch_size": 2, "generations": 2, "eval_count": 1}
    one, other = (
        train(float_folder, rows, [], make_settings(**{**short, **changes}), seed=0, folder=tmp_path / name)
        for name, changes in (("one", {}), ("other", {key: value}))
    )
    assert any(not torch.equal(tensor, _values(other)[name]) for name, tensor in _values(one).items())


def test_the_rows_of_a_step_can_be_divided_without_changing_a_loss_of_pairs(
    float_folder: Path, preferences: Preferences, make_settings: Settings, tmp_path: Path
) -> None:
    for method in ("dpo", "simpo"):
        losses = []
        for budget in (128, 4096):
            seen: list[TrainProgress] = []
            settings = make_settings(method=method, token_budget=budget)
            folder = tmp_path / f"{method}-{budget}"
            train(float_folder, preferences(8), [], settings, seed=0, folder=folder, progress=seen.append)
            losses.append([state.train_loss for state in seen])
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_rows_that_a_method_cannot_learn_from_are_refused(
    float_folder: Path, preferences: Preferences, make_settings: Settings, tmp_path: Path
) -> None:
    rows = preferences(4, unpaired=3)
    with pytest.raises(RagftError, match=r"finetune.method = dpo .* 3 of 4 rows have no worse one"):
        train(float_folder, rows, [], make_settings(method="dpo"), seed=0, folder=tmp_path)
    with pytest.raises(RagftError, match=r"kto .* none of the 3 training rows"):
        train(float_folder, rows[:3], [], make_settings(method="kto"), seed=0, folder=tmp_path)
    with pytest.raises(RagftError, match="grpo needs rows that say how an answer is rewarded"):
        train(float_folder, rows, [], make_settings(method="grpo"), seed=0, folder=tmp_path)


def test_a_rejected_answer_that_is_too_long_leaves_its_row_out(
    float_folder: Path, preferences: Preferences, make_settings: Settings, tmp_path: Path
) -> None:
    first, *others = preferences(4)
    worse = first.rejected
    long = Rendered((*worse.ids[:-1], *[20] * 40, worse.ids[-1]), (*worse.trained, *[True] * 40))
    rows = [Preferred(first.ids, first.trained, long), *others]
    report = train(float_folder, rows, [], make_settings(method="dpo", epochs=1), seed=0, folder=tmp_path)
    assert (report.rows, report.rows_left_out) == (3, 1)


def test_a_missing_trl_is_one_sentence_with_the_extra(
    float_folder: Path, preferences: Preferences, make_settings: Settings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(trainer.importlib.util, "find_spec", lambda name: None if name == "trl" else object())
    with pytest.raises(MissingDependency, match=r"needs trl: pip install 'ragft\[trl\]'"):
        train(float_folder, preferences(2), [], make_settings(method="dpo"), seed=0, folder=tmp_path)
