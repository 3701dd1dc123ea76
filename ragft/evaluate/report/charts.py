"""Quality against latency, as places in an SVG whose labels do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragft.evaluate.metrics import METRICS
from ragft.evaluate.records import Record
from ragft.evaluate.report.numbers import milliseconds, number, position
from ragft.evaluate.report.overview import latencies, quantile
from ragft.evaluate.score import Comparison

WIDTH, HEIGHT = 1000.0, 400.0
"""Of the area of the chart, in the SVG's own units."""
LINE = 22.0
"""Height of a line of text in them."""


def scatter(comparison: Comparison, records: Sequence[Record]) -> dict[str, Any] | None:
    """Median latency against what decides, with the interval of the one and the 95th percentile of the other."""
    points = []
    for setup, metrics in comparison.setups.items():
        times, quality = latencies(records, setup), metrics[comparison.measure.name]
        if times and quality["mean"] is not None:
            points.append({
                "setup": setup, "median": quantile(times, 0.5), "late": quantile(times, 0.95), "mean": quality["mean"],
                "low": quality["mean"] if quality["low"] is None else quality["low"],
                "high": quality["mean"] if quality["high"] is None else quality["high"],
            })  # fmt: skip
    if not points:
        return None
    longest = max(point["late"] for point in points) or 1.0
    step = _round_step(longest / 4)
    width = step * (int(longest / step) + 1)
    for point in points:
        point["x"], point["x95"] = (position(point[key], 0, width, WIDTH) for key in ("median", "late"))
        point["y"], point["y_low"], point["y_high"] = (
            round(HEIGHT - position(point[key], 0, 1, HEIGHT), 2) for key in ("mean", "low", "high")
        )
    for point, y in zip(points, apart([point["y"] for point in points], LINE, HEIGHT), strict=True):
        point["label_y"] = y
    ticks = [
        {"x": round(WIDTH * step * at / width, 2), "text": milliseconds(step * at) if at else "0"}
        for at in range(int(width / step) + 1)
    ]
    return {"points": points, "ticks": ticks, "rows": _rows(comparison, points)}


def apart(places: Sequence[float], distance: float, end: float) -> list[float]:
    """Places moved as little as it takes until neighbours are a distance apart, all of them between 0 and `end`.

    Where there are too many for that, they end beyond `end`.
    """
    order = sorted(range(len(places)), key=lambda at: places[at])
    moved = [0.0] * len(places)
    below = -distance
    for rank, at in enumerate(order):
        # Room for those that come after it.
        most = end - distance * (len(order) - 1 - rank)
        below = moved[at] = max(below + distance, min(places[at], most))
    return moved


def _rows(comparison: Comparison, points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same in figures."""
    tokens = ("prompt_tokens", "answer_tokens")
    rows = []
    for point in points:
        metrics = comparison.setups[point["setup"]]
        first = metrics.get("ttft_ms", {}).get("mean")
        rows.append({
            "setup": point["setup"], "first": milliseconds(first), "median": milliseconds(point["median"]),
            "late": milliseconds(point["late"]),
            "tokens": [number(METRICS[name], metrics.get(name, {}).get("mean")) for name in tokens],
        })  # fmt: skip
    return rows


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... that is no less than a rough distance between ticks."""
    size = 1.0
    while size * 10 < rough:
        size *= 10
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
