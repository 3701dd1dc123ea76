"""The comparison as one page for people: a self-contained HTML file, and a table for the terminal.

The page loads nothing and runs nothing: style is inline, charts are boxes placed by percentages and one
inline SVG. What comes from data is escaped by the template engine. This module computes what to show; the
template beside it says how it looks.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.evaluate.metrics import METRICS, Metric
from ragft.evaluate.metrics.citations import matched_sources
from ragft.evaluate.records import Question, Record
from ragft.evaluate.score import Comparison, Row
from ragft.evaluate.statistics import ALPHA, p_text, percent, signed
from ragft.setups import SETUPS

if TYPE_CHECKING:
    from rich.table import Table

# The most telling first; every other metric of the axis follows.
_ORDER = {
    "facts": ("exact_match", "contains", "token_f1", "rouge_l", "abstention", "false_refusal"),
    "form": ("format_validity", "length"),
    "retrieval": ("retrieval_hit", "retrieval_any", "retrieval_ndcg"),
    "cost": ("latency_ms", "ttft_ms", "retrieval_ms", "prompt_tokens", "answer_tokens"),
}
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
    """The comparison as one HTML page.

    Args:
        comparison: what `score` returned, or what `comparison.json` holds.
        records: the answers that were compared.
        questions: what was asked.
        name: of the domain; the page's title.
        subtitle: one line under it, such as model and corpus.
        scores: the rows of `score`; without them the page shows no examples.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, p=p_text, signed=_signed)
    template = environment.from_string(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"))
    names = list(comparison.setups)
    return template.render(
        name=name,
        subtitle=subtitle,
        verdict=comparison.verdict,
        setups=names,
        setup_class={setup: setup if setup in SETUPS else "other" for setup in names},
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

    table = Table(box=box.SIMPLE_HEAD, caption=comparison.verdict["text"], caption_justify="left")
    table.add_column("")
    for setup in comparison.setups:
        table.add_column(setup, justify="right", no_wrap=True)
    for name in _TERMINAL:
        metric = METRICS[name]
        cells = []
        for row in (metrics[name] for metrics in comparison.setups.values()):
            span = f"{_number(metric, row['low'])}–{_number(metric, row['high'])}" if row["n"] else ""
            cells.append(f"{_number(metric, row['mean'], unit=True)}\n[dim]{span}[/dim]")
        if _applied(comparison, metric):
            table.add_row(metric.title, *cells)
    return table


def _applied(comparison: Comparison, metric: Metric) -> bool:
    return any(metrics.get(metric.name, {}).get("n") for metrics in comparison.setups.values())


def _number(metric: Metric, value: float | None, *, unit: bool = False) -> str:
    """A value as a reader wants it: shares in percent, milliseconds and tokens without decimals."""
    if value is None:
        return "–"
    if metric.unit == "share":
        return percent(value) if unit else f"{100 * value:.1f}"
    text = f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{text} ms" if unit and metric.unit == "ms" else text


def _signed(value: float | None) -> str:
    return "–" if value is None else signed(value)


def _square(comparison: Comparison) -> dict[str, Any]:
    """The four setups as two by two, with what each step from cell to cell is worth on exact match."""
    pairs = {(row["a"], row["b"]): row for row in comparison.pairs if row["metric"] == "exact_match"}
    # A pair is stored once, in the order that the caller gave the setups.
    for (a, b), row in list(pairs.items()):
        flipped = {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}
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
    """The main table: per axis its metrics, per metric a cell for every setup."""
    sections = []
    for axis, title in _AXES.items():
        names = [*_ORDER[axis], *(name for name, metric in METRICS.items() if metric.axis == axis)]
        metrics = [METRICS[name] for name in dict.fromkeys(names)]
        rows = [_table_row(comparison, metric) for metric in metrics if _applied(comparison, metric)]
        if rows:
            sections.append({"axis": axis, "title": title, "rows": rows})
    return sections


def _table_row(comparison: Comparison, metric: Metric) -> dict[str, Any]:
    found = {setup: metrics[metric.name] for setup, metrics in comparison.setups.items()}
    means = [row["mean"] for row in found.values() if row["mean"] is not None]
    top = 1.0 if metric.unit == "share" else max(*(row["high"] or 0.0 for row in found.values()), 1e-9)
    best = None
    if metric.better and len(means) > 1 and min(means) < max(means):
        best = max(means) if metric.better == "higher" else min(means)
    cells = []
    for row in found.values():
        cell: dict[str, Any] = {
            "text": _number(metric, row["mean"], unit=True),
            "failed": row["failed"],
            "bar": None,
        }
        if row["mean"] is not None:
            cell["bar"] = {
                "mean": _place(row["mean"], 0.0, top),
                "low": _place(row["low"], 0.0, top),
                "width": _place(row["high"], 0.0, top) - _place(row["low"], 0.0, top),
            }
            cell["span"] = f"{_number(metric, row['low'])} – {_number(metric, row['high'])}"
            cell["best"] = row["mean"] == best
            cell["n"] = row["n"]
        cells.append(cell)
    hint = {"higher": "↑", "lower": "↓", None: ""}[metric.better]
    unit = "" if metric.unit in ("share", "ms") else metric.unit
    # "exact match" starts a line in upper case, "nDCG" stays as it is spelt.
    title = metric.title if metric.title[1].isupper() else metric.title[0].upper() + metric.title[1:]
    return {"title": title, "hint": hint, "unit": unit if unit not in title else "", "cells": cells}


def _place(value: float, low: float, high: float) -> float:
    """Where a value stands between two others, in percent, within the box."""
    return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)


def _forests(comparison: Comparison) -> dict[str, Any]:
    """Differences of every pair on the metrics of the verdict, all on one scale with 0 in the middle."""
    found = {(row["a"], row["b"], row["metric"]): row for row in comparison.pairs if row["metric"] in _FOREST}
    names = [name for name in _FOREST if any(metric == name for _, _, metric in found)]
    reach = max((max(abs(row["low"]), abs(row["high"])) for row in found.values()), default=0.0)
    # Whole tens of points: a scale that a reader can divide.
    reach = max(0.1, math.ceil(reach * 10) / 10)
    rows = []
    for a, b in dict.fromkeys((a, b) for a, b, _ in found):
        tests = [found.get((a, b, name)) for name in names]
        rows.append({"a": a, "b": b, "tests": [test and _on_scale(test, reach) for test in tests]})
    return {"rows": rows, "titles": [METRICS[name].title for name in names], "reach": reach}


def _on_scale(test: Row, reach: float) -> Row:
    start, end = _place(test["low"], -reach, reach), _place(test["high"], -reach, reach)
    at = _place(test["difference"], -reach, reach)
    return {**test, "at": at, "from": start, "width": end - start, "told": test["p_holm"] < ALPHA}


def _tags(comparison: Comparison, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """Exact match by kind of question, the most frequent kind first."""
    counts = {tag: sum(tag in question.tags for question in questions) for tag in comparison.by_tag}
    return [
        {
            "tag": tag,
            "n": counts[tag],
            "cells": [row["exact_match"] for row in comparison.by_tag[tag].values()],
        }
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
    step = _round_step(max(point["late"] for point in points) / 4)
    width = step * (int(max(point["late"] for point in points) / step) + 1)
    for point in points:
        point["x"], point["x95"] = (10 * _place(point[key], 0, width) for key in ("median", "late"))
        for key, value in (("y", "mean"), ("y_low", "low"), ("y_high", "high")):
            point[key] = 400 - 4 * _place(point[value], 0, 1)
    ticks = [{"x": 1000 * step * at / width, "text": f"{step * at:,.0f}"} for at in range(int(width / step) + 1)]
    return {"points": points, "ticks": ticks}


def _round_step(rough: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... at or above a rough distance between ticks."""
    size = 1.0
    while size * 10 < rough:
        size *= 10
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)


def _examples(
    scores: Sequence[Row], records: Sequence[Record], questions: Sequence[Question], seed: int
) -> list[dict[str, Any]]:
    """One question of each telling kind, drawn with the seed from all questions of that kind."""
    found: dict[str, dict[str, Row]] = {}
    for row in scores:
        found.setdefault(row["question_id"], {})[row["setup"]] = row
    answers: dict[str, list[Record]] = {}
    for record in records:
        if record.setup in found.get(record.question_id, {}):
            answers.setdefault(record.question_id, []).append(record)
    draw, chosen = random.Random(seed), []
    taken: set[str] = set()
    for title, test in _KINDS:
        candidates = sorted(
            (question for question in questions if question.id in found and test(question, found[question.id])),
            key=lambda question: question.id,
        )
        fresh = [question for question in candidates if question.id not in taken]
        if fresh:
            question = draw.choice(fresh)
            taken.add(question.id)
            rows = found[question.id]
            cards = [_card(question, record, rows[record.setup]) for record in answers[question.id]]
            chosen.append({"title": title, "of": len(candidates), "question": question, "cards": cards})
    return chosen


def _right(rows: Mapping[str, Row], setup: str) -> bool | None:
    value = rows.get(setup, {}).get("scores", {}).get("exact_match")
    return None if value is None else value == 1.0


def _only_hybrid(question: Question, rows: Mapping[str, Row]) -> bool:
    right = [setup for setup in rows if _right(rows, setup)]
    return question.answerable and right == ["hybrid"]


def _hybrid_fails(question: Question, rows: Mapping[str, Row]) -> bool:
    found = rows.get("hybrid", {}).get("scores", {}).get("retrieval_hit") == 1.0
    return question.answerable and found and _right(rows, "hybrid") is False


def _unanswerable(question: Question, rows: Mapping[str, Row]) -> bool:
    return not question.answerable


def _stale_without_retrieval(question: Question, rows: Mapping[str, Row]) -> bool:
    return rows.get("fine-tuned", {}).get("freshness") == "stale" and _right(rows, "hybrid") is True


_KINDS = (
    ("Only hybrid is right", _only_hybrid),
    ("Hybrid is wrong although the source was found", _hybrid_fails),
    ("A fact that has changed: told as it was without retrieval", _stale_without_retrieval),
    ("A question that the documents do not answer", _unanswerable),
)


def _card(question: Question, record: Record, row: Row) -> dict[str, Any]:
    passages = [
        {
            "number": number,
            "text": passage.heading or passage.title or passage.document_id,
            "document": passage.document_id,
            "gold": bool(matched_sources(question, passage)),
            "cited": number in record.citations,
        }
        for number, passage in enumerate(record.passages, start=1)
    ]
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
    """How the figures came about: counts, versions, seeds, fingerprints."""
    kinds = [
        (sum(question.answerable for question in questions), "answerable"),
        (sum(not question.answerable for question in questions), "not answerable"),
        (sum(bool(question.stale_answers) for question in questions), "about facts that have changed"),
    ]
    facts = [
        (
            "Questions",
            f"{len(questions):,}: " + ", ".join(f"{count:,} {kind}" for count, kind in kinds if count),
        ),
        ("Records", f"{len(records):,}, of which {comparison.failed:,} could not be fully scored"),
        ("Intervals", f"95 %, paired bootstrap, {comparison.resamples:,} resamples shared by all setups"),
        ("Tests", "exact McNemar for shares, sign-flip permutation otherwise; Holm-corrected over the pairs"),
        ("Seed", str(comparison.seed)),
        ("Models", _versions((record.setup, record.model_version) for record in records)),
        (
            "Index",
            _versions((record.setup, record.index_version) for record in records if record.index_version),
        ),
    ]
    facts += [(str(key), str(value)) for key, value in comparison.fingerprints.items()]
    return [(key, value) for key, value in facts if value]


def _versions(pairs: Iterable[tuple[str, str | None]]) -> str:
    """`version (setup, setup)`, so that the reader sees which setups share what."""
    setups: dict[str, list[str]] = {}
    for setup, version in dict.fromkeys(pairs):
        setups.setdefault(str(version), []).append(setup)
    return "; ".join(f"{version} ({', '.join(names)})" for version, names in setups.items())
