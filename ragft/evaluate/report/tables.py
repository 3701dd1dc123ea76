"""The tables of a report: every figure with its interval, the questions it stands on, and what failed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ragft.data.questions import Question
from ragft.evaluate.metrics import METRICS, Measure
from ragft.evaluate.metrics.floors import floor_title
from ragft.evaluate.report.numbers import difference, number, position, span, title
from ragft.evaluate.report.overview import pair_of
from ragft.evaluate.rows import Row
from ragft.evaluate.score import Comparison
from ragft.evaluate.statistics import ALPHA
from ragft.evaluate.verdict import p_text, percent
from ragft.setups import SETUPS

AXES = {
    "facts": "Facts: is it right?",
    "form": "Form: does it look as it should?",
    "retrieval": "Retrieval: was the source found?",
    "cost": "Cost: what did it take?",
}
WIDTH = 120.0
"""Of an interval bar, in the SVG's own units."""


def sections(comparison: Comparison) -> list[dict[str, Any]]:
    """The main table: the metrics of each axis, with a cell for every setup."""
    applied = [metric for name, metric in METRICS.items() if _applied(comparison, name)]
    rows = {axis: [_row(comparison, metric) for metric in applied if metric.axis == axis] for axis in AXES}
    return [{"title": heading, "rows": rows[axis]} for axis, heading in AXES.items() if rows[axis]]


def _applied(comparison: Comparison, metric: str) -> bool:
    return any(_of(metrics, metric)["n"] or _of(metrics, metric)["failed"] for metrics in comparison.setups.values())


_NOTHING: Row = {"mean": None, "low": None, "high": None, "n": 0, "failed": 0}


def _of(metrics: Mapping[str, Row], metric: str) -> Row:
    return {**_NOTHING, **metrics.get(metric, {})}


def _row(comparison: Comparison, metric: Measure) -> dict[str, Any]:
    found = {setup: _of(metrics, metric.name) for setup, metrics in comparison.setups.items()}
    top = 1.0 if metric.unit == "share" else max(*(row["high"] or row["mean"] or 0.0 for row in found.values()), 1e-9)
    return {
        "title": title(metric),
        "hint": {"higher": "↑", "lower": "↓", None: ""}[metric.better],
        "unit": "" if metric.unit in ("share", "ms") or metric.unit in metric.title else metric.unit,
        "cells": [cell(metric, row, top, best=_is_best(comparison, metric, setup)) for setup, row in found.items()],
    }


def _is_best(comparison: Comparison, metric: Measure, setup: str) -> bool:
    """Whether a setup is significantly better than every other on a metric where more is better.

    Where less is better, a setup that knows nothing may be best: it says nothing outdated, and says it fast.
    """
    if metric.better != "higher" or len(comparison.setups) < 2:
        return False
    tests = [pair_of(comparison, metric.name, setup, other) for other in comparison.setups if other != setup]
    return all(test is not None and test["difference"] > 0 and test["p_holm"] < ALPHA for test in tests)


def cell(metric: Measure, row: Row, top: float = 1.0, *, best: bool = False) -> dict[str, Any]:
    """One estimate for a table: text, interval, number of questions, failures, and the places of its bar."""
    bar = None
    if row["mean"] is not None:
        ends = {key: row["mean"] if row.get(key) is None else row[key] for key in ("low", "high")}
        bar = {key: position(value, 0.0, top, WIDTH) for key, value in {"mean": row["mean"], **ends}.items()}
    return {
        "text": number(metric, row["mean"], unit=True), "span": span(metric, row), "n": row["n"],
        "failed": row.get("failed", 0), "bar": bar, "best": best,
    }  # fmt: skip


