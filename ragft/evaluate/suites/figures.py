"""Shares and paired differences, as the suites write and show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ragft.evaluate.statistics import Clusters, Columns, estimates


def share(column: Columns, clusters: Clusters) -> dict[str, Any]:
    """`{mean, low, high, n, clusters}` of yes and no, (questions, 1), with a 95 % interval by cluster."""
    (one,) = estimates(column, clusters, bounds=[(0.0, 1.0)])
    return asdict(one)


def difference_shown(one: Mapping[str, Any] | None) -> tuple[str, str]:
    """A difference and its p for people; empty where there is none."""
    if one is None:
        return "", ""
    between = "" if one["low"] is None else f" ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"
    return f"{100 * one['value']:+.1f} points{between}", f"{one['p_holm']:.3f}"
