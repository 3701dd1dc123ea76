"""Every optimiser of the table trains on a processor and resumes to the same bits, or is refused before that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.training import settings_maker

from ragft.errors import RagftError
from ragft.finetune import devices, optimizers
from ragft.finetune.estimate import ModelSizes, memory
from ragft.finetune.fast import trainer as fast
from ragft.finetune.fast.run import Run
from ragft.finetune.optimizers import check_possible, optimizer_of, put_back, state_of
from ragft.finetune.peft_backend import trainer as peft
from ragft.finetune.report import TrainProgress
from ragft.messages import Rendered

Rows = Callable[..., list[Rendered]]

# Some adapters have more than 4096 elements, below which bitsandbytes keeps 32 bits, and some have fewer.
settings = settings_maker(
    method="lora", rank=64, epochs=3, learning_rate=2e-3, max_seq_length=64, eval_count=3, device="cpu"
)


class _PowerCut(Exception):
    pass


@pytest.fixture
def optimizers_made(monkeypatch: pytest.MonkeyPatch) -> list[torch.optim.Optimizer]:
    """The optimisers of all runs that a test begins."""
    made: list[torch.optim.Optimizer] = []
    resume = Run._resume

    def noted(run: Run) -> None:
        resume(run)
        made.append(run.optimizer)

    monkeypatch.setattr(Run, "_resume", noted)
    return made


@pytest.mark.medium
@pytest.mark.parametrize("back_end", [fast, peft])
def test_eight_bits_learn_as_well_and_resume_to_the_same_bits(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back_end: object,
    optimizers_made: list[torch.optim.Optimizer],
) -> None:  # fmt: skip
    data = (llama_folder, make_rows(12), make_rows(4, seed=1))
    plain, whole = (
        back_end.train(*data, settings(optimizer=name), seed=3, folder=tmp_path / name)
        for name in ("adamw", "adamw-8bit")
    )
    kinds = {value["state1"].dtype for value in optimizers_made[1].state.values()}
    assert kinds == {torch.uint8, torch.float32}
    assert whole.history != plain.history
    assert whole.best_loss == pytest.approx(plain.best_loss, rel=0.05)
    assert whole.history[-1].train_loss < whole.history[0].train_loss
    monkeypatch.setattr("ragft.finetune.fast.run.CHECKPOINT_SECONDS", 0.0)

    def cut(state: TrainProgress) -> None:
        if state.step in (2, 5):
            raise _PowerCut

    eight, cut_folder = settings(optimizer="adamw-8bit"), tmp_path / "cut"
    for _ in range(2):
        with pytest.raises(_PowerCut):
            back_end.train(*data, eight, seed=3, folder=cut_folder, progress=cut)
    steps: list[int] = []
    resumed = back_end.train(*data, eight, seed=3, folder=cut_folder, progress=lambda state: steps.append(state.step))
    assert steps == [6, 7, 8, 9]
    assert resumed.history == whole.history
    one, other = (load_file(report.adapter / "adapter_model.safetensors") for report in (whole, resumed))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_checkpoint_of_another_optimiser_is_not_continued(
    llama_folder: Path, make_rows: Rows, tmp_path: Path
) -> None:
    rows, said = make_rows(8), list[str]()
    fast.train(llama_folder, rows, [], settings(), seed=0, folder=tmp_path)
    fast.train(llama_folder, rows, [], settings(optimizer="adamw-8bit"), seed=0, folder=tmp_path, say=said.append)
    assert any("finetune.optimizer (it was adamw, now adamw-8bit): training starts at step 1" in line for line in said)


def test_paging_without_a_card_is_refused_before_the_base_is_loaded(make_rows: Rows, tmp_path: Path) -> None:
    with pytest.raises(RagftError, match=r"paged-adamw-8bit, which is not possible on cpu.*set it to adamw-8bit"):
        fast.train(
            tmp_path / "no base", make_rows(4), [], settings(optimizer="paged-adamw-8bit"), seed=0, folder=tmp_path
        )


def test_what_a_library_cannot_do_or_does_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes

    eight = settings(optimizer="adamw-8bit")
    check_possible(eight, devices.CPU)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel image is available")

    with monkeypatch.context() as patch:
        patch.setattr(bitsandbytes.optim.AdamW8bit, "step", broken)
        with pytest.raises(RagftError, match=r"fails there \(RuntimeError: no kernel image is available\); set it to"):
            check_possible(eight, devices.CPU)
    with monkeypatch.context() as patch:
        patch.setattr(bitsandbytes.optim, "AdamW8bit", bitsandbytes.optim.AdamW32bit)
        with pytest.raises(RagftError, match="keeps its moments in float32"):
            check_possible(eight, devices.CPU)
    with monkeypatch.context() as patch:
        patch.setattr(optimizers, "_TOLERANCE", 0.0)
        with pytest.raises(RagftError, match="its steps are not those of AdamW"):
            check_possible(eight, devices.CPU)


def test_steps_in_eight_bits_are_near_those_of_adamw() -> None:
    """The figure that `_TOLERANCE` is many times of."""
    ends = []
    for name in ("adamw", "adamw-8bit"):
        torch.manual_seed(0)
        parameter = torch.nn.Parameter(torch.zeros(2**17))
        optimizer = optimizer_of(settings(optimizer=name, learning_rate=1.0), [{"params": [parameter]}], devices.CPU)
        for _ in range(2):
            parameter.grad = torch.randn(2**17)
            optimizer.step()
        ends.append(parameter.detach())
    assert 0 < (ends[1] - ends[0]).abs().mean() < optimizers._TOLERANCE / 5


@pytest.mark.parametrize("name", ["adamw", "adamw-8bit"])
@pytest.mark.parametrize("elements", [64, 8192])
def test_a_state_that_was_put_back_goes_on_with_the_same_bits(name: str, elements: int) -> None:
    ends = []
    for interrupted in (False, True):
        torch.manual_seed(1)
        parameter = torch.nn.Parameter(torch.randn(elements))
        optimizer = optimizer_of(settings(optimizer=name), [{"params": [parameter]}], devices.CPU)
        for step in range(4):
            if interrupted and step == 2:
                kept = {key: value.clone() for key, value in state_of(optimizer, parameter).items()}
                optimizer = optimizer_of(settings(optimizer=name), [{"params": [parameter]}], devices.CPU)
                put_back(optimizer, parameter, kept, devices.CPU)
            parameter.grad = torch.randn(elements)
            optimizer.step()
        ends.append(parameter.detach())
    assert torch.equal(*ends)


def test_the_estimate_counts_moments_of_eight_bits() -> None:
    sizes = ModelSizes(2, 64, 128, 2, 32, 256, linear=60_000, others=20_000, sides=3_000)
    rows = [Rendered(tuple(range(40)), (False,) * 36 + (True,) * 4)] * 4
    card = torch.device("cuda", 0)

    def mib(method: str, optimizer: str, device: torch.device) -> float:
        return memory(sizes, rows, settings(method=method, optimizer=optimizer, rank=16, threads=1), device).adapters

    for device in (devices.CPU, card):
        saved = mib("lora", "adamw", device) - mib("lora", "adamw-8bit", device)
        assert saved == pytest.approx(16 * 3_000 * (8 - 2) / 2**20, rel=0.03)
    assert mib("full", "adamw-8bit", devices.CPU) < 0.7 * mib("full", "adamw", devices.CPU)
    assert mib("lora", "paged-adamw-8bit", card) < mib("lora", "adamw-8bit", card)
