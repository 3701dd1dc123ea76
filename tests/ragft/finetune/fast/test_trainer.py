"""Training: what is kept, what is counted, and that an interruption changes nothing."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune.fast import decoder
from ragft.finetune.fast.batching import MicroBatch
from ragft.finetune.fast.run import learning_rate
from ragft.finetune.fast.trainer import train
from ragft.finetune.report import TrainProgress, TrainReport
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]


class _PowerCut(Exception):
    pass


def _settings(**changes: object) -> FinetuneSection:
    values: dict[str, object] = {
        "rank": 4, "epochs": 3, "batch_size": 4, "learning_rate": 5e-3, "token_budget": 128, "max_seq_length": 64,
        "eval_count": 4, "patience": 9,
    }  # fmt: skip
    return FinetuneSection.model_validate({**values, **changes})


def _adapter(report: TrainReport) -> dict[str, torch.Tensor]:
    return load_file(report.adapter / "adapter_model.safetensors")


def _same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.medium
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_training_lowers_the_loss_and_reports_what_it_did(
    model_folder: Path, make_rows: Rows, tmp_path: Path, method: str
) -> None:
    rows, seen = make_rows(24), list[TrainProgress]()
    settings = _settings(method=method, epochs=4)
    report = train(model_folder, rows, make_rows(6, seed=1), settings, seed=0, folder=tmp_path, progress=seen.append)
    assert report.steps == len(seen) == 24
    assert report.epochs == 4
    assert report.tokens == 4 * sum(len(row.ids) for row in rows)
    assert report.trained_tokens == 4 * sum(sum(row.trained) for row in rows)
    assert [entry.step for entry in report.history] == [6, 12, 18, 24]
    assert report.history[-1].train_loss < report.history[0].train_loss - 0.2
    assert [p.validation_loss is not None for p in seen] == [(p.step % 6 == 0) for p in seen]
    assert report.tokens_per_second > 0
    assert report.peak_memory_mib > 0


def test_rows_too_long_or_without_an_answer_are_dropped_and_counted_never_truncated(
    llama_folder: Path, make_rows: Rows, tmp_path: Path
) -> None:
    rows = make_rows(6)
    long = Rendered(tuple(range(3, 68)), (False,) * 60 + (True,) * 5)
    mute = Rendered((5, 6, 7), (True, False, False))  # nothing predicts a first token
    report = train(llama_folder, [long, *rows, mute], [long], _settings(epochs=1), seed=0, folder=tmp_path)
    assert (report.rows, report.rows_left_out) == (6, 2)
    assert (report.validation_rows, report.validation_rows_left_out) == (0, 1)
    with pytest.raises(RagftError, match="None of the 2 training rows"):
        train(llama_folder, [long, mute], [], _settings(), seed=0, folder=tmp_path)


@pytest.mark.medium
def test_a_run_interrupted_anywhere_ends_with_the_same_bits(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, validation, settings = make_rows(18), make_rows(4, seed=1), _settings()
    whole = train(llama_folder, rows, validation, settings, seed=3, folder=tmp_path / "whole")
    monkeypatch.setattr("ragft.finetune.fast.run.CHECKPOINT_SECONDS", 0.0)
    steps: list[int] = []

    def cut(progress: TrainProgress) -> None:
        steps.append(progress.step)
        if len(steps) in (2, 7, 8):
            raise _PowerCut

    for _ in range(3):
        with pytest.raises(_PowerCut):
            train(llama_folder, rows, validation, settings, seed=3, folder=tmp_path / "cut", progress=cut)
    report = train(llama_folder, rows, validation, settings, seed=3, folder=tmp_path / "cut", progress=cut)
    assert steps == list(range(1, 16)), "no step is done twice when every step is kept"
    assert _same(_adapter(whole), _adapter(report))
    assert whole.history == report.history
    assert (whole.tokens, whole.best_step, whole.best_loss) == (
        report.tokens,
        report.best_step,
        report.best_loss,
    )


_KILLED = """
import os, pickle, signal, sys
from pathlib import Path
from ragft.finetune.fast import run, trainer
run.CHECKPOINT_SECONDS = 0.0
arguments, folder, threads = pickle.load(open(sys.argv[1], "rb"))
import torch
torch.set_num_threads(threads)
def kill(progress):
    if progress.step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
