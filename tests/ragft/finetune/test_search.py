"""The search itself, over trainings that are made up: what is tried, what ends early, and what is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragft.config import FinetuneSection
from ragft.config.tune import Range, Space, TuneSection
from ragft.errors import RagftError
from ragft.finetune.report import TrainProgress
from ragft.finetune.search import Search, Values, values_block, whole_space

pytest.importorskip("optuna")

RATES: Space = {"learning_rate": Range(low=1e-5, high=1e-1)}


class Kept:
    def __init__(self, loss: float, **metrics: float) -> None:
        self.best_loss, self.best_metrics = loss, metrics


def loss_of(values: Values) -> float:
    """Lowest at a rate of 1e-3."""
    return 1 + abs(math.log10(float(values.get("learning_rate", 1e-3))) + 3)


def trained(values: Values, progress: Callable[[TrainProgress], None]) -> Kept:
    for step in range(1, 5):
        loss = loss_of(values) + 1 / step
        progress(TrainProgress(step, 4, loss, loss, 1.0, 1.0, 1.0))
    return Kept(loss_of(values) + 0.25)


def search(folder: Path, space: Space = RATES, seed: int = 0, **settings: Any) -> Search:
    values = {"learning_rate": 1e-2, "eval_count": 4, **settings}
    return Search(folder / "journal", space, FinetuneSection.model_validate(values), seed=seed)


def test_what_is_configured_comes_first_and_better_values_are_found(tmp_path: Path) -> None:
    found = search(tmp_path)
    assert found.run(trained, seconds=60, most=25) == "trials"
    assert found.trials[0].values == {"learning_rate": 1e-2}
    assert found.best is not None and found.best.loss is not None and found.best.loss < 1.6 < found.trials[0].loss
    assert {trial.ended for trial in found.trials} == {"finished", "pruned"}


def test_a_trial_that_ends_early_is_worse_than_half_of_those_that_finished(tmp_path: Path) -> None:
    found = search(tmp_path)
    found.run(trained, seconds=60, most=25)
    finished = sorted(loss_of(trial.values) for trial in found.trials if trial.ended == "finished")
    pruned = [loss_of(trial.values) for trial in found.trials if trial.ended == "pruned"]
    assert min(pruned) > finished[0]


def test_the_seed_decides_what_is_tried(tmp_path: Path) -> None:
    tried = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        found = search(tmp_path / name, seed=seed)
        found.run(trained, seconds=60, most=8)
        tried.append([trial.values for trial in found.trials])
    assert tried[0] == tried[1] != tried[2]


@pytest.mark.medium
@pytest.mark.parametrize("cut_at", [2, 9, 30])
def test_a_search_that_was_killed_tries_what_an_undisturbed_one_does(tmp_path: Path, cut_at: int) -> None:
    (tmp_path / "whole").mkdir()
    whole = search(tmp_path / "whole")
    whole.run(trained, seconds=60, most=12)
    steps = 0

    def cut(values: Values, progress: Callable[[TrainProgress], None]) -> Kept:
        def counted(state: TrainProgress) -> None:
            nonlocal steps
            steps += 1
            if steps == cut_at:
                raise KeyboardInterrupt
            progress(state)

        return trained(values, counted)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path).run(cut, seconds=60, most=12)
    resumed = search(tmp_path)
    resumed.run(trained, seconds=60, most=12)
    assert [(trial.values, trial.ended) for trial in resumed.trials] == [
        (trial.values, trial.ended) for trial in whole.trials
    ]


def test_values_that_cannot_be_trained_are_told_and_the_search_goes_on(tmp_path: Path) -> None:
    def breaks(values: Values, progress: Callable[[TrainProgress], None]) -> Kept:
        if float(values["learning_rate"]) > 2e-2:
            raise RagftError("Training diverged.")
        return trained(values, progress)

    found = search(tmp_path)
    found.run(breaks, seconds=60, most=15)
    failed = [trial for trial in found.trials if trial.ended == "failed"]
    assert failed and {trial.reason for trial in failed} == {"Training diverged."}
    assert found.best is not None and found.best.ended == "finished"


def test_what_is_configured_and_cannot_be_trained_ends_the_search(tmp_path: Path) -> None:
    def breaks(values: Values, progress: object) -> Kept:
        raise RagftError("no usable row")

    found = search(tmp_path)
    with pytest.raises(RagftError, match="no usable row"):
        found.run(breaks, seconds=60, most=3)
    again = search(tmp_path)
    again.run(trained, seconds=60, most=1)
    assert again.trials[0].values == {"learning_rate": 1e-2}, "it is still the first"


def test_a_space_is_searched_once(tmp_path: Path) -> None:
    found = search(tmp_path, {"rank": (4, 8, 16)}, rank=8)
    assert found.run(trained, seconds=60, most=None) == "space"
    assert sorted(trial.values["rank"] for trial in found.trials) == [4, 8, 16]


def test_a_metric_selects_and_the_loss_decides_between_equals(tmp_path: Path) -> None:
    def answered(values: Values, progress: Callable[[TrainProgress], None]) -> Kept:
        rank = int(values["rank"])
        form = 0.5 if rank == 4 else 1.0
        progress(TrainProgress(4, 4, 1.0, 9.0 / rank, 1.0, 1.0, 1.0, {"form": form}))
        return Kept(9.0 / rank, form=form)

    found = search(tmp_path, {"rank": (4, 8, 16)}, rank=4, select="form")
    found.run(answered, seconds=60, most=None)
    assert found.best is not None and found.best.values == {"rank": 16}


def test_the_default_space_holds_what_is_configured_and_what_the_method_uses() -> None:
    lora = whole_space(FinetuneSection(method="lora", rank=12, epochs=3.0), {})
    assert lora == {
        "learning_rate": Range(low=1e-4, high=4e-3), "epochs": (1.5, 3.0, 6.0), "rank": (8, 16, 32, 64, 12)
    }  # fmt: skip
    assert set(whole_space(FinetuneSection(method="full"), {})) == {"learning_rate", "epochs"}


def test_a_declared_space_is_widened_to_what_is_configured() -> None:
    space = TuneSection.model_validate({"space": {"learning_rate": {"low": "1e-4", "high": 2e-4}, "rank": ["8"]}}).space
    assert whole_space(FinetuneSection(learning_rate=1e-3), space) == {
        "learning_rate": Range(low=1e-4, high=1e-3), "rank": (8, 16)
    }  # fmt: skip


def test_values_are_printed_as_a_configuration_reads_them() -> None:
    import yaml

    values = {"learning_rate": 1e-05, "rank": 8}
    read = yaml.safe_load(values_block(values))["finetune"]
    assert FinetuneSection.model_validate(read).learning_rate == 1e-05
