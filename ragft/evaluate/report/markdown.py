"""`report.md`: the same findings as the page in text, for a pull request or a mail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ragft.data.questions import Question
from ragft.evaluate.arms import with_arms
from ragft.evaluate.records import Record
from ragft.evaluate.report import charts, tables
from ragft.evaluate.report.confusions import confusions
from ragft.evaluate.report.measured import measured
from ragft.evaluate.report.numbers import title
from ragft.evaluate.report.overview import overview
from ragft.evaluate.report.prices import prices
from ragft.evaluate.score import Comparison

_SPECIAL = str.maketrans({mark: f"\\{mark}" for mark in r"\`*_[]<>|#"} | {"\n": " ", "\r": " "})


def render_markdown(
    comparison: Comparison,
    records: Sequence[Record],
    questions: Sequence[Question],
    *,
    name: str,
    subtitle: str,
) -> str:
    """The comparison as Markdown; what comes from data is escaped. Arguments as for `render_report`."""
    found = overview(comparison, records)
    shown, metric = with_arms(comparison), comparison.measure
    setups = [plain(setup) for setup in shown.setups]
    parts = [f"# {plain(name)}", plain(subtitle), f"## {plain(found.headline)}"]
    for heading, said in (
        ("How sure?", [*found.sure, comparison.verdict["form"], comparison.verdict["interaction"]]),
        ("What does it cost?", found.cost), ("What fails, and why?", found.fails), ("What next?", found.next),
    ):  # fmt: skip
        if lines := [f"- {plain(sentence)}" for sentence in said if sentence]:
            parts += [f"### {heading}", "\n".join(lines)]
    parts.append("## All metrics\n\nMean, 95 % interval, and the number of questions.")
    for section in tables.sections(shown):
        rows = [[plain(row["title"]), *map(_estimate, row["cells"])] for row in section["rows"]]
        parts += [f"### {section['title']}", table(["Metric", *setups], rows)]
    square = tables.square(comparison)
    if square and square["effects"]:
        heading = f"## What retrieval and tuning change in {plain(metric.title)}"
        parts += [heading, _contrasts("Effect", square["effects"])]
    for floor in tables.floors(shown):
        rows = [[plain(row["title"]), *row["cells"]] for row in floor["rows"]]
        parts += ["## What answers score that know nothing", table(["Answerer", *floor["titles"]], rows)]
    if tried := tables.prompts(shown):
        rows = [
            [
                plain(f"{row['setup']}: {row['title']}{', chosen' if row['is_chosen'] else ''}"),
                *map(_estimate, row["cells"]),
            ]
            for row in tried
        ]
        parts += [
            "## Prompts of the setups without tuning",
            table(["Prompt", plain(metric.title), "Format validity"], rows),
        ]
    for forest in tables.forests(shown):
        heading = f"## Differences in {plain(forest['title'])}, in {forest['unit']}"
        parts += [heading, _contrasts("First − second", forest["rows"])]
    if causes := tables.causes(shown):
        counts = [[str(cell["count"]) if cell else "0" for cell in row["cells"]] for row in causes]
        rows = [[plain(row["title"]), *told] for row, told in zip(causes, counts, strict=True)]
        parts += ["## Why answers are wrong", table(["Cause", *setups], rows)]
    if tags := tables.tags(shown, questions):
        rows = [[f"{plain(row['tag'])} ({row['n']})", *map(_estimate, row["cells"])] for row in tags]
        parts += [f"## {plain(title(metric))} by kind of question", table(["Tag", *setups], rows)]
    if scatter := charts.scatter(shown, records):
        rows = [
            [plain(row["setup"]), row["first"], row["median"], row["late"], *row["tokens"]] for row in scatter["rows"]
        ]
        heads = ["Setup", "First token, mean", "Answer, median", "95th percentile", "Prompt tokens", "Answer tokens"]
        parts += ["## Latency and tokens", table(heads, rows)]
    parts += [*_prices(comparison), *_confusions(comparison)]
    facts = [f"- **{key}:** {plain(value)}" for key, value in measured(comparison, records, questions)]
    parts += ["## How it was measured", "\n".join(facts)]
    return "\n\n".join(parts) + "\n"


def _prices(comparison: Comparison) -> list[str]:
    priced = prices(comparison)
    if priced is None:
        return []
    rows = [
        [plain(row["setup"]), row["price"], row["kwh"], row["seconds"], plain(row["reason"] or row["standing"])]
        for row in priced["rows"]
    ]
    heads = ["Setup", f"A thousand answers, {plain(priced['currency'])}", "kWh", "Machine time of one", "Place"]
    lines = "\n".join(f"- {plain(line)}" for line in priced["lines"])
    return ["## What answers cost", table(heads, rows), *([lines] if lines else [])]


def _confusions(comparison: Comparison) -> list[str]:
    parts = []
    for one in confusions(comparison):
        told = f"{plain(one['setup'])}: {one['accuracy']} right"
        told += f" ({one['span']})" if one["span"] else ""
        rows = [[plain(row["gold"]), *(str(cell["count"]) for cell in row["cells"]), row["f1"]] for row in one["rows"]]
        parts += [
            f"### {told}, macro F1 {one['macro_f1']}, n = {one['n']}",
            table(["Right ↓, said →", *map(plain, one["said"]), "F1"], rows),
        ]
    return ["## Which choice was said for which", *parts] if parts else []


def plain(text: str) -> str:
    """Text of one line in which Markdown sees no markup."""
    return text.translate(_SPECIAL)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _estimate(cell: Mapping[str, Any]) -> str:
    failed = f", {cell['failed']} failed" if cell["failed"] else ""
    if cell["bar"] is None:
        return f"–{failed}"
    text = f"**{cell['text']}**" if cell["best"] else cell["text"]
    return f"{text} ({cell['span'] or 'no interval'}; n = {cell['n']}{failed})"


def _contrasts(what: str, rows: Iterable[Mapping[str, Any]]) -> str:
    heads = [what, "Difference", "95 % interval", "Holm's p", "Wins / ties / losses", "n", "Told from 0?"]
    return table(heads, [
        [
            plain(row["label"] or f"{row['a']} − {row['b']}"), row["text"], row["span"], row["p"] or "–",
            row["counts"] or "–", str(row["n"]), "clear" if row["is_clear"] else "may be noise",
        ]
        for row in rows
    ])  # fmt: skip
