"""The main figures as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragft.evaluate.metrics import METRICS
from ragft.evaluate.report.numbers import number
from ragft.evaluate.score import Comparison

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = ("exact_match", "contains", "token_f1", "format_validity", "retrieval_hit", "latency_ms")


def comparison_table(comparison: Comparison) -> Table:
    """The main figures of a comparison, a column for each setup, and the verdict below."""
    from rich import box
    from rich.table import Table

    table = Table("", box=box.SIMPLE_HEAD, caption=comparison.verdict["text"], caption_justify="left")
    for setup in comparison.setups:
        table.add_column(setup, justify="right", no_wrap=True)
    decides = comparison.measure
    for name in dict.fromkeys((decides.name, *_SHOWN)):
        metric = METRICS.get(name, decides)
        found = [metrics.get(name) for metrics in comparison.setups.values()]
        if not any(row and row["n"] for row in found):
            continue
        cells = []
        for row in found:
            has_interval = row and row["low"] is not None
            interval = f"{number(metric, row['low'])}–{number(metric, row['high'])}" if row and has_interval else ""
            cells.append(f"{number(metric, row['mean'] if row else None, unit=True)}\n[dim]{interval}[/dim]")
        table.add_row(metric.title, *cells)
    return table
