"""Shares and paired differences, as the suites write and show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ragft.evaluate.statistics import Clusters, Columns, PairTest, estimates


def share(column: Columns, clusters: Clusters) -> dict[str, Any]:
    """`{mean, low, high, n, clusters}` of yes and no, (questions, 1), with a 95 % interval by cluster."""
    (one,) = estimates(column, clusters, bounds=[(0.0, 1.0)])
    return asdict(one)


def difference(test: PairTest) -> dict[str, Any]:
    """`{value, low, high, p, p_holm, wins, losses, n, clusters}` of a test."""
    return {
        "value": test.difference, "low": test.low, "high": test.high, "p": test.p, "p_holm": test.p_holm,
        "wins": test.wins, "losses": test.losses, "n": test.n, "clusters": test.clusters,
    }  # fmt: skip


def share_shown(one: Mapping[str, Any] | None) -> str:
    """A share for people; empty where there is none."""
    if one is None or one["mean"] is None:
        return ""
    between = "" if one["low"] is None else f" ({one['low']:.0%} to {one['high']:.0%})"
    return f"{one['mean']:.0%}{between}"


def difference_shown(one: Mapping[str, Any] | None) -> tuple[str, str]:
    """A difference and its p for people; empty where there is none."""
    if one is None:
        return "", ""
    between = "" if one["low"] is None else f" ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"
    return f"{100 * one['value']:+.1f} points{between}", f"{one['p_holm']:.3f}"
