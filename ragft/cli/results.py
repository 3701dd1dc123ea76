"""Results of stages, shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index.refresh.refresh import RefreshReport
    from ragft.artifacts import Artifact
    from ragft.evaluate.score import Comparison
    from ragft.evaluate.statistics import Plan
    from ragft.stages.application import Application
    from ragft.stages.review import Applied


def show_artifact(app: Application, artifact: Artifact, *lines: Any, **values: Any) -> None:
    """What a stage made.

    Args:
        lines: shown to people, above the folder.
        values: for `--json`, besides the figures.
    """
    app.reporter.result(
        {"folder": str(artifact.folder), "fingerprint": artifact.fingerprint, **artifact.figures, **values},
        *lines, f"Result: {artifact.folder}",
    )  # fmt: skip


def cleaned_lines(figures: Mapping[str, Any]) -> list[str]:
    """What became of the rows of a cleaned copy, for people."""
    changed = f"{figures['changed']:,} of them changed, {figures['tidied']:,} texts tidied"
    lines = [f"{figures['kept']:,} of {figures['rows']:,} rows kept, {changed}"]
    for verb, counts in (("dropped", figures["dropped"]), ("masked", figures["masked"])):
        if counts:
            lines.append(f"{verb}: {', '.join(f'{kind} ({count:,})' for kind, count in counts.items())}")
    return lines


def show_evaluation(app: Application, artifact: Artifact, lines: Sequence[Any] = (), **values: Any) -> None:
    """The comparison of the setups.

    Args:
        lines: shown to people, above the path of the report.
        values: for `--json`, besides the figures.
    """
    from ragft.evaluate.costs import cost_lines
    from ragft.evaluate.report import comparison_table
    from ragft.evaluate.score import Comparison

    comparison = Comparison.from_json(json.loads((artifact.folder / "comparison.json").read_text(encoding="utf-8")))
    first = [f"{setup}: {causes[0]['text']}" for setup, causes in comparison.causes.items() if causes]
    app.reporter.result(
        {"folder": str(artifact.folder), "fingerprint": artifact.fingerprint, **artifact.figures, **values},
        comparison_table(comparison), *_arm_lines(comparison),
        *(["Wrong answers, by their most frequent cause:", *first] if first else []),
        *_unscored_lines(comparison), *cost_lines(comparison.costs, comparison.measure), *lines,
        f"Report: {artifact.folder / 'report.html'}",
    )  # fmt: skip


def _unscored_lines(comparison: Comparison) -> list[str]:
    """Answers that a metric could not score, which are left out of it for every setup."""
    from ragft.console import counted

    counts: dict[str, int] = {}
    for failed in comparison.failures.values():
        for metric, count in failed["metrics"].items():
            counts[metric] = counts.get(metric, 0) + count
    return [
        f"{metric} could not score {counted(count, 'answer')}, and leaves out the questions for every setup: see "
        "scores.jsonl"
        for metric, count in counts.items()
    ]


def _arm_lines(comparison: Comparison) -> list[str]:
    """A line for each arm: what decides, with its interval."""
    decides = comparison.measure
    found = {name: metrics[decides.name] for name, metrics in comparison.arms.get("setups", {}).items()}
    return [
        f"Arm {name}: {decides.title} {one['mean']:.1%} ({one['low']:.1%} to {one['high']:.1%}, n = {one['n']})"
        for name, one in found.items()
        if one["mean"] is not None
    ]


def show_forgetting(app: Application, artifact: Artifact) -> None:
    """What tuning cost in general ability."""
    from ragft.console import counted
    from ragft.evaluate.suites.forgetting import Forgotten, forgetting_table, rounding_sentence, sentence

    figures, margin = artifact.figures, app.config.evaluate.general.margin
    results, rounding = (
        [Forgotten.from_json(values) for values in figures.get(kind, ())] for kind in ("results", "rounding")
    )
    left_out = [
        f"{task}: {count} questions are longer than the model has positions, and are left out"
        for task, count in figures["unread"].items()
        if count
    ]
    left_out += [
        f"{task}: {count} instructions are left out, because no rule verifies all that they ask"
        for task, count in figures["unverifiable"].items()
        if count
    ]
    left_out += [
        f"{counted(count, 'answer')} of the {model} model failed, and counts as not kept"
        for model, count in figures["failed"].items()
        if count
    ]
    app.reporter.result(
        {"folder": str(artifact.folder), "fingerprint": artifact.fingerprint, "margin": margin, **figures},
        forgetting_table(results, margin), *left_out, *(sentence(one, margin) for one in results if one.primary),
        *map(rounding_sentence, rounding), f"Result: {artifact.folder / 'forgetting.json'}",
    )  # fmt: skip


def show_judgement(app: Application, artifact: Artifact) -> None:
    """What a judge said of answers."""
    from ragft.evaluate.judges.tables import judgement_tables

    path = artifact.folder / "judgement.json"
    shown = judgement_tables(json.loads(path.read_text(encoding="utf-8")))
    show_artifact(app, artifact, *shown, f"Figures: {path}")


def show_opinion(app: Application, artifact: Artifact) -> None:
    """What people said on sheets."""
    from ragft.evaluate.people.tables import opinion_lines

    told = json.loads((artifact.folder / "opinion.json").read_text(encoding="utf-8"))
    labels = f"Labels for evaluate.judge.labels: {artifact.folder / 'labels.jsonl'}"
    show_artifact(app, artifact, *opinion_lines(told), labels)


def show_plans(app: Application, plans: Sequence[Plan]) -> None:
    """How many questions and documents a difference takes, by how much the questions of one document have in common."""
    from dataclasses import asdict

    from rich import box
    from rich.table import Table

    first = plans[0]
    table = Table(
        "what questions of a document have in common", box=box.SIMPLE_HEAD, caption_justify="left",
        caption=f"To detect a difference of {100 * first.difference:g} points at 5 % with 80 % power, over "
        f"{first.tests} pairs, at {first.questions_per_document:.1f} questions a document, where two setups disagree "
        f"on {100 * first.disagreement:g} % of the questions, or differ by that much on average. Questions are those "
        f"that {app.config.evaluate.decides} applies to.",
    )  # fmt: skip
    for name in ("questions", "documents"):
        table.add_column(name, justify="right")
    words = {0.0: "nothing", 0.1: "a little (correlation 0.1)", 0.3: "much (correlation 0.3)"}
    for plan in plans:
        table.add_row(
            words.get(plan.correlation, f"{plan.correlation:g}"), f"{plan.questions:,}", f"{plan.documents:,}"
        )
    app.reporter.result({"plans": [asdict(plan) for plan in plans]}, table)


def show_refresh(
    app: Application,
    report: RefreshReport,
    more: Mapping[str, Any] = MappingProxyType({}),
    remarks: Sequence[str] = (),
    *,
    dry_run: bool = False,
) -> bool:
    """Prints what a refresh did, or would do, and returns whether somebody must look after it.

    Args:
        more: values for `--json` beside those of the report.
        remarks: lines for people beside those of the report.
    """
    from ragft.stages.recognition import recognition_line
    from ragft.stages.refresh_report import (
        counts_of,
        document_lines,
        estimate_line,
        held_sentence,
        outcome_of,
        plan_line,
    )

    say, result = app.reporter.say, app.reporter.result
    state = "would be published in" if dry_run else "published in" if report.published else "is up to date in"
    if report.held:
        state = "is held back in"
    result(
        {
            "snapshot": report.snapshot_id, **outcome_of(report), "skipped": len(report.skipped),
            "skipped_files": [{"path": item.path, "reason": item.reason} for item in report.skipped],
            **counts_of(report), **more,
        },
        *(document_lines(report) if dry_run else ()),
        plan_line(report),
        *([recognition_line(report.scanned, report.scanned_seconds)] if report.scanned else []),
        *([estimate_line(report.estimate)] if report.estimate else []),
        *remarks,
        f"Snapshot {report.snapshot_id} {state} {app.index_root}",
    )  # fmt: skip
    if report.held:
        say(held_sentence(report))
    if report.refusal:
        say(f"The refresh would be refused: {report.refusal}")
    return bool(report.skipped or report.kept or report.held or report.refusal)


def show_generated(app: Application, artifact: Artifact) -> None:
    """What was generated, what was rejected, and what it took."""
    from ragft.console import counted, duration

    figures, folder = artifact.figures, app.config.data.generate.folder
    lines = []
    for name in ("examples", "questions"):
        part = figures[name]
        shapes = ", ".join(f"{shape} {count}" for shape, count in part["shapes"].items())
        short = f" of {part['wanted']} wanted" if part["count"] < part["wanted"] else ""
        lines.append(
            f"{part['count']} {name}{short} from {counted(part['groups'], 'group')} of documents: {shapes}; "
            f"{part['hard']} hard, because the retriever misses a source"
        )
    rejected = figures["rejected"]
    reasons = ", ".join(f"{check} {count}" for check, count in rejected.items())
    lines.append(f"{counted(sum(rejected.values()), 'candidate')} rejected{f': {reasons}' if reasons else ''}")
    asked = figures["model"]
    if asked["requests"]:
        price = "" if asked["price"] is None else f", {asked['price']:.2f} {asked['currency']}"
        tokens = f"{asked['prompt_tokens']:,} and {asked['answer_tokens']:,} tokens"
        lines.append(f"{counted(asked['requests'], 'request')} to the model: {tokens}{price}")
    if figures["unanswered_requests"]:
        failed = counted(figures["unanswered_requests"], "request")
        lines.append(f"{failed} without a reply, asked again next time; the first: {figures['first_unanswered']}")
    lines.append(f"Took {duration(figures['seconds'])}")
    app.reporter.result(
        {"folder": str(folder), "fingerprint": artifact.fingerprint, **figures}, *lines, f"Result: {folder}"
    )


def show_applied(app: Application, out: Path, applied: Applied, log: Path) -> None:
    """What became of reviewed rows."""
    from ragft.console import counted

    why = {name: count for name in ("rejected", "undecided", "conflict") if (count := applied.count(name))}
    values = {"file": str(out), "rows": len(applied.rows), "left_out": why, "log": str(log)}
    told = ", ".join(f"{count} {name}" for name, count in why.items())
    lines = [f"{counted(len(applied.left_out), 'row')} left out ({told}): {log}"] if why else []
    app.reporter.result(values, *lines, f"{counted(len(applied.rows), 'row')} in {out}")
