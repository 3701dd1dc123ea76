"""Scores records and compares the setups: the same records and rules give the same comparison, without an engine.

Records are joined to questions by id, never by position, and every setup must have answered every question exactly
once. A question that got no answer was answered wrongly: it counts as 0 on facts and form, and is shown as failed. What
a metric could not score is left out for all setups, so that they are compared on the same questions.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from ragft.evaluate.metrics.choices import classification
from ragft.evaluate.metrics.facts import freshness
from ragft.evaluate.metrics.floors import floors
from ragft.evaluate.records import PassageRef, Record
from ragft.evaluate.statistics import (
    Bounds,
    Clusters,
    Columns,
    Effect,
    Estimate,
    cluster_questions,
    estimates,
    factor_effects,
    pair_tests,
)
from ragft.evaluate.verdict import verdict
from ragft.patterns import SlowPattern
from ragft.setups import SETUPS

Row = dict[str, Any]
_SHARES = (0.0, 1.0)


@dataclass(frozen=True)
class Comparison:
    """What `comparison.json` holds. An interval is `low`, `high`: null where there are too few clusters for one.

    Attributes:
        setups: setup -> metric -> `{mean, low, high, n, clusters, failed}`; mean is None where it never applied.
        pairs: every pair of setups on every metric: `{a, b, metric, difference, low, high, p, p_holm, wins, ties,
            losses, n, detectable, needed, clusters, design_effect}`; the difference is a minus b.
        interaction: metric -> `{value, low, high, n, p, p_holm}`; empty unless all four setups were compared.
        freshness: setup -> `{right, stale, other, n, right_where_retrieved, n_retrieved}`; shares, None without n.
        by_tag: tag -> setup -> `exact_match` -> `{mean, low, high, n, clusters}`.
        verdict: `{facts, lenient, form, interaction, effects, failures, clusters, best_facts, best_form, text}`.
        causes: setup -> why its wrong answers are wrong, as `ragft.evaluate.attribution.summary` says; empty: not told.
        arms: what was compared beside the setups, as `ragft.evaluate.arms.arms_beside` returns it; empty: nothing.
        costs: what answers and training cost, as `ragft.evaluate.costs.costs` returns it; empty: no rates are given.
        failed: number of records that at least one metric could not score, or that hold no answer.
        fingerprints: what identifies the inputs, as the caller gives it.
        effects: metric -> `tuning`, `retrieval`, `interaction` -> `{value, low, high, p, p_holm, n, clusters}`, Holm's
            correction being over the three; empty unless all four setups were compared.
        clusters: `{count, largest}`: groups of related questions, and how many questions are in the largest.
        failures: setup -> `{answers, metrics}`: questions without an answer, which count as wrong; and metric ->
            records that it could not score, which count for no setup.
        floors: what answers score that know nothing: answerer -> metric -> `{mean, n}`.
        classification: setup -> `{accuracy, macro_f1, n, f1, confusion}`; empty unless `answer.choices` are declared.
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
    effects: dict[str, dict[str, Row]] = field(default_factory=dict)
    clusters: dict[str, int] = field(default_factory=dict)
    failures: dict[str, Row] = field(default_factory=dict)
    floors: dict[str, dict[str, Row]] = field(default_factory=dict)
    classification: dict[str, Row] = field(default_factory=dict)
    causes: dict[str, list[Row]] = field(default_factory=dict)
    arms: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Comparison:
        """The comparison that `comparison.json` holds."""
        return cls(**values)


@dataclass(frozen=True)
class Scored:
    """Records scored by every metric, as the statistics take them.

    Attributes:
        questions: sorted by id, so that the same seed draws the same ones whatever the order of the file.
        records: by question id and setup.
        rows: of each setup by its name, in the order of the questions; see `score`.
        columns: (questions, metrics) of each setup, the metrics being those of `METRICS`; NaN where there is no score,
            and where a metric failed, for every setup.
        clusters: of the questions.
    """

    questions: list[Question]
    records: dict[tuple[str, str], Record]
    rows: dict[str, list[Row]]
    columns: dict[str, Columns]
    clusters: Clusters


