"""Scores records and compares the setups: the same records and rules give the same comparison, without an engine.

What a row of scores is, and how failures count, is said in `ragft.evaluate.rows`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from index.durable import write_file
from ragft.data.jsonl import to_lines
from ragft.data.questions import Question
from ragft.evaluate.arms import arms_beside
from ragft.evaluate.metrics import METRICS, Measure, Rules
from ragft.evaluate.metrics.choices import classification
from ragft.evaluate.metrics.floors import floors
from ragft.evaluate.records import PassageRef, Record
from ragft.evaluate.rows import Joined, Row, Scored, failures, score_rows, scored
from ragft.evaluate.statistics import (
    Bounds,
    Clusters,
    Columns,
    Effect,
    Estimate,
    estimates,
    factor_effects,
    pair_tests,
)
from ragft.evaluate.verdict import verdict
from ragft.setups import SETUPS

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
        by_tag: tag -> setup -> the metric that decides -> `{mean, low, high, n, clusters}`.
        verdict: `{facts, lenient, form, interaction, effects, failures, clusters, best_facts, best_form, text}`.
        causes: setup -> why its wrong answers are wrong, as `ragft.evaluate.attribution.summary` says; empty: not told.
        arms: what was compared beside the setups, as `ragft.evaluate.arms.arms_beside` returns it; empty: nothing.
        prompts: setup -> how it was asked where that was chosen or configured, as a `PromptChoice` holds it.
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
        decides: the metric that decides on facts, as `Measure.described` says it.
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
    prompts: dict[str, Any] = field(default_factory=dict)
    decides: dict[str, Any] = field(default_factory=METRICS["exact_match"].described)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Comparison:
        """The comparison that `comparison.json` holds."""
        return cls(**values)

    @property
    def measure(self) -> Measure:
        """The metric that decides on facts, also where it is not registered."""
        return Measure(**self.decides)


def score(
    questions: Sequence[Question],
    records: Sequence[Record],
    rules: Rules,
    *,
    setups: Sequence[str],
    arms: Sequence[str] = (),
    decides: str = "exact_match",
    seed: int,
    resamples: int,
    max_failed: float,
    fingerprints: Mapping[str, Any] | None = None,
) -> tuple[list[Row], Comparison]:
    """Scores every record with every metric and compares the setups.

    Args:
        setups: names, in the order to show them; a pair's difference is the later minus the earlier.
        arms: names of what is compared beside them, and takes no part in verdict, effects and their corrections.
        decides: name of the metric that decides on facts.
        resamples: number of permutations, where a test is not exact.
        max_failed: largest share of the records of a setup that may fail.

    Returns:
        One row per record, `{question_id, setup, scores, details, failed, freshness}`, by question and setup; and the
        comparison.

    Raises:
        RagftError: a setup answered a question not at all or twice, a record belongs to no question, or more records
            of a setup failed than allowed.
    """
    everything = [*setups, *arms]
    found = scored(questions, records, rules, setups=everything, max_failed=max_failed)
    ordered, answers = found.questions, found.records
    floor = floors(ordered, _passages(answers, setups), rules.refusal, partial(score_rows, rules=rules))
    compared = partial(
        _compared, decides=METRICS[decides], seed=seed, resamples=resamples, fingerprints=dict(fingerprints or {}),
        floor=floor,
    )  # fmt: skip
    comparison = compared(found.of(setups))
    told = {name: [answers[question.id, name] for question in ordered] for name in setups}
    comparison = replace(
        comparison,
        classification=classification(ordered, told, rules),
        arms=arms_beside(compared(found), setups) if arms else {},
    )
    rows = [row for of_question in zip(*found.rows.values(), strict=True) for row in of_question]
    return rows, comparison


def _compared(
    found: Scored, *, decides: Measure, seed: int, resamples: int, fingerprints: dict[str, Any],
    floor: dict[str, dict[str, dict[str, Any]]],
) -> Comparison:  # fmt: skip
    """The comparison of some setups by their scores."""
    questions, rows_of, clusters, setups = found.questions, found.rows, found.clusters, list(found.rows)
    unanswered = {name: failures(of_setup, found.records) for name, of_setup in rows_of.items()}
    scores = found.columns(decides.name)
    means, by_tag = _means(scores, clusters), _by_tag(questions, scores, clusters, decides.name)
    pairs = [(setups[later], setups[earlier]) for later in range(len(setups)) for earlier in range(later)]
    lower = frozenset(name for name, metric in METRICS.items() if metric.better == "lower")
    shares = frozenset(name for name, metric in METRICS.items() if metric.unit == "share")
    tests = pair_tests(
        scores, pairs, list(METRICS), clusters, shares=shares, lower_is_better=lower, seed=seed, resamples=resamples
    )
    effects: list[Effect] = []
    if set(SETUPS) <= set(setups):
        effects = factor_effects(scores, list(METRICS), clusters, shares=shares, seed=seed, resamples=resamples)
    facts, form, lenient = (
        {name: means[name][metric] for name in setups} for metric in (decides.name, "format_validity", "contains")
    )
    said = verdict(
        facts, form, lenient if decides.name == "exact_match" else {}, tests,
        [effect for effect in effects if effect.metric == decides.name],
        unanswered={name: failure["answers"] for name, failure in unanswered.items()}, clusters=clusters,
        decides=decides,
        floors={name: means[decides.name]["mean"] for name, means in floor.items() if decides.name in means},
    )  # fmt: skip
    effects_of = _by_metric(effects)
    return Comparison(
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
        failed=sum(bool(row["failed"]) for of_setup in rows_of.values() for row in of_setup),
        seed=seed,
        resamples=resamples,
        fingerprints=fingerprints,
        effects=effects_of,
        clusters={"count": clusters.count, "largest": int(clusters.sizes.max())},
        failures=unanswered,
        decides=decides.described(),
        floors=floor,
    )


def _passages(answers: Joined, setups: Sequence[str]) -> dict[str, tuple[PassageRef, ...]]:
    """The passages that these setups found for each question, by its id."""
    return {name: one.passages for (name, setup), one in answers.items() if setup in setups and one.passages}


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
    questions: Sequence[Question], columns: Mapping[str, Columns], clusters: Clusters, metric: str
) -> dict[str, dict[str, dict[str, Row]]]:
    """One metric per tag and setup."""
    at = list(METRICS).index(metric)
    values = {
        (tag, name): np.where([tag in question.tags for question in questions], column[:, at], np.nan)
        for tag in sorted({tag for question in questions for tag in question.tags})
        for name, column in columns.items()
    }
    by_tag: dict[str, dict[str, dict[str, Row]]] = {}
    if values:
        found = estimates(np.stack(list(values.values()), axis=1), clusters, bounds=[_SHARES] * len(values))
        for (tag, name), item in zip(values, found, strict=True):
            by_tag.setdefault(tag, {})[name] = {metric: asdict(item)}
    return by_tag


def write_comparison(folder: Path, scores: Sequence[Row], comparison: Comparison) -> None:
    """Writes `scores.jsonl` and `comparison.json`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "scores.jsonl", to_lines(scores))
    text = json.dumps(asdict(comparison), ensure_ascii=False, allow_nan=False, indent=2)
    # Last, so that where there is a comparison, there are its scores.
    write_file(folder / "comparison.json", f"{text}\n".encode())