def floors(comparison: Comparison) -> list[dict[str, Any]]:
    """What answers score that know nothing; empty where that was not scored."""
    found: Mapping[str, Mapping[str, Row]] = comparison.floors
    shown = _shown(comparison, "exact_match", "contains", "format_validity")
    best = {name: _best_of(comparison, name) for name in shown}
    rows = [
        {
            "title": floor_title(name),
            "cells": [percent(scores[metric]["mean"]) if metric in scores else "–" for metric in shown],
        }
        for name, scores in found.items()
    ]
    if not rows:
        return []
    return [{"titles": [title(METRICS[name]) for name in shown], "rows": rows, "best": [best[name] for name in shown]}]


def prompts(comparison: Comparison) -> list[dict[str, Any]]:
    """What the prompts scored that a setup chose from; empty where none did."""
    shown = (comparison.measure, METRICS["format_validity"])
    return [
        {
            "setup": setup, "title": name, "is_chosen": name == choice["chosen"],
            "cells": [cell(metric, figures[metric.name]) for metric in shown],
        }
        for setup, choice in comparison.prompts.items()
        for name, figures in choice["variants"].items()
    ]  # fmt: skip


def _shown(comparison: Comparison, *names: str) -> list[str]:
    """The metric that decides, and others beside it; of those the ones that applied."""
    return [name for name in dict.fromkeys((comparison.measure.name, *names)) if _applied(comparison, name)]


def _best_of(comparison: Comparison, metric: str) -> str:
    means = {setup: row[metric]["mean"] for setup, row in comparison.setups.items() if row[metric]["mean"] is not None}
    leader = max(means, key=lambda setup: METRICS[metric].sign * means[setup], default=None)
    return "–" if leader is None else f"{percent(means[leader])} ({leader})"


def square(comparison: Comparison) -> dict[str, Any] | None:
    """The four setups as two by two; None where not two of them were compared."""
    if sum(setup in comparison.setups for setup in SETUPS) < 2:
        return None
    metric = comparison.measure
    lenient = {"contains": "contains the answer"} if metric.name == "exact_match" else {"exact_match": "exact match"}
    beside = {**lenient, "format_validity": "in the house format"}
    cells = {
        setup: {
            "facts": cell(metric, _of(rows, metric.name)),
            "beside": [
                (text, number(METRICS[name], _of(rows, name)["mean"], unit=True)) for name, text in beside.items()
            ],
        }
        if (rows := comparison.setups.get(setup))
        else None
        for setup in SETUPS
    }
    return {"cells": cells, "effects": effects(comparison)}


_STEPS = (
    ("Retrieval, base model", "rag-only", "prompt-only"),
    ("Retrieval, tuned model", "hybrid", "fine-tuned"),
    ("Tuning, without retrieval", "fine-tuned", "prompt-only"),
    ("Tuning, with retrieval", "hybrid", "rag-only"),
)
_EFFECTS = {
    "retrieval": "Retrieval, on average of both models", "tuning": "Tuning, on average with and without retrieval",
    "interaction": "Interaction: what tuning gains more with retrieval",
}  # fmt: skip


def effects(comparison: Comparison) -> list[dict[str, Any]]:
    """What retrieval and tuning change in what decides, each alone, on average, and together."""
    metric = comparison.measure
    tests = [(name, pair_of(comparison, metric.name, a, b)) for name, a, b in _STEPS]
    rows = [contrast(metric, test, label=name) for name, test in tests if test is not None]
    stated: Mapping[str, Row] = comparison.effects.get(metric.name, {})
    joint = comparison.interaction.get(metric.name)
    found = {**({"interaction": joint} if joint else {}), **stated}
    rows += [
        contrast(metric, {**found[name], "difference": found[name]["value"]}, label=text)
        for name, text in _EFFECTS.items()
        if name in found
    ]
    return _on_one_scale(rows, reach_of(rows))


