"""A training for people: `training.html`, with curves, settings, warnings and answers on the way.

This module computes what to show; `training.html.j2` says how it looks.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragft.config import FinetuneSection
from ragft.console import counted, duration
from ragft.evaluate.verdict import percent
from ragft.finetune.watch import Step
from ragft.page import render_page

WIDTH, HEIGHT = 1000, 300
"""Of the area of a curve, in the SVG's own units."""
MOST_POINTS = 600
"""Of one curve: more steps are averaged, as many to a point as it takes."""
SMOOTHING = 0.05
"""Share of the steps that the smoothed training loss is averaged over."""

Point = tuple[float, float]


def render_training(
    steps: Sequence[Step],
    figures: Mapping[str, Any],
    *,
    name: str,
    base: str,
    settings: FinetuneSection,
    seed: int,
) -> str:
    """The page of one training.

    Args:
        steps: all of them, in order; none of a training whose steps were lost.
        figures: of the manifest: what `TrainReport` says, and `warnings`.
        base: name of the base model.
    """
    return render_page(
        Path(__file__).with_name("training.html.j2"),
        {"percent": percent},
        name=name,
        subtitle=f"{settings.method} on {base}, {figures['rows']:,} rows, {figures['steps']:,} steps",
        figures=figures,
        best=_best(figures, settings),
        charts=_charts(steps, figures, settings),
        samples=_samples(steps, figures["best_step"]),
        validations=figures["history"],
        facts=_facts(figures, base, settings, seed),
        counted=counted,
        width=WIDTH,
        height=HEIGHT,
    )


def _best(figures: Mapping[str, Any], settings: FinetuneSection) -> dict[str, str]:
    """Which adapter was kept, and why."""
    chosen = {
        "loss": "lowest validation loss"
        if figures["validation_rows"]
        else "the last one: there are no validation rows",
        "form": "most answers in the house format",
        "exact_match": "most answers with the right value",
    }
    stopped = "stopped early: no improvement" if figures["stopped_early"] else "ran to its end"
    return {"why": chosen[settings.select], "ended": f"{figures['epochs']:.2g} epochs, {stopped}"}


def _charts(steps: Sequence[Step], figures: Mapping[str, Any], settings: FinetuneSection) -> list[dict[str, Any]]:
    """The curves, each chart with its own vertical axis, all over the same steps."""
    if not steps:
        return []
    train = [(step.step, step.train_loss) for step in steps]
    validation = [(step.step, step.validation_loss) for step in steps if step.validation_loss is not None]
    charts = [
        _chart(
            "Loss", "Nats per trained token: of each step, smoothed over several steps, and of the validation rows.",
            steps, figures["best_step"],
            [("each step", "thin", _thinned(train)), ("training", "train", _thinned(_smoothed(train))),
             ("validation", "validation", validation)],
        )
    ]  # fmt: skip
    metrics = [(step.step, step.metrics) for step in steps if step.metrics]
    if metrics:
        titles = {"form": "in the house format", "exact_match": "exact match"}
        curves = [
            (title, key, [(at, float(values[key])) for at, values in metrics if key in values])
            for key, title in titles.items()
        ]
        note = f"Share of {counted(len(_asked(steps)), 'validation prompt')}, answered greedily at each validation."
        charts.append(_chart("Answers", note, steps, figures["best_step"], curves, bounds=(0.0, 1.0)))
    rates = [(step.step, step.learning_rate) for step in steps]
    norms = [(step.step, step.gradient_norm) for step in steps]
    charts.append(_chart("Learning rate", "", steps, None, [("learning rate", "train", _thinned(rates))], half=True))
    charts.append(
        _chart(
            "Gradient norm", f"Before clipping to finetune.max_grad_norm = {settings.max_grad_norm:g}.", steps, None,
            [("gradient norm", "train", _thinned(norms))], half=True,
        )
    )  # fmt: skip
    return charts