trainer.train(*arguments, seed=3, folder=Path(folder), progress=kill)
"""


@pytest.mark.slow
def test_a_killed_process_resumes_to_the_same_bits(llama_folder: Path, make_rows: Rows, tmp_path: Path) -> None:
    arguments = (llama_folder, make_rows(18), make_rows(4, seed=1), _settings())
    whole = train(*arguments, seed=3, folder=tmp_path / "whole")
    given = tmp_path / "arguments"
    given.write_bytes(pickle.dumps((arguments, str(tmp_path / "killed"), torch.get_num_threads())))
    ended = subprocess.run([sys.executable, "-c", _KILLED, str(given)], env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "adapter").exists()
    first: list[int] = []
    report = train(*arguments, seed=3, folder=tmp_path / "killed", progress=lambda p: first.append(p.step))
    assert first[0] == 6 or first[0] == 7, "the step whose checkpoint was cut off is done again, no other"
    assert _same(_adapter(whole), _adapter(report))
    assert whole.history == report.history


def test_a_finished_run_is_not_trained_again(llama_folder: Path, make_rows: Rows, tmp_path: Path) -> None:
    rows, steps = make_rows(8), list[int]()
    first = train(llama_folder, rows, [], _settings(), seed=0, folder=tmp_path)
    again = train(llama_folder, rows, [], _settings(), seed=0, folder=tmp_path, progress=lambda p: steps.append(p.step))
    assert steps == []
    assert again.history == first.history
    assert again.tokens_per_second == first.tokens_per_second


@pytest.mark.medium
@pytest.mark.parametrize("change", ["rows", "settings", "seed", "weights"])
def test_a_checkpoint_of_another_run_is_not_continued(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, change: str
) -> None:
    rows, settings, seed, base = make_rows(8), _settings(epochs=1), 0, llama_folder
    train(base, rows, [], settings, seed=seed, folder=tmp_path / "run")
    if change == "rows":
        rows = make_rows(8, seed=1)
    elif change == "settings":
        settings = _settings(epochs=1, learning_rate=1e-3)
    elif change == "seed":
        seed = 1
    else:
        model = decoder.load(base, torch.bfloat16, attention_name="eager")
        model.model.norm.weight.data += 0.5
        base = tmp_path / "base"
        model.save_pretrained(base)
    steps, said = list[int](), list[str]()
    train(
        base, rows, [], settings, seed=seed, folder=tmp_path / "run", progress=lambda p: steps.append(p.step),
        say=said.append,
    )  # fmt: skip
    assert steps == [1, 2]
    named = {
        "rows": "the training rows", "settings": r"finetune.learning_rate (it was 0.005, now 0.001)",
        "seed": "seed (it was 0, now 1)", "weights": "the base model",
    }  # fmt: skip
    assert f"is of another training, which differs in {named[change]}: training starts at step 1" in said[-1]


def _flip(path: Path) -> None:
    """Changes one bit of a checkpoint's tensors, which stay readable."""
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


