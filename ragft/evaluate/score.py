"""Scores records and compares the setups: the same records and rules give the same comparison, without an engine.

Records are joined to questions by id, never by position, and every setup must have answered every question exactly
once. What cannot be scored is counted as failed and shown; it never becomes a 0 or a 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from index.durable import write_file
from ragft.data.jsonl import to_lines
from ragft.data.questions import Question
from ragft.errors import RagftError
from ragft.evaluate.metrics import METRICS, Rules, Score
from ragft.evaluate.metrics.facts import freshness
from ragft.evaluate.records import Record
from ragft.evaluate.statistics import Columns, Estimate, estimates, interaction_columns, pair_tests
from ragft.evaluate.verdict import verdict
from ragft.setups import SETUPS

Row = dict[str, Any]
_Estimator = Callable[..., list[Estimate]]


@dataclass(frozen=True)
class Comparison:
    """What `comparison.json` holds.

    Attributes:
        setups: setup -> metric -> `{mean, low, high, n, failed}`; mean is None where the metric never applied.
        pairs: every pair of setups on every metric: `{a, b, metric, difference, low, high, p, p_holm, wins, ties,
            losses, n, detectable, needed}`; the difference is a minus b.
        interaction: metric -> `{value, low, high, n}`; empty unless all four setups were compared.
        freshness: setup -> `{right, stale, other, n, right_where_retrieved, n_retrieved}`; shares, None without n.
        by_tag: tag -> setup -> `exact_match` -> `{mean, low, high, n}`.
        verdict: `{facts, lenient, form, interaction, best_facts, best_form, text}`.
        causes: setup -> why its wrong answers are wrong, as `ragft.evaluate.attribution.summary` says; empty: not told.
        arms: what was compared beside the setups, as `ragft.evaluate.arms.arms_beside` returns it; empty: nothing.
        failed: number of records that at least one metric could not score.
        fingerprints: what identifies the inputs, as the caller gives it.
    """

    setups: dict[str, dict[str, Row]]
    pairs: list[Row]
    interaction: dict[str, Row]
    freshness: dict[str, Row]
    by_tag: dict[str, dict[str, dict[str, Row]]]
    verdict: dict[str, Any]
    questions: int
    failed: int
    seed: int
    resamples: int
    fingerprints: dict[str, Any] = field(default_factory=dict)
    causes: dict[str, list[Row]] = field(default_factory=dict)
    arms: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Comparison:
        """The comparison that `comparison.json` holds."""
        return cls(**values)


def score(
    questions: Sequence[Question],
    records: Sequence[Record],
    rules: Rules,
    *,
    setups: Sequence[str],
    seed: int,
    resamples: int,
    max_failed: float,
    fingerprints: Mapping[str, Any] | None = None,
) -> tuple[list[Row], Comparison]:
    """Scores every record with every metric and compares the setups.

    Args:
        setups: names, in the order to show them; a pair's difference is the later minus the earlier.
        resamples: number of bootstrap resamples, and of permutations.
        max_failed: largest share of records that may fail.

    Returns:
        One row per record, `{question_id, setup, scores, details, failed, freshness}`, by question and setup; and the
        comparison.

    Raises:
        RagftError: a setup answered a question not at all or twice, a record belongs to no question, or more records
            failed than allowed.
    """
    joined = _joined(questions, records, setups)
    # Sorted, so that the same seed draws the same questions whatever the order of the file.
    ordered = sorted(questions, key=lambda question: question.id)
    rows = [_score_record(question, joined[question.id, name], rules) for question in ordered for name in setups]
    _refuse_too_many_failed(rows, max_failed)
    rows_of = {name: [row for row in rows if row["setup"] == name] for name in setups}
    columns = {name: _columns(rows_of[name]) for name in setups}
    estimate = partial(estimates, seed=seed, resamples=resamples)
    means, interaction = _means(columns, estimate), _interaction(columns, estimate)
    pairs = [(setups[later], setups[earlier]) for later in range(len(setups)) for earlier in range(later)]
    lower = frozenset(name for name, metric in METRICS.items() if metric.better == "lower")
    tests = pair_tests(columns, pairs, list(METRICS), lower_is_better=lower, seed=seed, resamples=resamples)
    facts, form, lenient = (
        {name: means[name][metric] for name in setups} for metric in ("exact_match", "format_validity", "contains")
    )
    return rows, Comparison(
        setups={
            name: {
                metric: {**asdict(mean), "failed": sum(metric in row["failed"] for row in rows_of[name])}
                for metric, mean in means[name].items()
            }
            for name in setups
        },
        pairs=[asdict(test) for test in tests],
        interaction={
            name: {"value": item.mean, "low": item.low, "high": item.high, "n": item.n}
            for name, item in interaction.items()
        },
        freshness={name: _freshness(rows_of[name]) for name in setups},
        by_tag=_by_tag(ordered, columns, estimate),
        verdict=verdict(facts, form, lenient, tests, interaction.get("exact_match")).to_json(),
        questions=len(questions),
        failed=sum(bool(row["failed"]) for row in rows),
        seed=seed,
        resamples=resamples,
        fingerprints=dict(fingerprints or {}),
    )


def _joined(
    questions: Sequence[Question], records: Sequence[Record], setups: Sequence[str]
) -> dict[tuple[str, str], Record]:
    """Records by (question id, setup), each exactly once."""
    if not questions:
        raise RagftError("There are no questions to score.")
    ids = {question.id for question in questions}
    joined: dict[tuple[str, str], Record] = {}
    for record in records:
        if record.setup not in setups:
            continue
        key = (record.question_id, record.setup)
        where = f"question {record.question_id!r}, setup {record.setup}"
        if record.question_id not in ids:
            raise RagftError(f"There is a record for {where}, but no such question: name its file with --questions.")
        if key in joined:
            raise RagftError(f"There are two records for {where}: delete one of them.")
        joined[key] = record
    wanted = [(question.id, name) for question in questions for name in setups]
    missing = [key for key in wanted if key not in joined]
    if missing:
        raise RagftError(
            f"{len(missing):,} of {len(wanted):,} records are missing, the first for question "
            f"{missing[0][0]!r}, setup {missing[0][1]}: run `ragft evaluate` again to complete them."
        )
    return joined


def _score_record(question: Question, record: Record, rules: Rules) -> Row:
    results: dict[str, Score] = {}
    failed: dict[str, str] = {}
    for name, metric in METRICS.items():
        try:
            if record.error is not None and metric.applies(question, record):
                failed[name] = record.error
            else:
                results[name] = metric.score(question, record, rules)
        except Exception as error:  # whatever a metric raises, the record counts as failed and the rest is scored
            failed[name] = f"{type(error).__name__}: {error}"
    scores = {name: result.value for name, result in results.items()}
    details = {name: result.detail for name, result in results.items() if result.detail}
    state = freshness(question, record, rules) if record.error is None and "fresh" not in failed else None
    return {
        "question_id": question.id, "setup": record.setup,
        "scores": scores, "details": details, "failed": failed, "freshness": state,
    }  # fmt: skip


def _refuse_too_many_failed(rows: Sequence[Row], max_failed: float) -> None:
    failed = [row for row in rows if row["failed"]]
    if len(failed) > max_failed * len(rows):
        metric, reason = next(iter(failed[0]["failed"].items()))
        raise RagftError(
            f"{len(failed):,} of {len(rows):,} records could not be scored ({len(failed) / len(rows):.1%}; "
            f"{max_failed:.1%} are allowed); the first is question {failed[0]['question_id']!r}, "
            f"setup {failed[0]['setup']}, {metric}: {reason}"
        )


def _columns(rows: Sequence[Row]) -> Columns:
    """(questions, metrics) of one setup; NaN where there is no score."""
    # numpy reads None as NaN when asked for floats.
    return np.array([[row["scores"].get(name) for name in METRICS] for row in rows], dtype=np.float64)


def _means(columns: Mapping[str, Columns], estimate: _Estimator) -> dict[str, dict[str, Estimate]]:
    """Per setup and metric, its mean with its interval; all from the same resamples."""
    side_by_side = np.concatenate(list(columns.values()), axis=1)
    shares = [metric.unit == "share" for metric in METRICS.values()] * len(columns)
    found = iter(estimate(side_by_side, shares=shares))
    return {name: {metric: next(found) for metric in METRICS} for name in columns}


def _interaction(columns: Mapping[str, Columns], estimate: _Estimator) -> dict[str, Estimate]:
    """The interaction of tuning and retrieval by metric; empty unless all four setups are compared."""
    if not set(SETUPS) <= set(columns):
        return {}
    found = zip(METRICS, estimate(interaction_columns(columns)), strict=True)
    return {metric: item for metric, item in found if item.n}


def _freshness(rows: Sequence[Row]) -> Row:
    """Shares of right, stale and other answers among the questions whose fact has changed."""
    changed = [row for row in rows if row["freshness"] is not None]
    retrieved = [row for row in changed if row["scores"].get("retrieval_hit") == 1.0]
    return {
        **{kind: _share_of(kind, changed) for kind in ("right", "stale", "other")},
        "n": len(changed),
        "right_where_retrieved": _share_of("right", retrieved),
        "n_retrieved": len(retrieved),
    }


def _share_of(kind: str, rows: Sequence[Row]) -> float | None:
    return sum(row["freshness"] == kind for row in rows) / len(rows) if rows else None


def _by_tag(
    questions: Sequence[Question], columns: Mapping[str, Columns], estimate: _Estimator
) -> dict[str, dict[str, dict[str, Row]]]:
    """Exact match per tag and setup."""
    exact = list(METRICS).index("exact_match")
    values = {
        (tag, name): np.where([tag in question.tags for question in questions], column[:, exact], np.nan)
        for tag in sorted({tag for question in questions for tag in question.tags})
        for name, column in columns.items()
    }
    by_tag: dict[str, dict[str, dict[str, Row]]] = {}
    if values:
        found = estimate(np.stack(list(values.values()), axis=1), shares=[True] * len(values))
        for (tag, name), item in zip(values, found, strict=True):
            by_tag.setdefault(tag, {})[name] = {"exact_match": asdict(item)}
    return by_tag


def write_comparison(folder: Path, scores: Sequence[Row], comparison: Comparison) -> None:
    """Writes `scores.jsonl` and `comparison.json`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "scores.jsonl", to_lines(scores))
    text = json.dumps(asdict(comparison), ensure_ascii=False, allow_nan=False, indent=2)
    # Last, so that where there is a comparison, there are its scores.
    write_file(folder / "comparison.json", f"{text}\n".encode())