def _chart(
    title: str,
    note: str,
    steps: Sequence[Step],
    best_step: int | None,
    curves: Sequence[tuple[str, str, Sequence[Point]]],
    *,
    bounds: tuple[float, float] | None = None,
    half: bool = False,
) -> dict[str, Any]:
    """One chart: curves as SVG points, and the ticks of both axes."""
    drawn = [(label, kind, points) for label, kind, points in curves if points]
    last = steps[-1].step
    low, high, ticks = _axis([value for _, _, points in drawn for _, value in points], bounds)

    def place(point: Point) -> tuple[float, float]:
        return round(WIDTH * point[0] / last, 1), round(HEIGHT * (high - point[1]) / (high - low), 1)

    shown = [
        {"label": label, "kind": kind, "places": [place(point) for point in points], "values": points}
        for label, kind, points in drawn
    ]
    across = sorted({round(last * part / 4) for part in range(5)})
    return {
        "title": title, "note": note, "half": half, "curves": shown,
        "best": None if best_step is None else round(WIDTH * best_step / last, 1),
        "ticks": [{"y": place((0, tick))[1], "text": percent(tick) if bounds else f"{tick:.4g}"} for tick in ticks],
        "across": [{"x": place((step, low))[0], "text": f"{step:,}"} for step in across],
    }  # fmt: skip


_SMALLEST_RANGE = 1e-300
"""Below it, steps between ticks could not be told from zero."""


def _axis(values: Sequence[float], bounds: tuple[float, float] | None) -> tuple[float, float, list[float]]:
    """Lowest and highest value of a vertical axis, and its ticks, which are round numbers."""
    if bounds:
        low, high = bounds
        return low, high, [low + (high - low) * part / 4 for part in range(5)]
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(0.0, *finite), max(finite, default=0.0)
    if high - low < _SMALLEST_RANGE:
        return low, low + 1.0, [low, low + 1.0]
    rough = (high - low) / 4
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    first, count = math.floor(low / step), math.ceil(high / step)
    return first * step, count * step, [tick * step for tick in range(first, count + 1)]


def _smoothed(points: Sequence[Point]) -> list[Point]:
    """Each value averaged with those around it."""
    reach = max(1, round(SMOOTHING * len(points))) // 2
    values = [value for _, value in points]
    smooth = []
    for at, (step, _) in enumerate(points):
        around = values[max(0, at - reach) : at + reach + 1]
        smooth.append((step, sum(around) / len(around)))
    return smooth


def _thinned(points: Sequence[Point]) -> list[Point]:
    """No more than `MOST_POINTS`: the mean of each few."""
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _asked(steps: Sequence[Step]) -> Sequence[Any]:
    return next((step.answers for step in reversed(steps) if step.answers), ())


def _samples(steps: Sequence[Step], best_step: int) -> list[dict[str, Any]]:
    """Each prompt with its answers at the first validation, at the best and at the last."""
    answered = [step for step in steps if step.answers]
    if not answered:
        return []
    best = next((step for step in answered if step.step == best_step), answered[-1])
    chosen = {step.step: step for step in (answered[0], best, answered[-1])}
    samples = []
    for number, reference in enumerate(answered[-1].answers):
        cards = [
            {"step": step.step, "kept": step.step == best_step, **_marked(step.answers[number])}
            for step in chosen.values()
        ]
        samples.append({"question": reference.question, "reference": reference.reference, "cards": cards})
    return samples


def _marked(answer: Any) -> dict[str, str]:
    """An answer with a verdict on it."""
    parts = ["✓ right" if answer.exact else "✗ wrong"]
    if answer.form is not None:
        parts.append("in form" if answer.form else "out of form")
    if not answer.ended:
        parts.append("cut")
    return {"text": answer.answer, "mark": " · ".join(parts), "kind": "ok" if answer.exact else "ko"}


def _facts(figures: Mapping[str, Any], base: str, settings: FinetuneSection, seed: int) -> list[dict[str, Any]]:
    """Settings, rows and machine."""
    left_out = {"training": figures["rows_left_out"], "validation": figures["validation_rows_left_out"]}
    dropped = ", ".join(f"{count:,} {part}" for part, count in left_out.items() if count)
    data = [
        ("Training rows", f"{figures['rows']:,}"),
        ("Validation rows", f"{figures['validation_rows']:,}"),
        ("Rows dropped as too long", dropped or "none"),
        ("Tokens", f"{figures['tokens']:,}, of which {figures['trained_tokens']:,} trained on"),
    ]
    machine = [
        ("Time", duration(figures["seconds"])),
        ("Speed", f"{figures['tokens_per_second']:,.0f} tokens/s"),
        ("Peak memory", f"{figures['peak_memory_mib'] / 1024:.1f} GiB"),
        ("Machine", f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, {platform.system()}"),
        ("Python", platform.python_version()),
    ]
    known = [(key, "unset" if value is None else str(value)) for key, value in settings.model_dump().items()]
    return [
        {"title": "Data", "rows": data},
        {"title": "Machine", "rows": machine},
        {"title": "Settings", "rows": [("base", base), ("seed", str(seed)), *known]},
    ]
