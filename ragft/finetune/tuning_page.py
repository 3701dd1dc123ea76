"""A search for people: `tuning.html`, with every trial, the values of the best, and what they cannot tell.

This module computes what to show; `tuning.html.j2` says how it looks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragft.config import FinetuneSection
from ragft.console import counted, duration
from ragft.finetune.search import Trial, values_block
from ragft.page import render_page

WIDTH, HEIGHT = 1000, 300
"""Of the area of the chart, in the SVG's own units."""


def render_tuning(
    trials: Sequence[Trial], best: Trial | None, *, name: str, base: str, settings: FinetuneSection, ended: str
) -> str:
    """The page of a search.

    Args:
        trials: all that ended, in their order; at least one, the configured values first.
        base: name of the base model.
        ended: why the search ended.
    """
    keys = sorted(trials[0].values)
    return render_page(
        Path(__file__).with_name("tuning.html.j2"),
        {},
        name=name,
        subtitle=f"{counted(len(trials), 'trial')} of {settings.method} on {base}",
        best=best,
        configured=trials[0],
        block=values_block(best.values) if best else "",
        select=settings.select,
        keys=keys,
        rows=[_row(trial, keys, settings.select, best) for trial in trials],
        places=_places(trials),
        ended=ended,
        seconds=duration(sum(trial.seconds for trial in trials)),
        width=WIDTH,
        height=HEIGHT,
    )


def _row(trial: Trial, keys: Sequence[str], select: str, best: Trial | None) -> dict[str, Any]:
    values = [_text(trial.values.get(key)) for key in keys]
    loss = "–" if trial.loss is None else f"{trial.loss:.4f}"
    return {
        "number": trial.number, "values": values, "loss": loss, "metric": _metric(trial.metrics, select),
        "ended": trial.reason or {"pruned": "ended early"}.get(trial.ended, trial.ended),
        "seconds": duration(trial.seconds), "best": best is not None and trial.number == best.number,
    }  # fmt: skip


def _metric(metrics: Mapping[str, float], select: str) -> str:
    return f"{metrics[select]:.0%}" if select in metrics else "–"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _places(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The trials with a loss as points: across by their order, upwards by the loss."""
    shown = [trial for trial in trials if trial.loss is not None and math.isfinite(trial.loss)]
    losses = [trial.loss or 0.0 for trial in shown]
    low, high = min(losses, default=0.0), max(losses, default=1.0)
    return [
        {
            "x": round(WIDTH * (trial.number - 0.5) / len(trials), 1),
            "y": round(HEIGHT * (high - loss) / (high - low or 1.0), 1),
            "text": f"trial {trial.number}: {loss:.4f}",
            "ended": trial.ended,
        }
        for trial, loss in zip(shown, losses, strict=True)
    ]
