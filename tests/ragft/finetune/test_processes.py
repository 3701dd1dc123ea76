"""Training in several processes: real ones over gloo, on a tiny model, against one process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
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
from ragft.finetune.fast.run import Run
from ragft.finetune.processes import end, follow, processes
from ragft.finetune.training import train

class Enough(Exception): ...

def ended(arguments, folder, stop):
    seen, report, error = [], None, None

    def progress(state):
        seen.append(state)
        if state.step == stop:
            raise Enough

    try:
        report = train(*arguments, folder=folder, seed=0, progress=progress)
    except Enough:
        pass
    except RagftError as refused:
        error = str(refused)
    return seen, report, error

torch.set_num_threads(1)
runs, close = [], Run.close
Run.close = lambda run: (runs.append(run), close(run))
given, group, found = Path(sys.argv[1]), processes(), []
if group.leads:
    found = [ended(*training) for training in pickle.loads(given.read_bytes())]
    end()
else:
    follow()
parameters = [{name: value.detach() for name, value in run.parameters.items()} for run in runs]
given.with_suffix(f".{group.rank}").write_bytes(pickle.dumps((found, parameters)))
"""


def _settings(**changes: object) -> FinetuneSection:
    values = {
        "method": "lora", "rank": 4, "epochs": 2, "batch_size": 5, "learning_rate": 5e-3, "token_budget": 128,
        "max_seq_length": 64, "eval_count": 2, "patience": 9, "device": "cpu",
    }  # fmt: skip
    return FinetuneSection.model_validate({**values, **changes})


@dataclass(frozen=True)
class _Training:
    """A training and what it left: what its leader saw and found, and the parameters of each process at its end."""

    arguments: tuple[Any, ...]
    folder: Path
    stop: int = -1
    seen: list[Any] = field(default_factory=list)
    report: Any = None
    error: str | None = None
    parameters: tuple[dict[str, torch.Tensor], ...] = ()

    @property
    def identical(self) -> bool:
        leader, follower = self.parameters
        return leader.keys() == follower.keys() and all(torch.equal(leader[name], follower[name]) for name in leader)


def _together(folder: Path, trainings: dict[str, _Training]) -> dict[str, _Training]:
    """These trainings, one after another in the two processes of one launch: it takes far longer than they do."""
    given, program = folder / "given", folder / "program.py"
    given.write_bytes(pickle.dumps([(one.arguments, one.folder, one.stop) for one in trainings.values()]))
    program.write_text(_PROGRAM)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launcher, str(program), str(given)], capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (found, leader), (_, follower) = (pickle.loads(given.with_suffix(f".{rank}").read_bytes()) for rank in (0, 1))  # noqa: S301
    ends = [*zip(leader, follower, strict=True), ()]  # nothing is left of the last training, which is refused
    return {
        name: replace(training, seen=seen, report=report, error=error, parameters=parameters)
        for (name, training), (seen, report, error), parameters in zip(trainings.items(), found, ends, strict=True)
    }


def _adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def _close(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], off: float = 2e-4) -> bool:
    return one.keys() == two.keys() and all(torch.allclose(one[key], two[key], atol=off) for key in one)


_CHANGES: dict[str, dict[str, Any]] = {
    "lora": {},
    "qlora": {},
    "full": {"learning_rate": 1e-4},
    "adamw": {},
    # At this rank some moments are in 8 bits, which two sums that differ in their last bits may round to neighbours.
    "adamw-8bit": {"rank": 64},
}
"""Settings by the method or the optimizer that they go with."""


@pytest.fixture(scope="module", autouse=True)
def _emulated() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGFT_BFLOAT16", "emulated")
        yield


@pytest.fixture(scope="module")
def together(llama_folder: Path, make_rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> dict[str, _Training]:
    """The trainings of two processes by name; one process took the first five steps of those named by an optimizer."""

    def make(stop: int = -1, **changes: object) -> _Training:
        arguments = (llama_folder, make_rows(16), make_rows(4, seed=1), _settings(**changes))
        return _Training(arguments, tmp_path_factory.mktemp("run"), stop)

    class Enough(Exception):
        pass

    def stop(state: Any) -> None:
        if state.step == 5:
            raise Enough

    trainings = {name: make(method=name, **_CHANGES[name]) for name in ("lora", "qlora", "full")}
    for name in ("adamw", "adamw-8bit"):
        trainings[name] = begun = make(optimizer=name, **_CHANGES[name])
        with pytest.raises(Enough):
            train(*begun.arguments, seed=0, folder=begun.folder, progress=stop)
    trainings |= {"stopped": make(stop=5), "refused": make(method="pissa")}
    return _together(tmp_path_factory.mktemp("two"), trainings)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_two_processes_train_what_one_does_and_stay_identical(
    together: dict[str, _Training], tmp_path: Path, method: str
) -> None:
    two = together[method]
    alone = train(*two.arguments, seed=0, folder=tmp_path)
    assert two.identical
    assert [entry.step for entry in two.report.history] == [entry.step for entry in alone.history]
    for one, both in zip(alone.history, two.report.history, strict=True):
        assert both.train_loss == pytest.approx(one.train_loss, rel=1e-4)
        assert both.validation_loss == pytest.approx(one.validation_loss, rel=1e-4)
    assert (two.report.tokens, two.report.trained_tokens) == (alone.tokens, alone.trained_tokens)
    assert _close(_adapter(two.folder), _adapter(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "adamw-8bit"])
def test_a_training_goes_on_with_another_number_of_processes(
    together: dict[str, _Training], tmp_path: Path, optimizer: str
) -> None:
    two = together[optimizer]
    train(*two.arguments, seed=0, folder=tmp_path)
    assert two.seen[0].step == 5  # one after the validation's checkpoint
    assert two.identical
    assert _close(_adapter(two.folder), _adapter(tmp_path), 2e-4 if optimizer == "adamw" else 2e-3)


@pytest.mark.slow
def test_a_training_of_two_processes_stops_between_steps_and_goes_on_in_one(
    together: dict[str, _Training], tmp_path: Path
) -> None:
    stopped = together["stopped"]
    assert stopped.report is None
    train(*stopped.arguments, seed=0, folder=tmp_path)
    train(*stopped.arguments, seed=0, folder=stopped.folder)
    assert _close(_adapter(stopped.folder), _adapter(tmp_path))


@pytest.mark.slow
def test_what_no_process_can_begin_is_refused_by_the_first(together: dict[str, _Training]) -> None:
    assert "is trained by one process" in str(together["refused"].error)


def test_one_process_needs_no_others() -> None:
    alone, tensor = Processes(), torch.ones(3)
    alone.sum([tensor])
    alone.copy([tensor])
    assert alone.leads
    assert torch.equal(tensor, torch.ones(3))
    assert (alone.tell("word"), alone.all_of("word")) == ("word", ["word"])
