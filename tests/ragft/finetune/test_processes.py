"""Training in several processes: real ones over gloo, on a tiny model, against one process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ragft.config import FinetuneSection
from ragft.finetune.processes import Processes
from ragft.finetune.training import train
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]

_PROGRAM = """
import pickle, sys, torch
from pathlib import Path
from ragft.errors import RagftError
from ragft.finetune.processes import end, follow, processes
from ragft.finetune.training import train

torch.set_num_threads(1)
given, group = pickle.loads(Path(sys.argv[1]).read_bytes()), processes()
runs = []
if given["keep"]:
    from ragft.finetune.fast.run import Run
    close = Run.close
    Run.close = lambda run: (runs.append(run), close(run))
if not group.leads:
    follow()
else:
    class Enough(Exception): ...

    def progress(state):
        given["seen"].append(state)
        if state.step == given["stop"]:
            raise Enough

    try:
        given["report"] = train(*given["arguments"], folder=given["folder"], seed=0, progress=progress)
    except Enough:
        pass
    except RagftError as refused:
        given["error"] = str(refused)
    end()
values = {name: value.detach() for run in runs for name, value in run.parameters.items()}
Path(sys.argv[1]).with_suffix(f".{group.rank}").write_bytes(pickle.dumps((given, values)))
"""


def _settings(**changes: object) -> FinetuneSection:
    values = {
        "method": "lora", "rank": 4, "epochs": 2, "batch_size": 5, "learning_rate": 5e-3, "token_budget": 128,
        "max_seq_length": 64, "eval_count": 2, "patience": 9, "device": "cpu",
    }  # fmt: skip
    return FinetuneSection.model_validate({**values, **changes})


def _together(folder: Path, *arguments: Any, count: int = 2, stop: int = -1, into: Path | None = None) -> list[Any]:
    """What each process of a launched training has at its end: what it was given and found, and its parameters."""
    folder.mkdir(exist_ok=True)
    given = folder / "given"
    into = into or folder / "run"
    given.write_bytes(pickle.dumps({"arguments": arguments, "folder": into, "stop": stop, "keep": True, "seen": []}))
    program = folder / "program.py"
    program.write_text(_PROGRAM)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    done = subprocess.run(
        [*launcher, str(program), str(given)], capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [pickle.loads(given.with_suffix(f".{rank}").read_bytes()) for rank in range(count)]  # noqa: S301


def _adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def _close(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], off: float = 2e-4) -> bool:
    return one.keys() == two.keys() and all(torch.allclose(one[key], two[key], atol=off) for key in one)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_two_processes_train_what_one_does_and_stay_identical(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("RAGFT_BFLOAT16", "emulated")
    changes = {"learning_rate": 1e-4} if method == "full" else {}
    arguments = (llama_folder, make_rows(16), make_rows(4, seed=1), _settings(method=method, **changes))
    alone = train(*arguments, seed=0, folder=tmp_path / "alone")
    (given, leader), (_, follower) = _together(tmp_path / "two", *arguments)
    assert leader.keys() == follower.keys()
    assert all(torch.equal(leader[name], follower[name]) for name in leader)
    report = given["report"]
    assert [entry.step for entry in report.history] == [entry.step for entry in alone.history]
    for one, two in zip(alone.history, report.history, strict=True):
        assert two.train_loss == pytest.approx(one.train_loss, rel=1e-4)
        assert two.validation_loss == pytest.approx(one.validation_loss, rel=1e-4)
    assert (report.tokens, report.trained_tokens) == (alone.tokens, alone.trained_tokens)
    assert _close(_adapter(tmp_path / "two" / "run"), _adapter(tmp_path / "alone"))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "adamw-8bit"])
def test_a_training_goes_on_with_another_number_of_processes(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    monkeypatch.setenv("RAGFT_BFLOAT16", "emulated")
    # At this rank some moments are in 8 bits, which two sums that differ in their last bits may round to neighbours.
    changes = {"rank": 64} if optimizer == "adamw-8bit" else {}
    arguments = (llama_folder, make_rows(16), make_rows(4, seed=1), _settings(optimizer=optimizer, **changes))
    train(*arguments, seed=0, folder=tmp_path / "alone")

    class Enough(Exception):
        pass

    def stop(state: Any) -> None:
        if state.step == 5:
            raise Enough

    with pytest.raises(Enough):
        train(*arguments, seed=0, folder=tmp_path / "shared", progress=stop)
    (given, leader), (_, follower) = _together(tmp_path / "two", *arguments, into=tmp_path / "shared")
    assert given["seen"][0].step == 5  # one after the validation's checkpoint
    assert all(torch.equal(leader[name], follower[name]) for name in leader)
    off = 2e-4 if optimizer == "adamw" else 2e-3
    assert _close(_adapter(tmp_path / "shared"), _adapter(tmp_path / "alone"), off)


@pytest.mark.slow
def test_a_training_of_two_processes_stops_between_steps_and_goes_on_in_one(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGFT_BFLOAT16", "emulated")
    arguments = (llama_folder, make_rows(16), make_rows(4, seed=1), _settings())
    train(*arguments, seed=0, folder=tmp_path / "alone")
    _together(tmp_path / "two", *arguments, stop=5, into=tmp_path / "shared")
    train(*arguments, seed=0, folder=tmp_path / "shared")
    assert _close(_adapter(tmp_path / "shared"), _adapter(tmp_path / "alone"))


@pytest.mark.slow
def test_what_no_process_can_begin_is_refused_by_the_first(llama_folder: Path, make_rows: Rows, tmp_path: Path) -> None:
    arguments = (llama_folder, make_rows(8), [], _settings(method="pissa"))
    (given, _), _ = _together(tmp_path / "two", *arguments)
    assert "is trained by one process" in given["error"]


def test_one_process_needs_no_others() -> None:
    alone, tensor = Processes(), torch.ones(3)
    alone.sum([tensor])
    alone.copy([tensor])
    assert alone.leads
    assert torch.equal(tensor, torch.ones(3))
    assert (alone.tell("word"), alone.all_of("word")) == ("word", ["word"])
