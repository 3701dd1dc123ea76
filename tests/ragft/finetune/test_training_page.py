"""The training page: whole, self-contained, and harmless whatever stands in the data."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.browsers import barriers_in_file

from ragft.config import FinetuneSection
from ragft.finetune.asking import SampleAnswer
from ragft.finetune.training_page import MOST_POINTS, _axis, _smoothed, _thinned, render_training
from ragft.finetune.watch import Step

ATTACK = "<script>alert('x')</script><img src=https://evil.example/x.png onerror=alert(1)>"


def page(count: int = 40, *, select: str = "loss", attack: str = "") -> str:
    steps, history = list[Step](), list[dict[str, Any]]()
    for at in range(1, count + 1):
        validated = at % 10 == 0
        answers = (SampleAnswer(f"When?{attack}", "2027", f"In {at}{attack}", True, at > 10, at > 20),)
        metrics = {"form": at / count, "exact_match": 0.5} if validated else {}
        loss = 1.0 + 1 / at
        steps.append(
            Step(at, loss, loss if validated else None, 1e-3, 0.5, 99.0, metrics, answers if validated else ())
        )
        if validated:
            entry = {"step": at, "train_loss": loss, "validation_loss": loss, "learning_rate": 1e-3, "metrics": metrics}
            history.append(entry)
    figures = {
        "rows": 320, "rows_left_out": 2, "validation_rows": 20, "validation_rows_left_out": 0, "steps": count,
        "epochs": 1.0, "stopped_early": False, "best_step": 30, "best_loss": 1.033, "tokens": 1000, "seconds": 100.0,
        "best_metrics": {"form": 0.75, "exact_match": 0.5}, "trained_tokens": 100, "tokens_per_second": 10.0,
        "peak_memory_mib": 2048.0, "history": history, "warnings": [f"It diverges.{attack}"],
    }  # fmt: skip
    settings = FinetuneSection.model_validate({"select": select})
    return render_training(steps, figures, name="desk", base=f"tiny{attack}", settings=settings, seed=7)


class Reader(HTMLParser):
    """Collects what a browser would load or run, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [f"{name}={value}" for name, value in attributes if name in ("src", "href") or name[:2] == "on"]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_page_loads_nothing_and_runs_nothing_whatever_the_data_say() -> None:
    html = page(attack=ATTACK)
    reader = Reader()
    reader.feed(html)
    assert reader.loads == [] and not reader.tags & {"script", "img", "link", "iframe"}
    assert not re.search(r"url\(|@import|https?://(?!evil)", html)


def test_page_says_what_was_kept_why_and_what_to_beware_of() -> None:
    reader = Reader()
    reader.feed(page(select="form"))
    words = " ".join(" ".join(reader.text).split())
    for expected in (
        "step 30 most answers in the house format", "It diverges.", "75.0 % of 1 validation prompt ", "step 30, kept",
        "Rows dropped as too long 2 training", "Peak memory 2.0 GiB", "learning_rate 0.001", "seed 7",
        "✗ wrong · out of form",
    ):  # fmt: skip
        assert expected in words


def test_curves_have_a_point_for_every_step_and_validation() -> None:
    html = page()
    points = [line.split() for line in re.findall(r'polyline points="([^"]*)"', html)]
    assert [len(line) for line in points] == [40, 40, 4, 4, 4, 40, 40]  # loss thrice, form, exact match, rate, norm
    assert html.count('class="kept"') == 2


def test_a_training_whose_steps_were_lost_still_has_a_page() -> None:
    assert "What was trained, and where" in page(0)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_an_axis_holds_all_values_between_round_ticks(values: list[float]) -> None:
    low, high, ticks = _axis(values, None)
    assert low <= min(values) and high >= max(values) * (1 - 1e-9) and low < high
    assert ticks[0] == pytest.approx(low) and ticks[-1] == pytest.approx(high) and len(ticks) <= 7


def test_long_trainings_are_thinned_and_smoothing_keeps_a_constant() -> None:
    points = [(step, 2.0) for step in range(1, 2001)]
    thinned = _thinned(_smoothed(points))
    assert len(thinned) <= MOST_POINTS and thinned[-1] == (2000, 2.0) and {value for _, value in thinned} == {2.0}


@pytest.mark.slow
def test_nothing_on_the_page_shuts_anyone_out(browser: Any, tmp_path: Path) -> None:
    assert barriers_in_file(browser, tmp_path, page()) == []
