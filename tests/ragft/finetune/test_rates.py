"""The learning-rate finder: the curve is of real steps, and the suggestion follows from its shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from ragft.config import FinetuneSection
from ragft.finetune.rates import Curve, drawn, suggestion, sweep
from ragft.prompts import Rendered


def curve(losses: list[float], *, diverged: bool = True) -> Curve:
    rates = tuple(1e-6 * 10 ** (at / 4) for at in range(len(losses)))
    return Curve(rates, tuple(losses), tuple(losses), diverged)


def test_the_rate_of_the_steepest_fall_is_suggested_below_that_of_the_lowest_loss() -> None:
    found = suggestion(curve([3, 3, 2.9, 2.3, 2.2, 2.15, 2.1, 2.05, 2.0, 2.6]))
    assert found.rate == pytest.approx(1e-6 * 10 ** (3 / 4), rel=0.05)
    assert "falls most steeply at 5.6e-06" in found.reason and "behind which it rises" in found.reason


def test_a_fall_at_the_edge_of_what_is_stable_is_kept_away_from() -> None:
    shown = curve([3, 3, 3, 3, 2.0, 2.6])
    found = suggestion(shown)
    assert found.rate == pytest.approx(shown.rates[4] / 3, rel=0.05) and "3 times below" in found.reason


def test_a_loss_that_never_falls_suggests_nothing_and_says_so() -> None:
    found = suggestion(curve([2.0, 2.01, 1.99, 2.0], diverged=False))
    assert found.rate is None and "never fell by 2%" in found.reason


def test_a_curve_is_drawn_from_the_lowest_rate_to_the_highest() -> None:
    lines = drawn(curve([3.0, 1.5, math.nan])).splitlines()
    assert lines[1].split()[:2] == ["1.0e-06", "3.000"]
    assert lines[1].count("#") == 2 * lines[2].count("#") and "not finite" in lines[3]


@pytest.mark.medium
@pytest.mark.parametrize("settings", [{"method": "lora"}, {"method": "full"}, {"method": "lora", "dropout": 0.1}])
def test_a_sweep_begins_where_a_training_does_and_its_rates_rise(
    llama_folder: Path, make_rows: Callable[..., list[Rendered]], tmp_path: Path, settings: dict[str, object]
) -> None:
    configured = FinetuneSection.model_validate({"rank": 4, "max_seq_length": 64, "batch_size": 4, **settings})
    rows = make_rows(16)
    found = sweep(llama_folder, rows, configured, seed=0, folder=tmp_path / "sweep", steps=20)
    assert list(found.rates) == sorted(found.rates)
    assert found.rates[0] == pytest.approx(configured.learning_rate / 1000)
    again = configured.model_copy(update={"learning_rate": 123.0})
    other = sweep(llama_folder, rows, again, seed=0, folder=tmp_path / "other", steps=20)
    assert other.losses == found.losses, "the configured rate has no part in it"
    assert found.losses[0] == pytest.approx(math.log(256), rel=0.2), "the untrained model's"


@pytest.mark.medium
def test_a_rate_that_is_suggested_learns_more_than_the_lowest(
    llama_folder: Path, make_rows: Callable[..., list[Rendered]], tmp_path: Path
) -> None:
    settings = FinetuneSection(method="lora", rank=4, max_seq_length=64, batch_size=4)
    found = sweep(llama_folder, make_rows(64), settings, seed=0, folder=tmp_path)
    told = suggestion(found)
    assert told.rate is not None and 1e-4 < told.rate < 1e-1, told.reason
