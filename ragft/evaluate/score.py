"""Scores records and compares the setups: the same records and rules give the same comparison, without
generating.

Records are joined to questions by id, never by position, and every question must have been answered by every
setup exactly once. What cannot be scored is counted as failed and shown; it never becomes a 0 or a 1.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ragft.errors import RagftError
from ragft.evaluate.metrics import METRICS, Rules, freshness
from ragft.evaluate.records import Question, Record
from ragft.evaluate.statistics import (
    Columns,
    Estimate,
    PairTest,
    Verdict,
    estimates,
    interaction_columns,
    pair_tests,
    verdict,
)
from ragft.setups import SETUPS

Row = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """What `comparison.json` holds.

    Attributes:
        setups: setup -> metric -> `{mean, low, high, n, failed}`; mean is None where the metric never
            applied.
        pairs: every pair of setups on every metric: `{a, b, metric, difference, low, high, p, p_holm, wins,
            ties, losses, n, detectable, needed}`; the difference is a minus b.
        interaction: metric -> `{value, low, high, n}`; empty unless all four setups were compared.
        freshness: setup -> `{right, stale, other, n, right_where_retrieved, n_retrieved}`; shares, None
            without n.
        by_tag: tag -> setup -> `exact_match` -> `{mean, low, high, n}`.
        verdict: `{facts, lenient, form, interaction, best_facts, best_form, text}`.
        fingerprints: of everything that went in, as the caller gives them.
        questions: how many there were.
        failed: records of which at least one metric could not be scored.
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

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Comparison:
        """The comparison that `to_json` wrote.

        Raises:
            TypeError: a field is missing or unknown.
        """
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
        seed: of resamples and permutations.
        resamples: bootstrap resamples and permutations.
        max_failed: largest share of records that may fail.
        fingerprints: kept in the comparison as they are.

    Returns:
        One row per record, `{question_id, setup, scores, details, failed, freshness}`, by question and setup;
        and the comparison.

    Raises:
        RagftError: a question lacks an answer of a setup, has two, or a record belongs to no question; or
            more records failed than allowed.
    """
    joined = _joined(questions, records, setups)
    # One order, whatever the files' order was, so that the same seed draws the same questions.
    ordered = sorted(questions, key=lambda question: question.id)
    rows = [_score_record(question, joined[question.id, name], rules) for question in ordered for name in setups]
    failed = _refuse_too_many_failed(rows, max_failed)
    columns = {name: _columns([row for row in rows if row["setup"] == name]) for name in setups}
    return rows, _compare(ordered, rows, columns, seed, resamples, failed, dict(fingerprints or {}))


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
            raise RagftError(f"There is a record for {where}, but no such question: is it another file's?")
        if key in joined:
            raise RagftError(f"There are two records for {where}: delete the records to write them anew.")
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
    row: Row = {
        "question_id": question.id,
        "setup": record.setup,
        "scores": {},
        "details": {},
        "failed": {},
        "freshness": None,
    }
    for name, metric in METRICS.items():
        try:
            if record.error is not None and metric.applies(question, record):
                row["failed"][name] = record.error
                continue
            result = metric.score(question, record, rules)
        except Exception as error:  # whatever a metric raises, the record is counted and the rest goes on
            row["failed"][name] = f"{type(error).__name__}: {error}"
            continue
        row["scores"][name] = result.value
        if result.detail:
            row["details"][name] = result.detail
    if record.error is None and "fresh" not in row["failed"]:
        row["freshness"] = freshness(question, record, rules)
    return row


def _refuse_too_many_failed(rows: Sequence[Row], max_failed: float) -> int:
    failed = [row for row in rows if row["failed"]]
    if len(failed) > max_failed * len(rows):
        metric, reason = next(iter(failed[0]["failed"].items()))
        raise RagftError(
            f"{len(failed):,} of {len(rows):,} records could not be scored ({len(failed) / len(rows):.1%}; "
            f"{max_failed:.1%} are allowed); the first is question {failed[0]['question_id']!r}, "
            f"setup {failed[0]['setup']}, {metric}: {reason}"
        )
    return len(failed)


def _columns(rows: Sequence[Row]) -> Columns:
    """(questions, metrics) of one setup; NaN where there is no score."""
    values = [[row["scores"].get(name) for name in METRICS] for row in rows]
    # numpy reads None as NaN when asked for floats.
    return np.array(values, dtype=np.float64)


def _compare(
    questions: Sequence[Question],
    rows: Sequence[Row],
    columns: Mapping[str, Columns],
    seed: int,
    resamples: int,
    failed: int,
    fingerprints: dict[str, Any],
) -> Comparison:
    names, metrics = list(columns), list(METRICS)
    means = _means(columns, seed, resamples)
    pairs = [(names[later], names[earlier]) for later in range(len(names)) for earlier in range(later)]
    lower = frozenset(name for name, metric in METRICS.items() if metric.better == "lower")
    tests = pair_tests(columns, pairs, metrics, lower_is_better=lower, seed=seed, resamples=resamples)
    interaction: dict[str, Estimate] = {}
    if set(SETUPS) <= set(names):
        found = estimates(interaction_columns(columns), seed=seed, resamples=resamples)
        interaction = {name: estimate for name, estimate in zip(metrics, found, strict=True) if estimate.n}
    setups = {
        name: {
            metric: {
                **dataclasses.asdict(means[name][metric]),
                "failed": sum(metric in row["failed"] for row in rows if row["setup"] == name),
            }
            for metric in metrics
        }
        for name in names
    }
    return Comparison(
        setups=setups,
        pairs=[dataclasses.asdict(test) for test in tests],
        interaction={
            name: {"value": item.mean, "low": item.low, "high": item.high, "n": item.n}
            for name, item in interaction.items()
        },
        freshness={name: _freshness([row for row in rows if row["setup"] == name]) for name in names},
        by_tag=_by_tag(questions, columns, seed, resamples),
        verdict=_verdict_json(_verdict(means, tests, interaction)),
        questions=len(questions),
        failed=failed,
        seed=seed,
        resamples=resamples,
        fingerprints=fingerprints,
    )


def _means(columns: Mapping[str, Columns], seed: int, resamples: int) -> dict[str, dict[str, Estimate]]:
    """Per setup and metric, its mean with its interval; all from the same resamples."""
    side_by_side = np.concatenate(list(columns.values()), axis=1)
    shares = [metric.unit == "share" for metric in METRICS.values()] * len(columns)
    found = iter(estimates(side_by_side, seed=seed, resamples=resamples, shares=shares))
    return {name: {metric: next(found) for metric in METRICS} for name in columns}


def _verdict(
    means: Mapping[str, Mapping[str, Estimate]],
    tests: Sequence[PairTest],
    interaction: Mapping[str, Estimate],
) -> Verdict:
    return verdict(
        {name: metrics["exact_match"] for name, metrics in means.items()},
        {name: metrics["format_validity"] for name, metrics in means.items()},
        {name: metrics["contains"] for name, metrics in means.items()},
        tests,
        interaction.get("exact_match"),
    )


def _verdict_json(words: Verdict) -> dict[str, Any]:
    values = dataclasses.asdict(words)
    best = {"best_facts": list(words.best_facts), "best_form": list(words.best_form)}
    return {**values, **best, "text": str(words)}


def _freshness(rows: Sequence[Row]) -> Row:
    """Shares of right, stale and other among the questions whose fact has changed."""
    changed = [row for row in rows if row["freshness"] is not None]
    retrieved = [row for row in changed if row["scores"].get("retrieval_hit") == 1.0]
    shares: Row = {
        kind: _share(sum(row["freshness"] == kind for row in changed), len(changed))
        for kind in ("right", "stale", "other")
    }
    right = sum(row["freshness"] == "right" for row in retrieved)
    return {
        **shares,
        "n": len(changed),
        "right_where_retrieved": _share(right, len(retrieved)),
        "n_retrieved": len(retrieved),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _by_tag(
    questions: Sequence[Question], columns: Mapping[str, Columns], seed: int, resamples: int
) -> dict[str, dict[str, dict[str, Row]]]:
    """Exact match per kind of question and setup."""
    tags = sorted({tag for question in questions for tag in question.tags})
    at = list(METRICS).index("exact_match")
    keys = [(tag, name) for tag in tags for name in columns]
    if not keys:
        return {}
    has = {tag: np.array([tag in question.tags for question in questions]) for tag in tags}
    values = np.stack([np.where(has[tag], columns[name][:, at], np.nan) for tag, name in keys], axis=1)
    found = estimates(values, seed=seed, resamples=resamples, shares=[True] * len(keys))
    result: dict[str, dict[str, dict[str, Row]]] = {tag: {} for tag in tags}
    for (tag, name), estimate in zip(keys, found, strict=True):
        result[tag][name] = {"exact_match": dataclasses.asdict(estimate)}
    return result


def write_comparison(folder: Path, scores: Sequence[Row], comparison: Comparison) -> None:
    """Writes `scores.jsonl` and `comparison.json`, each whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in scores)
    _write_whole(folder / "scores.jsonl", lines)
    text = json.dumps(comparison.to_json(), ensure_ascii=False, allow_nan=False, indent=2)
    # Last: who finds a comparison finds its scores.
    _write_whole(folder / "comparison.json", text + "\n")


def _write_whole(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner reads; a report is read by others.
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