@pytest.mark.medium
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_is_taken(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, settings = make_rows(8), _settings()
    whole = train(llama_folder, rows, [], settings, seed=0, folder=tmp_path / "whole")
    monkeypatch.setattr("ragft.finetune.fast.run.CHECKPOINT_SECONDS", 0.0)
    run, steps, said = tmp_path / "run", list[int](), list[str]()

    def cut(progress: TrainProgress) -> None:
        steps.append(progress.step)
        if len(steps) == 3:
            raise _PowerCut

    with pytest.raises(_PowerCut):
        train(llama_folder, rows, [], settings, seed=0, folder=run, progress=cut)
    _flip(run / "checkpoint.safetensors")
    report = train(llama_folder, rows, [], settings, seed=0, folder=run, progress=cut, say=said.append)
    assert steps == [1, 2, 3, 3, 4, 5, 6]
    assert any("checkpoint.safetensors is damaged" in line for line in said)
    assert _same(_adapter(whole), _adapter(report))
    for path in run.glob("checkpoint*"):
        path.write_bytes(b"half a checkpoint")
    steps.clear()
    train(llama_folder, rows, [], settings, seed=0, folder=run, progress=lambda p: steps.append(p.step))
    assert steps == [1, 2, 3, 4, 5, 6]


def test_another_token_budget_resumes_and_every_step_is_logged_once(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragft.finetune.fast.run.CHECKPOINT_SECONDS", 0.0)
    rows, seen, said = make_rows(8), list[TrainProgress](), list[str]()

    def cut(progress: TrainProgress) -> None:
        seen.append(progress)
        if len(seen) == 3:
            raise _PowerCut

    with pytest.raises(_PowerCut):
        train(llama_folder, rows, [], _settings(), seed=0, folder=tmp_path, progress=cut)
    train(llama_folder, rows, [], _settings(token_budget=256), seed=0, folder=tmp_path, progress=cut, say=said.append)
    assert [progress.step for progress in seen] == [1, 2, 3, 4, 5, 6]
    assert any("resumes after step 3" in line for line in said)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_gradient_checkpointing_changes_no_bit_whenever_it_begins(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr("ragft.finetune.fast.run.CHECKPOINT_SECONDS", 0.0)
    rows, validation = make_rows(8), make_rows(3, seed=1)

    def run(name: str, again: bool, progress: Callable[[TrainProgress], None] | None = None) -> TrainReport:
        settings = _settings(method=method, threads=2, gradient_checkpointing=again)
        return train(llama_folder, rows, validation, settings, seed=0, folder=tmp_path / name, progress=progress)

    def cut(progress: TrainProgress) -> None:
        if progress.step == 3:
            raise _PowerCut

    before = torch.get_num_threads()
    try:
        kept = run("kept", False)
        computed = run("computed again", True)
        with pytest.raises(_PowerCut):
            run("both", False, cut)
        both = run("both", True)
    finally:
        torch.set_num_threads(before)
    assert kept.history == computed.history == both.history
    assert _same(_adapter(kept), _adapter(computed)) and _same(_adapter(kept), _adapter(both))


def test_rows_that_are_left_out_are_told_with_their_reasons(
    llama_folder: Path, make_rows: Rows, tmp_path: Path
) -> None:
    long, mute = Rendered(tuple(range(3, 68)), (False,) * 60 + (True,) * 5), Rendered((5, 6, 7), (True, False, False))
    said: list[str] = []
    rows = [long, *make_rows(6), mute]
    train(llama_folder, rows, [long], _settings(epochs=1), seed=0, folder=tmp_path, say=said.append)
    long_ones = "1 longer than finetune.max_seq_length = 64 tokens"
    assert said[:2] == [
        f"2 of 8 training rows are left out: {long_ones} and 1 without an answer to train on.",
        f"1 of 1 validation rows are left out: {long_ones}.",
    ]
    assert "No validation rows are left" in said[2]


def test_a_base_with_values_that_are_not_finite_is_refused_before_training(
    llama_folder: Path, make_rows: Rows, tmp_path: Path
) -> None:
    model = decoder.load(llama_folder, torch.bfloat16, attention_name="eager")
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "base")
    with pytest.raises(RagftError, match=r"not finite, in model\.layers\.1\.mlp\.up_proj\.weight"):
        train(tmp_path / "base", make_rows(8), [], _settings(), seed=0, folder=tmp_path / "run")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried")])
def test_memory_that_runs_out_says_what_to_lower(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(model: torch.nn.Module, batch: MicroBatch) -> torch.Tensor:
        raise error

    monkeypatch.setattr(decoder, "summed_loss", full)
    advice = r"set finetune\.gradient_checkpointing to true or lower finetune\.token_budget \(it is 128\)"
    with pytest.raises(RagftError, match=f"Step 1 of 6 ran out of memory: {advice}"):
        train(llama_folder, make_rows(8), [], _settings(), seed=0, folder=tmp_path)


@pytest.mark.medium
def test_training_stops_early_and_keeps_the_best_adapter(llama_folder: Path, make_rows: Rows, tmp_path: Path) -> None:
    # Few rows, many epochs, a high rate: what is learnt by heart makes unseen rows worse.
    rows, validation = make_rows(4), make_rows(6, seed=9)
    settings = _settings(epochs=60, learning_rate=2e-2, eval_count=12, patience=2, lr_scheduler="constant")
    report = train(llama_folder, rows, validation, settings, seed=0, folder=tmp_path)
    assert report.stopped_early
    losses = {entry.step: entry.validation_loss for entry in report.history}
    assert report.best_loss == losses[report.best_step] == min(loss for loss in losses.values() if loss is not None)
    assert report.history[-3].step == report.best_step, "two worse ones, then it stopped"
    assert report.steps < 60


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = decoder.summed_loss, list[int]()

    def broken(model: torch.nn.Module, batch: MicroBatch) -> torch.Tensor:
        calls.append(1)
        return real(model, batch) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(decoder, "summed_loss", broken)
    with pytest.raises(RagftError, match=r"diverged at step 3 of 6.*lower finetune\.learning_rate \(it is 0\.005\)"):
        train(llama_folder, make_rows(8), [], _settings(), seed=0, folder=tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_a_validation_loss_that_is_not_finite_ends_the_run_with_advice(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = decoder.summed_loss

    def broken(model: torch.nn.Module, batch: MicroBatch) -> torch.Tensor:
        return real(model, batch) * (1.0 if torch.is_grad_enabled() else float("inf"))

    monkeypatch.setattr(decoder, "summed_loss", broken)
    with pytest.raises(RagftError, match=r"validation loss is not finite after step 2 of 6, in 1 of 1"):
        train(llama_folder, make_rows(8), make_rows(2, seed=1), _settings(), seed=0, folder=tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_the_rate_rises_over_the_warm_up_and_falls_as_scheduled() -> None:
    rates = {
        schedule: [
            learning_rate(_settings(lr_scheduler=schedule, warmup_ratio=0.2, learning_rate=1.0), s, 10)
            for s in range(10)
        ]
        for schedule in ("linear", "cosine", "constant")
    }
    for values in rates.values():
        assert values[:3] == [0.5, 1.0, 1.0]
    assert rates["linear"][3:] == pytest.approx([1 - k / 8 for k in range(1, 8)])
    assert rates["cosine"][6] == pytest.approx(0.5)
    assert set(rates["constant"][1:]) == {1.0}


def test_the_adapter_is_kept_that_the_metric_asked_for_prefers(
    llama_folder: Path, make_rows: Rows, tmp_path: Path
) -> None:
    scores = iter([0.5, 1.0, 1.0, 0.25])
    seen, kept = list[TrainProgress](), list[torch.Tensor]()

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        kept.append(model.get_parameter("model.layers.0.self_attn.q_proj.B").detach().clone())
        return {"form": next(scores)}

    report = train(
        llama_folder, make_rows(16), make_rows(4, seed=1), _settings(select="form", epochs=4), seed=0, folder=tmp_path,
        progress=seen.append, evaluate=evaluate,
    )  # fmt: skip
    first, second = (entry for entry in report.history if entry.metrics["form"] == 1.0)
    assert report.best_step == min(first, second, key=lambda entry: entry.loss).step, "the loss decides between equals"
    assert report.best_metrics == {"form": 1.0}
    assert [progress.metrics for progress in seen if progress.metrics] == [entry.metrics for entry in report.history]
    (saved,) = (value for name, value in _adapter(report).items() if "layers.0.self_attn.q_proj.lora_B" in name)
    assert torch.equal(saved, kept[[entry.step for entry in report.history].index(report.best_step)])


def test_patience_counts_validations_without_a_better_metric(
    llama_folder: Path, make_rows: Rows, tmp_path: Path
) -> None:
    settings = _settings(select="exact_match", epochs=8, eval_count=8, patience=2)
    scores = iter([0.1, 0.5, 0.4, 0.3])
    report = train(
        llama_folder, make_rows(16), make_rows(4, seed=1), settings, seed=0, folder=tmp_path,
        evaluate=lambda model: {"exact_match": next(scores)},
    )  # fmt: skip
    assert report.stopped_early
    assert (report.best_step, report.steps) == (8, 16)


def test_metrics_survive_an_interruption(llama_folder: Path, make_rows: Rows, tmp_path: Path) -> None:
    settings, asked = _settings(select="form", epochs=4), list[int]()

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        asked.append(1)
        return {"form": 1 / len(asked)}

    def cut(progress: TrainProgress) -> None:
        if len(asked) == 2:
            raise _PowerCut

    data = (llama_folder, make_rows(16), make_rows(4, seed=1), settings)
    with pytest.raises(_PowerCut):
        train(*data, seed=0, folder=tmp_path, progress=cut, evaluate=evaluate)
    report = train(*data, seed=0, folder=tmp_path, evaluate=evaluate)
    assert [entry.metrics["form"] for entry in report.history] == [1, 1 / 2, 1 / 3, 1 / 4]
    assert report.best_step == report.history[0].step


def test_a_metric_without_validation_rows_is_refused(llama_folder: Path, make_rows: Rows, tmp_path: Path) -> None:
    with pytest.raises(RagftError, match=r"finetune\.select = form needs validation rows"):
        train(llama_folder, make_rows(4), [], _settings(select="form"), seed=0, folder=tmp_path, evaluate=lambda m: {})


def test_learning_rate_and_gradient_norm_of_each_step_are_told(
    llama_folder: Path, make_rows: Rows, tmp_path: Path
) -> None:
    seen, settings = list[TrainProgress](), _settings(epochs=1, max_grad_norm=1e-3)
    train(llama_folder, make_rows(12), [], settings, seed=0, folder=tmp_path, progress=seen.append)
    assert [progress.learning_rate for progress in seen] == [learning_rate(settings, step, 3) for step in range(3)]
    assert all(progress.gradient_norm > 1e-3 for progress in seen), "before clipping"
