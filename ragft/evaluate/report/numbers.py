"""Figures as text for a reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragft.evaluate.metrics import Measure
from ragft.evaluate.verdict import percent, signed

NONE = "–"


def number(metric: Measure, value: float | None, *, unit: bool = False) -> str:
    """A value of a metric: shares in percent, milliseconds and counts with as many digits as matter.

    Args:
        unit: whether the text says the unit, where the metric's title does not.
    """
    if value is None:
        return NONE
    if metric.unit == "share":
        return percent(value) if unit else f"{100 * value:.1f}"
    if metric.unit == "ms":
        return milliseconds(value)
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def milliseconds(value: float | None) -> str:
    """A time with a no-break space: `5.8 ms`, `640 ms`, `12.0 s`."""
    if value is None:
        return NONE
    if value >= 10_000:
        return f"{value / 1000:,.1f}\u00a0s"
    return f"{value:,.0f}\u00a0ms" if value >= 100 else f"{value:.1f}\u00a0ms"


def span(metric: Measure, row: Mapping[str, Any]) -> str:
    """The interval of an estimate, `88.0 to 96.7`; empty where it has none."""
    low, high = row.get("low"), row.get("high")
    if low is None or high is None:
        return ""
    if metric.unit == "ms":
        return f"{milliseconds(low)} to {milliseconds(high)}"
    return f"{number(metric, low)} to {number(metric, high)}"


def difference(metric: Measure, value: float | None) -> str:
    """A difference with its sign, in points for shares."""
    if value is None:
        return NONE
    if metric.unit == "share":
        return signed(value)
    digits = 1 if abs(value) < 100 else 0
    return f"{value:+,.{digits}f}".replace("-", "−")


def title(metric: Measure) -> str:
    """A metric's title as a heading: "Exact match", and "nDCG" as it is spelt."""
    return metric.title if metric.title[1:2].isupper() else metric.title[:1].upper() + metric.title[1:]


def position(value: float, low: float, high: float, width: float = 100.0) -> float:
    """Where a value is between two others, from 0 to `width`, clipped to that."""
    return round(width * min(1.0, max(0.0, (value - low) / (high - low))), 2)
