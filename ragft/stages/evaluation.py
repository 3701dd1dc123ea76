"""The evaluation: records scored and compared, and the report. It needs no engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from index.durable import write_file
from index.errors import NoSnapshot
from index.store.folder import current_id
from ragft.artifacts import Artifact, hash_file
from ragft.data.audit import refuse_overlap
from ragft.data.jsonl import to_lines
from ragft.data.questions import Question, as_line, read_questions
from ragft.errors import RagftError, UsageError
from ragft.evaluate.metrics import METRICS, Rules
from ragft.evaluate.metrics.selection import selected
from ragft.evaluate.records import Record, read_answers, read_records
from ragft.evaluate.score import score as score_records
from ragft.evaluate.score import write_comparison
from ragft.evaluate.statistics import STATISTICS_VERSION, Plan, cluster_questions, plan
from ragft.setups import SETUPS
from ragft.stages.application import Application, Inputs
from ragft.stages.inputs import EVALUATION
from ragft.stages.records import inputs, records


def refuse_trained_questions(app: Application) -> None:
    """Refuses questions that are also examples, where a tuned setup is to be measured.

    Raises:
        UsageError: there are such questions, or one of the two files cannot be read.
    """
    tuned = any(SETUPS[name].tuned for name in app.config.evaluate.setups)
    if tuned and app.config.data.examples.is_file():
        refuse_overlap(app.examples, app.questions)


def evaluate(app: Application) -> Artifact:
    """The comparison of the setups over the live index and the deployed model; missing answers are generated."""
    refuse_trained_questions(app)
    return _scored(app, records(app))


def planned(app: Application, points: float) -> list[Plan]:
    """How many questions a difference between two setups takes, with as many a document as the present questions have.

    Args:
        points: the difference, in percentage points.

    Returns:
        A plan where the questions of a document have nothing, little and much in common.

    Raises:
        UsageError: the difference is not between 0 and 100.
    """
    if not 0 < points <= 100:
        raise UsageError(f"--plan takes a difference between 0 and 100 points, not {points:g}.")
    size = 1.0
    if app.config.data.questions.is_file():
        sizes = cluster_questions(app.questions).sizes
        size = float((sizes**2).sum() / sizes.sum())
    setups = len(app.config.evaluate.setups)
    return [
        plan(
            points / 100, questions_per_document=size, correlation=correlation, tests=max(1, setups * (setups - 1) // 2)
        )
        for correlation in (0.0, 0.1, 0.3)
    ]


def score(app: Application) -> Artifact:
    """The comparison of answers that exist already.

    Raises:
        RagftError: there are none for this configuration.
    """
    return _scored(app, existing(app))


def existing(app: Application) -> dict[str, Artifact]:
    """The records of each setup that exist already, by its name.

    Raises:
        RagftError: there are none of a setup for this configuration.
    """
    try:
        retrieves = any(SETUPS[name].retrieval for name in app.config.evaluate.setups)
        decided = inputs(app, current_id(app.index_root) if retrieves else None)
    except NoSnapshot as error:
        raise RagftError(f"There are no answers to score yet: {error}") from None
    found = {name: app.find(of) for name, of in decided.items()}
    missing = [name for name, artifact in found.items() if artifact is None]
    if missing:
        raise RagftError(
            f"There are no answers of {', '.join(missing)} to these questions, by this model and over this index: run "
            "`ragft evaluate` to generate them, or name a file of answers with --records."
        )
    return {name: artifact for name, artifact in found.items() if artifact is not None}


def score_file(app: Application, records_file: Path, questions_file: Path | None) -> Artifact:
    """The comparison of answers in a file, wherever they were made.

    Args:
        records_file: JSONL of `{"question_id", "setup", "answer"}` and whatever else a `Record` holds.
        questions_file: JSONL of questions; None: those of the configuration.
    """
    found = read_records(records_file)
    path = questions_file or app.config.data.questions
    questions = read_questions(path) if questions_file else app.questions
    setups = list(dict.fromkeys(record.setup for record in found))
    if not setups:
        raise UsageError(f"{records_file} holds no records: write one JSON object per line.")
    # Those of the four in their own order, so that differences have the signs that people know.
    known = [name for name in SETUPS if name in setups]
    values = {"records": hash_file(records_file), "questions": hash_file(path)}
    return _comparison(app, questions, found, [*known, *(name for name in setups if name not in SETUPS)], values)


def _scored(app: Application, artifacts: dict[str, Artifact]) -> Artifact:
    parts = {name: artifact.fingerprint for name, artifact in artifacts.items()}
    values: dict[str, Any] = {"records": parts, "questions": hash_file(app.config.data.questions)}
    tuned = any(SETUPS[name].tuned for name in artifacts) and app.registry.current() is not None
    # That of the model that answered, whatever the configuration says now.
    if tuned and (recipe := app.registry.deployed().figures.get("recipe")):
        values["recipe"] = recipe
    found = [record for artifact in artifacts.values() for record in read_answers(artifact.folder)]
    return _comparison(app, app.questions, found, list(artifacts), values)


def _comparison(
    app: Application, questions: Sequence[Question], answers: Sequence[Record], setups: Sequence[str],
    values: dict[str, Any],
) -> Artifact:  # fmt: skip
    """Scores records, compares the setups and writes the report; `values` identify records and questions."""
    config = app.config
    named = list(config.evaluate.metrics)
    if config.answer.choices:
        named.append("choice_accuracy")
    with selected(named, config.evaluate.metrics_file):
        return _compared(app, questions, answers, setups, values)


def _compared(
    app: Application, questions: Sequence[Question], answers: Sequence[Record], setups: Sequence[str],
    values: dict[str, Any],
) -> Artifact:  # fmt: skip
    """The same with the metrics that are registered now."""
    config = app.config
    if config.evaluate.metrics_file is not None:
        values = {**values, "metrics_file": hash_file(config.evaluate.metrics_file)}
    if "similarity" in METRICS:
        values = {**values, "encoder": app.encoder_hashes()["encoder"]}
    metrics = {name: metric.version for name, metric in METRICS.items()}
    decided = Inputs((EVALUATION,), {**values, "metrics": metrics, "statistics": STATISTICS_VERSION}, {})

    def work(folder: Path) -> dict[str, Any]:
        from ragft.evaluate.report import render_markdown, render_report

        rules = replace(Rules.of(config.answer), encode=lambda texts: app.encoder.encode_passages(texts))
        scores, comparison = score_records(
            questions, answers, rules, setups=setups, seed=config.seed,
            resamples=config.evaluate.resamples, max_failed=config.evaluate.max_failed, fingerprints=values,
        )  # fmt: skip
        write_comparison(folder, scores, comparison)
        recipe = f', trained by the recipe "{values["recipe"]}"' if "recipe" in values else ""
        subtitle = f"{len(questions)} questions, {len(setups)} setups{recipe}"
        page = render_report(
            comparison, answers, questions, name=config.name, subtitle=subtitle, scores=scores, rules=rules
        )
        text = render_markdown(comparison, answers, questions, name=config.name, subtitle=subtitle)
        write_file(folder / "report.html", page.encode())
        write_file(folder / "report.md", text.encode())
        write_file(folder / "questions.jsonl", to_lines(map(as_line, questions)))
        return {
            setup: {metric: values[metric]["mean"] for metric in ("exact_match", "format_validity")}
            for setup, values in comparison.setups.items()
        }

    return app.build(decided, work)
