"""The page of a search: every trial, harmless and open to all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.browsers import barriers_in_file

from ragft.config import FinetuneSection
from ragft.finetune.search import Trial
from ragft.finetune.tuning_page import render_tuning

ATTACK = "<script>alert('x')</script>"
TRIALS = [
    Trial(0, {"epochs": 1.0, "learning_rate": 1e-3}, "finished", 0.52, 60.0),
    Trial(1, {"epochs": 2.0, "learning_rate": 1e-4}, "pruned", 0.9, 20.0),
    Trial(2, {"epochs": 2.0, "learning_rate": 2e-3}, "finished", 0.41, 118.0),
    Trial(3, {"epochs": 2.0, "learning_rate": 9e-1}, "failed", None, 3.0, reason=f"It diverged.{ATTACK}"),
]


def page() -> str:
    return render_tuning(
        TRIALS, TRIALS[2], name=f"desk{ATTACK}", base="tiny", settings=FinetuneSection(), ended="The budget is spent."
    )


def test_every_trial_is_shown_and_nothing_from_data_runs() -> None:
    shown = page()
    assert all(text in shown for text in ("0.5200", "0.9000", "0.4100", "It diverged.", "The budget is spent."))
    assert "<script" not in shown


@pytest.mark.slow
def test_nothing_on_the_page_shuts_anyone_out(browser: Any, tmp_path: Path) -> None:
    assert barriers_in_file(browser, tmp_path, page()) == []