def contrast(metric: Measure, test: Row, *, label: str = "") -> dict[str, Any]:
    """One difference for a table, with all that its test says as text."""
    low, high = test.get("low"), test.get("high")
    has_interval = low is not None and high is not None
    return {
        "label": label, "a": test.get("a"), "b": test.get("b"), "metric": metric.name,
        "text": difference(metric, test["difference"]),
        "span": f"{difference(metric, low)} to {difference(metric, high)}" if has_interval else "no interval",
        "p": p_text(test["p_holm"]) if "p_holm" in test else "",
        "uncorrected": p_text(test["p"]) if "p_holm" in test and p_text(test["p"]) != p_text(test["p_holm"]) else "",
        "counts": f"{test['wins']} / {test['ties']} / {test['losses']}" if "wins" in test else "",
        "n": test["n"], "is_clear": _is_clear(test),
        "places": (low, test["difference"], high) if has_interval else (test["difference"],) * 3,
    }  # fmt: skip


def _is_clear(test: Row) -> bool:
    """Whether a difference is told from none: by its test, or without one by its interval."""
    if "p_holm" in test:
        return bool(test["p_holm"] < ALPHA)
    return test.get("low") is not None and (test["low"] > 0 or test["high"] < 0)


def reach_of(rows: Sequence[Mapping[str, Any]]) -> float:
    """How far a scale around 0 must reach: whole tens of points, a scale that a reader can divide."""
    widest = max((abs(place) for row in rows for place in row["places"]), default=0.0)
    step = 0.1 if widest <= 1.0 else 10 ** math.floor(math.log10(widest))
    return max(step, math.ceil(widest / step) * step)


def _on_one_scale(rows: Sequence[dict[str, Any]], reach: float) -> list[dict[str, Any]]:
    for row in rows:
        low, at, high = (position(place, -reach, reach, 2 * WIDTH) for place in row["places"])
        row["bar"] = {"low": low, "mean": at, "high": high}
    return list(rows)


def forests(comparison: Comparison) -> list[dict[str, Any]]:
    """The differences of every pair, one scale for each metric."""
    made = []
    for name in _shown(comparison, "exact_match", "contains", "format_validity", "latency_ms"):
        metric = METRICS[name]
        tests = [row for row in comparison.pairs if row["metric"] == name]
        if not tests:
            continue
        rows = [contrast(metric, test) for test in tests]
        reach = reach_of(rows)
        unit = "percentage points" if metric.unit == "share" else metric.unit
        made.append({
            "title": title(metric), "unit": unit, "reach": difference(metric, reach).lstrip("+"),
            "rows": _on_one_scale(rows, reach), "lower": metric.better == "lower",
        })  # fmt: skip
    return made


def tags(comparison: Comparison, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """What decides by tag, the most frequent tag first."""
    metric = comparison.measure
    counts = {tag: sum(tag in question.tags for question in questions) for tag in comparison.by_tag}
    return [
        {
            "tag": tag, "n": counts[tag],
            "cells": [cell(metric, _of(row, metric.name)) for row in comparison.by_tag[tag].values()],
        }
        for tag in sorted(counts, key=lambda tag: (-counts[tag], tag))
    ]  # fmt: skip


def freshness(comparison: Comparison) -> list[dict[str, Any]]:
    """How often each setup says what is right now, and what was right before; empty without such questions."""
    return [
        {"setup": setup, **row, "knows": bool(row["right"] or row["stale"])}
        for setup, row in comparison.freshness.items()
        if row["n"]
    ]


def causes(comparison: Comparison) -> list[dict[str, Any]]:
    """Why answers are wrong, the most frequent cause first, with the count and what to mend in every setup."""
    stated: Mapping[str, Sequence[Row]] = comparison.causes
    titles = {cause["cause"]: cause["title"] for found in stated.values() for cause in found}
    rows = []
    for name, text in titles.items():
        of = [{cause["cause"]: cause for cause in stated.get(setup, ())} for setup in comparison.setups]
        cells = [causes_of.get(name) for causes_of in of]
        total = sum(cell["count"] for cell in cells if cell)
        rows.append({"cause": name, "title": text, "cells": cells, "total": total})
    return sorted(rows, key=lambda row: -row["total"])
