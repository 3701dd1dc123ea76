"""What was said for each right choice, for the page and the Markdown; absent where no choices are declared."""

from __future__ import annotations

from typing import Any

from ragft.evaluate.metrics import METRICS
from ragft.evaluate.metrics.choices import REFUSED, UNREADABLE
from ragft.evaluate.report.numbers import span
from ragft.evaluate.score import Comparison
from ragft.evaluate.verdict import percent


def confusions(comparison: Comparison) -> list[dict[str, Any]]:
    """The table of confusions of each setup, with accuracy and macro F1 beside it.

    Returns:
        `{setup, accuracy, span, macro_f1, n, said, rows}`: `said` heads the columns, and each row is `{gold, f1,
        cells}` with cells of `{count, share, right}`, the share being of the row.
    """
    return [
        {
            "setup": setup, "accuracy": percent(found["accuracy"]), "macro_f1": percent(found["macro_f1"]),
            "span": span(METRICS["exact_match"], comparison.setups[setup].get("choice_accuracy", {})), "n": found["n"],
            "said": (said := _columns(found["confusion"])),
            "rows": [
                {"gold": gold, "f1": percent(found["f1"][gold]), "cells": _cells(gold, row, said)}
                for gold, row in sorted(found["confusion"].items())
            ],
        }
        for setup, found in comparison.classification.items()
    ]  # fmt: skip


def _columns(confusion: dict[str, dict[str, int]]) -> list[str]:
    """The right choices in the order of the rows, what else was said, and last what is no choice."""
    said = {label for row in confusion.values() for label in row}
    last = [label for label in (REFUSED, UNREADABLE) if label in said]
    return [*sorted(confusion), *sorted(said - confusion.keys() - set(last)), *last]


def _cells(gold: str, row: dict[str, int], said: list[str]) -> list[dict[str, Any]]:
    total = sum(row.values())
    return [{"count": row.get(label, 0), "share": row.get(label, 0) / total, "right": label == gold} for label in said]
