"""Two evaluations of the same questions compared: what changed from one to the other, and whether it is noise."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragft.console import counted, some
from ragft.data.jsonl import read_objects
from ragft.data.questions import Question, read_questions
from ragft.errors import UsageError
from ragft.evaluate.metrics import METRICS, Measure
from ragft.evaluate.rows import Row
from ragft.evaluate.score import Comparison
from ragft.evaluate.statistics import cluster_questions, pair_tests

SHOWN = ("exact_match", "contains", "format_validity", "latency_ms")
"""Metrics that are told to people, beside the one that decides."""
_AFTER, _BEFORE = "after", "before"


@dataclass(frozen=True)
class Run:
    """An evaluation as its folder holds it: the comparison, the questions, and rows of scores by question and setup."""

    folder: Path
    comparison: Comparison
    questions: dict[str, Question]
    rows: dict[tuple[str, str], Row]


@dataclass(frozen=True)
class RunComparison:
    """Two runs compared on the questions that both asked.

    Attributes:
        tests: for each setup in both and each metric `{setup, metric, difference, low, high, p, p_holm, ...}`; the
            difference is after minus before, Holm's correction is over the setups.
        changed: `{question_id, question, setup, change}` where exact match changed: `"gained"` or `"lost"`.
        only_before, only_after: ids of questions that only one of the two asked.
        decides: the metric that decides on facts in the later run, as `Measure.described` says it.
    """

    questions: int
    setups: list[str]
    tests: list[dict[str, Any]]
    changed: list[dict[str, str]]
    only_before: list[str]
    only_after: list[str]
    decides: dict[str, Any]


def read_run(folder: Path) -> Run:
    """The evaluation in a folder.

    Raises:
        UsageError: there is none, or it is of a version that did not keep its questions.
    """
    if not (folder / "comparison.json").is_file():
        raise UsageError(
            f"{folder} holds no evaluation: name a folder with comparison.json, as `ragft evaluate` prints."
        )
    if not (folder / "questions.jsonl").is_file():
        raise UsageError(
            f"{folder} is of an older version and lacks questions.jsonl: run `ragft score` to write it anew."
        )
    try:
        comparison = Comparison.from_json(json.loads((folder / "comparison.json").read_text(encoding="utf-8")))
        rows = {
            (row["question_id"], row["setup"]): row for _, row in read_objects(folder / "scores.jsonl", "scores", "")
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} cannot be read as an evaluation ({type(error).__name__}: {error}): run `ragft score` to write "
            "it anew."
        ) from None
    return Run(folder, comparison, {each.id: each for each in read_questions(folder / "questions.jsonl")}, rows)


def compare_runs(before: Run, after: Run) -> RunComparison:
    """What changed from one run to the other, paired by question.

    Raises:
        UsageError: they asked different questions, or have no setup in common.
    """
    both = f"{before.folder} and {after.folder}"
    common = [name for name in before.questions if name in after.questions]
    if not common:
        raise UsageError(f"{both} have no question in common: compare runs of the same ones.")
    other = [name for name in common if _asked(before.questions[name]) != _asked(after.questions[name])]
    if other:
        raise UsageError(
            f"{both} ask different things under the same id ({some(other)}): score both with the same questions, by "
            "`ragft score`."
        )
    setups = [setup for setup in before.comparison.setups if setup in after.comparison.setups]
    if not setups:
        raise UsageError(f"{both} have no setup in common: compare runs of the same setups.")
    return RunComparison(
        len(common), setups, _tests(before, after, common, setups), _changed(before, after, common, setups),
        [name for name in before.questions if name not in after.questions],
        [name for name in after.questions if name not in before.questions], after.comparison.decides,
    )  # fmt: skip


def _asked(question: Question) -> tuple[Any, ...]:
    return question.spoken, question.answers, question.answerable


def _tests(before: Run, after: Run, common: Sequence[str], setups: Sequence[str]) -> list[dict[str, Any]]:
    """Both runs as columns of one table, a pair for each setup, so that the clusters and the correction are shared."""
    known = {**METRICS, after.comparison.measure.name: after.comparison.measure}
    metrics = [name for name in known if all(name in run.comparison.setups[setups[0]] for run in (before, after))]
    columns = {
        f"{name} {setup}": _columns(run.rows, common, setup, metrics)
        for name, run in ((_BEFORE, before), (_AFTER, after))
        for setup in setups
    }
    pairs = [(f"{_AFTER} {setup}", f"{_BEFORE} {setup}") for setup in setups]
    tests = pair_tests(
        columns, pairs, metrics, cluster_questions([after.questions[name] for name in common]),
        shares=frozenset(name for name in metrics if known[name].unit == "share"),
        lower_is_better=frozenset(name for name in metrics if known[name].better == "lower"),
        seed=after.comparison.seed, resamples=after.comparison.resamples,
    )  # fmt: skip
    return [{"setup": test.a.removeprefix(f"{_AFTER} "), **_without_pair(asdict(test))} for test in tests]


def _without_pair(test: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in test.items() if key not in ("a", "b")}


def _columns(
    rows: Mapping[tuple[str, str], Row], common: Sequence[str], setup: str, metrics: Sequence[str]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(questions, metrics) float64; NaN where there is no score."""
    found = [rows.get((name, setup), {"scores": {}})["scores"] for name in common]
    return np.array([[scores.get(metric) for metric in metrics] for scores in found], dtype=np.float64)


def _changed(before: Run, after: Run, common: Sequence[str], setups: Sequence[str]) -> list[dict[str, str]]:
    changed = []
    for name in common:
        for setup in setups:
            was, now = (_is_right(run.rows.get((name, setup))) for run in (before, after))
            if was is not None and now is not None and was != now:
                change = "gained" if now else "lost"
                text = after.questions[name].spoken
                changed.append({"question_id": name, "question": text, "setup": setup, "change": change})
    return changed


def _is_right(row: Row | None) -> bool | None:
    value = row["scores"].get("exact_match") if row else None
    return None if value is None else value == 1.0


def sentences(compared: RunComparison) -> list[str]:
    """The comparison for people, a line for each setup and metric, then the questions that changed."""
    from ragft.evaluate.report.numbers import difference, title
    from ragft.evaluate.statistics import ALPHA
    from ragft.evaluate.verdict import p_text

    said = [f"Paired on {counted(compared.questions, 'question')} that both runs asked; after minus before:"]
    for test in compared.tests:
        metric = METRICS.get(test["metric"]) or Measure(**compared.decides)
        if metric.name not in (*SHOWN, compared.decides["name"]):
            continue
        low, high = difference(metric, test["low"]), difference(metric, test["high"])
        unit = "points" if metric.unit == "share" else metric.unit
        told = "clear" if test["p_holm"] < ALPHA else "may be noise"
        said.append(
            f"  {test['setup']}, {title(metric)}: {difference(metric, test['difference'])} {unit} ({low} to {high}), "
            f"{p_text(test['p_holm'])}, {test['wins']} better, {test['losses']} worse, n = {test['n']}: {told}"
        )
    for change, what in (("gained", "now right"), ("lost", "no longer right")):
        for setup in compared.setups:
            found = [each for each in compared.changed if (each["change"], each["setup"]) == (change, setup)]
            if found:
                said.append(f"  {setup}, {what} on {len(found)}: {some([each['question_id'] for each in found])}")
    for ids, which in ((compared.only_before, "before"), (compared.only_after, "after")):
        if ids:
            said.append(f"Left out, asked {which} only: {some(ids)}.")
    return said