def scored(
    questions: Sequence[Question], records: Sequence[Record], rules: Rules, *, setups: Sequence[str], max_failed: float
) -> Scored:
    """Scores every record with every metric; arguments and errors are those of `score`."""
    joined = _joined(questions, records, setups)
    ordered = sorted(questions, key=lambda question: question.id)
    rows = score_rows([(question, joined[question.id, name]) for question in ordered for name in setups], rules)
    rows_of = {name: [row for row in rows if row["setup"] == name] for name in setups}
    _refuse_too_many_failed(rows_of, max_failed)
    documents = {passage.document_id for record in joined.values() for passage in record.passages}
    clusters = cluster_questions(ordered, documents)
    return Scored(ordered, joined, rows_of, _columns(rows_of, joined), clusters)


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
        resamples: number of permutations, where a test is not exact.
        max_failed: largest share of the records of a setup that may fail.

    Returns:
        One row per record, `{question_id, setup, scores, details, failed, freshness}`, by question and setup; and the
        comparison.

    Raises:
        RagftError: a setup answered a question not at all or twice, a record belongs to no question, or more records
            of a setup failed than allowed.
    """
    found = scored(questions, records, rules, setups=setups, max_failed=max_failed)
    ordered, joined, rows_of, columns, clusters = (
        found.questions, found.records, found.rows, found.columns, found.clusters
    )  # fmt: skip
    rows = [row for of_question in zip(*rows_of.values(), strict=True) for row in of_question]
    failures = {name: _failures(of_setup, joined) for name, of_setup in rows_of.items()}
    means, by_tag = _means(columns, clusters), _by_tag(ordered, columns, clusters)
    pairs = [(setups[later], setups[earlier]) for later in range(len(setups)) for earlier in range(later)]
    lower = frozenset(name for name, metric in METRICS.items() if metric.better == "lower")
    shares = frozenset(name for name, metric in METRICS.items() if metric.unit == "share")
    tests = pair_tests(
        columns, pairs, list(METRICS), clusters, shares=shares, lower_is_better=lower, seed=seed, resamples=resamples
    )
    effects: list[Effect] = []
    if set(SETUPS) <= set(setups):
        effects = factor_effects(columns, list(METRICS), clusters, shares=shares, seed=seed, resamples=resamples)
    facts, form, lenient = (
        {name: means[name][metric] for name in setups} for metric in ("exact_match", "format_validity", "contains")
    )
    said = verdict(
        facts, form, lenient, tests, [effect for effect in effects if effect.metric == "exact_match"],
        unanswered={name: failure["answers"] for name, failure in failures.items()}, clusters=clusters,
    )  # fmt: skip
    effects_of = _by_metric(effects)
    return rows, Comparison(
        setups={
            name: {
                metric: {**asdict(mean), "failed": sum(metric in row["failed"] for row in rows_of[name])}
                for metric, mean in means[name].items()
            }
            for name in setups
        },
        pairs=[asdict(test) for test in tests],
        interaction={metric: of_metric["interaction"] for metric, of_metric in effects_of.items()},
        freshness={name: _freshness(rows_of[name]) for name in setups},
        by_tag=by_tag,
        verdict=said.to_json(),
        questions=len(questions),
        failed=sum(bool(row["failed"]) for row in rows),
        seed=seed,
        resamples=resamples,
        fingerprints=dict(fingerprints or {}),
        effects=effects_of,
        clusters={"count": clusters.count, "largest": int(clusters.sizes.max())},
        failures=failures,
        floors=floors(ordered, _passages(joined.values()), rules.refusal, partial(score_rows, rules=rules)),
        classification=classification(
            ordered, {name: [joined[question.id, name] for question in ordered] for name in setups}, rules
        ),
    )


def _passages(records: Iterable[Record]) -> dict[str, tuple[PassageRef, ...]]:
    """The passages that were found for each question, by its id."""
    return {record.question_id: record.passages for record in records if record.passages}


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


def score_rows(answers: Sequence[tuple[Question, Record]], rules: Rules) -> list[Row]:
    """Every answer scored with every metric: `{question_id, setup, scores, details, failed, freshness}`, in order."""
    unprepared: dict[str, str] = {}
    for name, metric in METRICS.items():
        if metric.prepare is not None:
            with _failing_into(unprepared, name):
                metric.prepare([(asked, record) for asked, record in answers if record.error is None], rules)
    return [_score_record(question, record, rules, unprepared) for question, record in answers]


def _score_record(question: Question, record: Record, rules: Rules, unprepared: Mapping[str, str]) -> Row:
    results: dict[str, Score] = {}
    failed: dict[str, str] = {}
    for name, metric in METRICS.items():
        with _failing_into(failed, name):
            if reason := record.error or unprepared.get(name):
                if metric.applies(question, record):
                    failed[name] = reason
            else:
                results[name] = metric.score(question, record, rules)
    scores = {name: result.value for name, result in results.items()}
    details = {name: result.detail for name, result in results.items() if result.detail}
    state = freshness(question, record, rules) if record.error is None and "fresh" not in failed else None
    return {
        "question_id": question.id, "setup": record.setup,
        "scores": scores, "details": details, "failed": failed, "freshness": state,
    }  # fmt: skip


def _failures(rows: Sequence[Row], joined: Mapping[tuple[str, str], Record]) -> Row:
    """The questions of one setup without an answer; and by metric, the answers that it could not score."""
    unanswered = [row for row in rows if joined[row["question_id"], row["setup"]].error is not None]
    unscored: dict[str, int] = {}
    for row in rows:
        if joined[row["question_id"], row["setup"]].error is None:
            for metric in row["failed"]:
                unscored[metric] = unscored.get(metric, 0) + 1
    return {"answers": len(unanswered), "metrics": unscored}


@contextlib.contextmanager
def _failing_into(failed: dict[str, str], name: str) -> Iterator[None]:
    """Notes what a metric raises, so that the record counts as failed and the rest is scored."""
    try:
        yield
    except SlowPattern:  # it would hang on the other answers, too
        raise
    except Exception as error:  # whatever a metric raises
        failed[name] = f"{type(error).__name__}: {error}"


def _refuse_too_many_failed(rows_of: Mapping[str, Sequence[Row]], max_failed: float) -> None:
    for setup, rows in rows_of.items():
        failed = [row for row in rows if row["failed"]]
        if len(failed) > max_failed * len(rows):
            metric, reason = next(iter(failed[0]["failed"].items()))
            raise RagftError(
                f"{len(failed):,} of the {len(rows):,} records of {setup} could not be scored "
                f"({len(failed) / len(rows):.1%}; evaluate.max_failed allows {max_failed:.1%}); the first is question "
                f"{failed[0]['question_id']!r}, {metric}: {reason}"
            )


def _columns(rows_of: Mapping[str, Sequence[Row]], joined: Mapping[tuple[str, str], Record]) -> dict[str, Columns]:
    """The columns of `Scored`."""
    # numpy reads None as NaN when asked for floats.
    columns = {
        name: np.array([[row["scores"].get(metric) for metric in METRICS] for row in rows], dtype=np.float64)
        for name, rows in rows_of.items()
    }
    failed = {
        name: np.array([[metric in row["failed"] for metric in METRICS] for row in rows])
        for name, rows in rows_of.items()
    }
    unanswered = {
        name: np.array([[joined[row["question_id"], name].error is not None] for row in rows])
        for name, rows in rows_of.items()
    }
    judged = np.array([metric.axis in ("facts", "form") and metric.better == "higher" for metric in METRICS.values()])
    scored_somewhere = np.any([~np.isnan(column).all(axis=0) for column in columns.values()], axis=0)
    missing = np.zeros(next(iter(columns.values())).shape, dtype=bool)
    for name, column in columns.items():
        # A metric that applies to none of a setup's answers, as citations without passages, does not begin to where
        # there is no answer.
        applies = np.where(unanswered[name].all(), scored_somewhere, ~np.isnan(column).all(axis=0))
        wrong = failed[name] & unanswered[name] & judged & applies
        column[wrong] = 0.0
        missing |= failed[name] & ~wrong
    return {name: np.where(missing, np.nan, column) for name, column in columns.items()}


def _means(columns: Mapping[str, Columns], clusters: Clusters) -> dict[str, dict[str, Estimate]]:
    """Per setup and metric, its mean with its interval."""
    bounds: list[Bounds] = [_SHARES if metric.unit == "share" else None for metric in METRICS.values()]
    found = iter(estimates(np.concatenate(list(columns.values()), axis=1), clusters, bounds=bounds * len(columns)))
    return {name: {metric: next(found) for metric in METRICS} for name in columns}


def _by_metric(effects: Sequence[Effect]) -> dict[str, dict[str, Row]]:
    by_metric: dict[str, dict[str, Row]] = {}
    for effect in effects:
        row = asdict(effect)
        by_metric.setdefault(row.pop("metric"), {})[row.pop("name")] = row
    return by_metric


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
    questions: Sequence[Question], columns: Mapping[str, Columns], clusters: Clusters
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
        found = estimates(np.stack(list(values.values()), axis=1), clusters, bounds=[_SHARES] * len(values))
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
