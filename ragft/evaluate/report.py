"""The comparison for people: a self-contained HTML page, and a table for the terminal.

The page loads nothing and runs nothing: style is inline, charts are boxes placed by percentages and one inline SVG. The
template engine escapes what comes from data. This module computes what to show; `report.html.j2` says how it looks.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.data.questions import Question
from ragft.evaluate.metrics import METRICS, Metric
from ragft.evaluate.metrics.citations import sources_among
from ragft.evaluate.records import Record
from ragft.evaluate.score import Comparison, Row
from ragft.evaluate.statistics import ALPHA
from ragft.evaluate.verdict import p_text, percent, signed
from ragft.page import render_page
from ragft.setups import SETUPS

if TYPE_CHECKING:
    from rich.table import Table

_AXES = {
    "facts": "Facts: is it right?",
    "form": "Form: does it look as it should?",
    "retrieval": "Retrieval: was the source found?",
    "cost": "Cost: what did it take?",
}
_TERMINAL = ("exact_match", "contains", "token_f1", "format_validity", "retrieval_hit", "latency_ms")
_FOREST = ("exact_match", "contains", "format_validity")


def render_report(
    comparison: Comparison,
    records: Sequence[Record],
    questions: Sequence[Question],
    *,
    name: str,
    subtitle: str,
    scores: Sequence[Row] = (),
) -> str:
    """The comparison as one HTML page; without `scores`, the rows of `score`, the page shows no examples."""
    names = list(comparison.setups)
    return render_page(
        Path(__file__).with_name("report.html.j2"),
        {"percent": percent, "p": p_text, "signed": signed},
        name=name,
        subtitle=subtitle,
        verdict=comparison.verdict,
        setups=names,
        setup_class={setup: setup if setup in SETUPS else "other" for setup in names},
        alpha=ALPHA,
        square=_square(comparison),
        sections=_sections(comparison),
        forests=_forests(comparison),
        tags=_tags(comparison, questions),
        freshness={setup: row for setup, row in comparison.freshness.items() if row["n"]},
        scatter=_scatter(comparison, records),
        examples=_examples(scores, records, questions, comparison.seed),
        measured=_measured(comparison, records, questions),
        comparison=comparison,
    )


def comparison_table(comparison: Comparison) -> Table:
    """The main figures of a comparison as a table for the terminal."""
    from rich import box
    from rich.table import Table

    table = Table("", box=box.SIMPLE_HEAD, caption=comparison.verdict["text"], caption_justify="left")
    for setup in comparison.setups:
        table.add_column(setup, justify="right", no_wrap=True)
    for metric in (METRICS[name] for name in _TERMINAL if _applied(comparison, name)):
        cells = []
        for row in (metrics[metric.name] for metrics in comparison.setups.values()):
            interval = f"{_number(metric, row['low'])}–{_number(metric, row['high'])}" if row["low"] is not None else ""
            cells.append(f"{_number(metric, row['mean'], unit=True)}\n[dim]{interval}[/dim]")
        table.add_row(metric.title, *cells)
    return table


def _applied(comparison: Comparison, metric: str) -> bool:
    return any(metrics.get(metric, {}).get("n") for metrics in comparison.setups.values())


def _number(metric: Metric, value: float | None, *, unit: bool = False) -> str:
    """A value for a reader: shares in percent, large milliseconds and counts without decimals."""
    if value is None:
        return "–"
    if metric.unit == "share":
        return percent(value) if unit else f"{100 * value:.1f}"
    text = f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{text} ms" if unit and metric.unit == "ms" else text


def _square(comparison: Comparison) -> dict[str, Any]:
    """The four setups as two by two, with the difference in exact match between neighbouring cells."""
    pairs = {(row["a"], row["b"]): row for row in comparison.pairs if row["metric"] == "exact_match"}
    # A pair is stored once, in the order that the caller gave the setups.
    for (a, b), row in list(pairs.items()):
        low, high = (None if row[limit] is None else -row[limit] for limit in ("high", "low"))
        flipped = {"difference": -row["difference"], "low": low, "high": high}
        pairs.setdefault((b, a), {**row, **flipped})
    return {
        "cells": {name: comparison.setups.get(name) for name in SETUPS},
        "retrieval_base": pairs.get(("rag-only", "prompt-only")),
        "retrieval_tuned": pairs.get(("hybrid", "fine-tuned")),
        "tuning_without": pairs.get(("fine-tuned", "prompt-only")),
        "tuning_with": pairs.get(("hybrid", "rag-only")),
        "interaction": comparison.interaction.get("exact_match"),
    }


def _sections(comparison: Comparison) -> list[dict[str, Any]]:
    """The main table: the metrics of each axis, with a cell for every setup."""
    applied = [metric for name, metric in METRICS.items() if _applied(comparison, name)]
    rows = {axis: [_table_row(comparison, metric) for metric in applied if metric.axis == axis] for axis in _AXES}
    return [{"title": title, "rows": rows[axis]} for axis, title in _AXES.items() if rows[axis]]


def _table_row(comparison: Comparison, metric: Metric) -> dict[str, Any]:
    found = [metrics[metric.name] for metrics in comparison.setups.values()]
    means = [row["mean"] for row in found if row["mean"] is not None]
    top = 1.0 if metric.unit == "share" else max(*(row["high"] or row["mean"] or 0.0 for row in found), 1e-9)
    best = None
    if metric.better and len(means) > 1 and min(means) < max(means):
        best = max(means) if metric.better == "higher" else min(means)
    unit = "" if metric.unit in ("share", "ms") or metric.unit in metric.title else metric.unit
    return {
        # "exact match" starts in upper case here, "nDCG" keeps its spelling.
        "title": metric.title if metric.title[1].isupper() else metric.title[0].upper() + metric.title[1:],
        "hint": {"higher": "↑", "lower": "↓", None: ""}[metric.better],
        "unit": unit,
        "cells": [_table_cell(metric, row, best, top) for row in found],
    }


def _table_cell(metric: Metric, row: Row, best: float | None, top: float) -> dict[str, Any]:
    cell = {"text": _number(metric, row["mean"], unit=True), "failed": row["failed"], "bar": None}
    if row["mean"] is None:
        return cell
    mean, low, high = (_position(limit, 0.0, top) for limit in (row["mean"], *_limits(row, row["mean"])))
    interval = (
        "no interval" if row["low"] is None else f"{_number(metric, row['low'])} – {_number(metric, row['high'])}"
    )
    bar = {"mean": mean, "low": low, "width": high - low}
    return {**cell, "bar": bar, "span": interval, "best": row["mean"] == best, "n": row["n"]}


def _position(value: float, low: float, high: float) -> float:
    """The position of a value between two others in percent, clipped to 0 and 100."""
    return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)


def _forests(comparison: Comparison) -> dict[str, Any]:
    """Differences of every pair on the metrics of the verdict, all on one scale with 0 in the middle."""
    found = {(row["a"], row["b"], row["metric"]): row for row in comparison.pairs if row["metric"] in _FOREST}
    names = [name for name in _FOREST if any(metric == name for _, _, metric in found)]
    reach = max((abs(limit) for row in found.values() for limit in _limits(row, row["difference"])), default=0.0)
    # Whole tens of points: a scale that a reader can divide.
    reach = max(0.1, math.ceil(reach * 10) / 10)
    rows = []
    for a, b in dict.fromkeys((a, b) for a, b, _ in found):
        tests = [found.get((a, b, name)) for name in names]
        rows.append({"a": a, "b": b, "tests": [test and _on_scale(test, reach) for test in tests]})
    return {"rows": rows, "titles": [METRICS[name].title for name in names], "reach": reach}


def _on_scale(test: Row, reach: float) -> Row:
    value = test["difference"]
    at, start, end = (_position(limit, -reach, reach) for limit in (value, *_limits(test, value)))
    return {**test, "at": at, "from": start, "width": end - start}


def _tags(comparison: Comparison, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """Exact match by tag, the most frequent tag first."""
    counts = {tag: sum(tag in question.tags for question in questions) for tag in comparison.by_tag}
    return [
        {"tag": tag, "n": counts[tag], "cells": [row["exact_match"] for row in comparison.by_tag[tag].values()]}
        for tag in sorted(counts, key=lambda tag: (-counts[tag], tag))
    ]


def _scatter(comparison: Comparison, records: Sequence[Record]) -> dict[str, Any] | None:
    """Latency against exact match, in the SVG's own units: 0 to 1000 across, 0 to 400 down."""
    points = []
    for setup, metrics in comparison.setups.items():
        answered = [record.total_ms for record in records if record.setup == setup and record.error is None]
        times = sorted(time for time in answered if time is not None)
        quality = metrics["exact_match"]
        if times and quality["mean"] is not None:
            median, late = times[len(times) // 2], times[min(len(times) - 1, int(0.95 * len(times)))]
            points.append({"setup": setup, "median": median, "late": late, **quality})
    if not points:
        return None
    longest = max(point["late"] for point in points)
    step = _round_step(longest / 4)
    width = step * (int(longest / step) + 1)
    for point in points:
        point["x"], point["x95"] = (10 * _position(point[key], 0, width) for key in ("median", "late"))
        heights = (400 - 4 * _position(limit, 0, 1) for limit in (point["mean"], *_limits(point, point["mean"])))
        point["y"], point["y_low"], point["y_high"] = heights
    ticks = [{"x": 1000 * step * at / width, "text": f"{step * at:,.0f}"} for at in range(int(width / step) + 1)]
    return {"points": points, "ticks": ticks}


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... that is no less than a rough distance between ticks."""
    size = 1.0
    while size * 10 < rough:
        size *= 10
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)


def _examples(
    scores: Sequence[Row], records: Sequence[Record], questions: Sequence[Question], seed: int
) -> list[dict[str, Any]]:
    """One question of each telling kind, drawn with the seed from all questions of that kind."""
    rows_of: dict[str, dict[str, Row]] = {}
    for row in scores:
        rows_of.setdefault(row["question_id"], {})[row["setup"]] = row
    scored = sorted((question for question in questions if question.id in rows_of), key=lambda question: question.id)
    draw = random.Random(seed)
    chosen: list[dict[str, Any]] = []
    kinds = {question.id: _kinds(question, rows_of[question.id]) for question in scored}
    for title in next(iter(kinds.values()), {}):  # every question has all of them
        candidates = [question for question in scored if kinds[question.id][title]]
        unseen = [question for question in candidates if all(question is not seen["question"] for seen in chosen)]
        if unseen:
            question = draw.choice(unseen)
            rows = rows_of[question.id]
            answers = [record for record in records if record.question_id == question.id and record.setup in rows]
            cards = [_card(question, record, rows[record.setup]) for record in answers]
            chosen.append({"title": title, "of": len(candidates), "question": question, "cards": cards})
    return chosen


def _kinds(question: Question, rows: Mapping[str, Row]) -> dict[str, bool]:
    """Whether a question is of each telling kind."""
    exact = {setup: row["scores"].get("exact_match") for setup, row in rows.items()}
    right = [setup for setup, value in exact.items() if value == 1.0]
    found = "hybrid" in rows and rows["hybrid"]["scores"].get("retrieval_hit") == 1.0
    stale = "fine-tuned" in rows and rows["fine-tuned"]["freshness"] == "stale"
    return {
        "Only hybrid is right": question.answerable and right == ["hybrid"],
        "Hybrid is wrong although the source was found": (
            question.answerable and found and exact["hybrid"] not in (None, 1.0)
        ),
        "A changed fact: out of date without retrieval": stale and "hybrid" in right,
        "A question that the documents do not answer": not question.answerable,
    }


def _card(question: Question, record: Record, row: Row) -> dict[str, Any]:
    passages = [
        {
            "number": number, "text": passage.heading or passage.title or passage.document_id,
            "document": passage.document_id, "gold": bool(sources_among(question, [passage])),
            "cited": number in record.citations,
        }
        for number, passage in enumerate(record.passages, start=1)
    ]  # fmt: skip
    if record.error is not None:
        mark, kind = "failed", "ko"
    elif row["scores"].get("exact_match") == 1.0:
        mark, kind = "✓ right", "ok"
    elif row["scores"].get("contains") == 1.0:
        mark, kind = "✓ in the text", "loose"
    elif row["freshness"] == "stale":
        mark, kind = "✗ stale", "old"
    else:
        mark, kind = "✗ wrong", "ko"
    return {"record": record, "mark": mark, "kind": kind, "passages": passages}


def _measured(
    comparison: Comparison, records: Sequence[Record], questions: Sequence[Question]
) -> list[tuple[str, str]]:
    """Where the figures come from: counts, methods, versions, seed and fingerprints."""
    counts = {
        "answerable": sum(question.answerable for question in questions),
        "not answerable": sum(not question.answerable for question in questions),
        "about facts that have changed": sum(bool(question.stale_answers) for question in questions),
    }
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    facts = [
        ("Questions", f"{len(questions):,}: {kinds}"),
        ("Records", f"{len(records):,}, of which {comparison.failed:,} could not be fully scored"),
        ("Clusters", _clusters(comparison)),
        ("Intervals", "95 %, over clusters: Wilson's for shares, Bonett and Price's for differences, else Student's"),
        ("Tests", "exact sign-flips of clusters (McNemar's where each question is its own); Holm over the pairs"),
        ("Permutations", f"{comparison.resamples:,} where scores are not yes or no"),
        ("Seed", str(comparison.seed)),
        ("Models", _versions((record.setup, record.model_version) for record in records)),
        ("Index", _versions((record.setup, record.index_version) for record in records if record.index_version)),
        *(
            (f"Fingerprint of {key}", _versions(value.items()) if isinstance(value, Mapping) else str(value))
            for key, value in comparison.fingerprints.items()
        ),
    ]
    return [(key, value) for key, value in facts if value]


def _clusters(comparison: Comparison) -> str:
    """How many groups of related questions there are; nothing in comparisons of earlier versions."""
    if not comparison.clusters:
        return ""
    counts = comparison.clusters
    return f"{counts['count']:,} documents or groups, at most {counts['largest']:,} questions each"


def _limits(row: Row, value: float) -> tuple[float, float]:
    """The ends of an interval; the value itself where there is none."""
    return value if row["low"] is None else row["low"], value if row["high"] is None else row["high"]


def _versions(pairs: Iterable[tuple[str, str | None]]) -> str:
    """`version (setup, setup)` for each version, to show which setups share it."""
    setups: dict[str, list[str]] = {}
    for setup, version in dict.fromkeys(pairs):
        setups.setdefault(str(version), []).append(setup)
    return "; ".join(f"{version} ({', '.join(names)})" for version, names in setups.items())
