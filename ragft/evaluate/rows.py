"""Records joined to questions and scored: a row for each answer, and columns of scores for the statistics.

Records are joined by id, never by position, and every setup must have answered every question exactly once. A question
that got no answer was answered wrongly: it counts as 0 on facts and form, and is shown as failed. What a metric could
not score is left out for all setups, so that they are compared on the same questions.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ragft.data.questions import Question
from ragft.errors import RagftError
from ragft.evaluate.metrics import METRICS, Rules, Score
from ragft.evaluate.metrics.facts import freshness
from ragft.evaluate.records import Record
from ragft.evaluate.statistics import Clusters, Columns, cluster_questions
from ragft.evaluate.verdict import listed
from ragft.patterns import SlowPattern

Row = dict[str, Any]
Joined = Mapping[tuple[str, str], Record]
"""Records by (question id, setup)."""


@dataclass(frozen=True)
class Scored:
    """Records scored by every metric.

    Attributes:
        questions: sorted by id, so that the same seed draws the same ones whatever the order of the file.
        records: by question id and setup.
        rows: of each setup by its name, in the order of the questions; see `score`.
    """

    questions: list[Question]
    records: Joined
    rows: dict[str, list[Row]]

    def of(self, setups: Sequence[str]) -> Scored:
        """The same of some setups alone."""
        return replace(self, rows={name: self.rows[name] for name in setups})

    @cached_property
    def clusters(self) -> Clusters:
        """Of the questions, by their sources and by what the setups found."""
        shown = (record.passages for (_, setup), record in self.records.items() if setup in self.rows)
        return cluster_questions(self.questions, {passage.document_id for found in shown for passage in found})

    def columns(self, decides: str = "exact_match") -> dict[str, Columns]:
        """As the statistics take them; see `columns`."""
        return columns(self.rows, self.records, decides)


def scored(
    questions: Sequence[Question], records: Sequence[Record], rules: Rules, *, setups: Sequence[str], max_failed: float
) -> Scored:
    """Scores every record with every metric; arguments and errors are those of `score`."""
    found = joined(questions, records, setups)
    ordered = sorted(questions, key=lambda question: question.id)
    rows = score_rows([(question, found[question.id, name]) for question in ordered for name in setups], rules)
    rows_of = {name: [row for row in rows if row["setup"] == name] for name in setups}
    refuse_too_many_failed(rows_of, max_failed)
    return Scored(ordered, found, rows_of)


def joined(questions: Sequence[Question], records: Sequence[Record], setups: Sequence[str]) -> Joined:
    """Records by (question id, setup), each exactly once.

    Raises:
        RagftError: a setup answered a question not at all or twice, or from several indexes, or a record belongs to no
            question.
    """
    if not questions:
        raise RagftError("There are no questions to score.")
    _refuse_several_indexes(records, setups)
    ids = {question.id for question in questions}
    found: dict[tuple[str, str], Record] = {}
    for record in records:
        if record.setup not in setups:
            continue
        key = (record.question_id, record.setup)
        where = f"question {record.question_id!r}, setup {record.setup}"
        if record.question_id not in ids:
            raise RagftError(f"There is a record for {where}, but no such question: name its file with --questions.")
        if key in found:
            raise RagftError(f"There are two records for {where}: delete one of them.")
        found[key] = record
    wanted = [(question.id, name) for question in questions for name in setups]
    missing = [key for key in wanted if key not in found]
    if missing:
        raise RagftError(
            f"{len(missing):,} of {len(wanted):,} records are missing, the first for question "
            f"{missing[0][0]!r}, setup {missing[0][1]}: run `ragft evaluate` again to complete them."
        )
    return found


def _refuse_several_indexes(records: Sequence[Record], setups: Sequence[str]) -> None:
    for setup in setups:
        found = Counter(record.index_version for record in records if record.setup == setup and record.index_version)
        if len(found) > 1:
            told = listed([f"{count:,} of {version}" for version, count in found.most_common()])
            raise RagftError(
                f"The records of {setup} are of {len(found)} indexes, {told}: a setup is measured over one, so leave "
                "the others out, or give them another setup's name."
            )


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


def failures(rows: Sequence[Row], answers: Joined) -> Row:
    """The questions of one setup without an answer; and by metric, the answers that it could not score."""
    unanswered = [row for row in rows if answers[row["question_id"], row["setup"]].error is not None]
    unscored: dict[str, int] = {}
    for row in rows:
        if answers[row["question_id"], row["setup"]].error is None:
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
    except (Exception, SystemExit) as error:  # whatever a metric raises
        failed[name] = f"{type(error).__name__}: {error}"


def refuse_too_many_failed(rows_of: Mapping[str, Sequence[Row]], max_failed: float) -> None:
    """Raises a RagftError if more of the records of a setup than allowed have something that could not be scored."""
    for setup, rows in rows_of.items():
        failed = [row for row in rows if row["failed"]]
        if len(failed) > max_failed * len(rows):
            metric, reason = next(iter(failed[0]["failed"].items()))
            raise RagftError(
                f"{len(failed):,} of the {len(rows):,} records of {setup} could not be scored "
                f"({len(failed) / len(rows):.1%}; evaluate.max_failed allows {max_failed:.1%}); the first is question "
                f"{failed[0]['question_id']!r}, {metric}: {reason}"
            )


def columns(rows_of: Mapping[str, Sequence[Row]], answers: Joined, decides: str) -> dict[str, Columns]:
    """(questions, metrics) of each setup; NaN where there is no score, and where a metric failed, for every setup.

    Args:
        decides: the metric that decides on facts; without an answer it has its worst value, even where less is better.
    """
    # numpy reads None as NaN when asked for floats.
    found = {
        name: np.array([[row["scores"].get(metric) for metric in METRICS] for row in rows], dtype=np.float64)
        for name, rows in rows_of.items()
    }
    failed = {
        name: np.array([[metric in row["failed"] for metric in METRICS] for row in rows])
        for name, rows in rows_of.items()
    }
    unanswered = {
        name: np.array([[answers[row["question_id"], name].error is not None] for row in rows])
        for name, rows in rows_of.items()
    }
    judged = np.array([
        name == decides or (metric.axis in ("facts", "form") and metric.better == "higher")
        for name, metric in METRICS.items()
    ])  # fmt: skip
    worst = np.array([1.0 if metric.better == "lower" else 0.0 for metric in METRICS.values()])
    scored_somewhere = np.any([~np.isnan(column).all(axis=0) for column in found.values()], axis=0)
    missing = np.zeros(next(iter(found.values())).shape, dtype=bool)
    for name, column in found.items():
        # A metric that applies to none of a setup's answers, as citations without passages, does not begin to where
        # there is no answer.
        applies = np.where(unanswered[name].all(), scored_somewhere, ~np.isnan(column).all(axis=0))
        wrong = failed[name] & unanswered[name] & judged & applies
        np.copyto(column, worst, where=wrong)
        missing |= failed[name] & ~wrong
    return {name: np.where(missing, np.nan, column) for name, column in found.items()}
