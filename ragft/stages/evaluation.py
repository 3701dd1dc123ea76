"""The evaluation: records scored and compared, and the report. It needs no engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from index.durable import write_file
from index.errors import IndexFault, NoSnapshot
from index.store.folder import current_id
from ragft.artifacts import Artifact, find, hash_file
from ragft.console import counted, some
from ragft.data.audit import refuse_overlap, refuse_repeated
from ragft.data.gold import Located, located
from ragft.data.jsonl import to_lines
from ragft.data.questions import Question, as_line, read_questions
from ragft.errors import RagftError, UsageError
from ragft.evaluate.arms import arms_beside
from ragft.evaluate.attribution import ATTRIBUTION_VERSION, attribute, summary
from ragft.evaluate.costs import costs
from ragft.evaluate.metrics import METRICS, Rules
from ragft.evaluate.metrics.selection import selected
from ragft.evaluate.records import Record, read_answers, read_records
from ragft.evaluate.score import score as score_records
from ragft.evaluate.score import write_comparison
from ragft.evaluate.statistics import STATISTICS_VERSION, Plan, cluster_questions, plan
from ragft.setups import SETUPS
from ragft.stages.application import Application, Inputs
from ragft.stages.arms import arms
from ragft.stages.inputs import ADAPTER, EVALUATION
from ragft.stages.records import inputs, records


def refuse_unmeasurable(app: Application) -> None:
    """Refuses metrics that there are not, questions that are asked twice, and where a tuned setup is to be measured
    those that are also examples.

    Raises:
        UsageError: there are such metrics or questions, or a file of them cannot be read.
    """
    with computed_metrics(app):
        pass
    refuse_repeated(app.questions)
    asked = [*(SETUPS[name] for name in app.config.evaluate.setups), *arms(app)]
    # What stands in a prompt is as well known as what was trained.
    shown = any(arm.shots for arm in app.config.evaluate.arms.values())
    tuned = shown or any(setup.tuned for setup in asked)
    if tuned and app.config.data.examples.is_file():
        for remark in refuse_overlap(app.examples, app.questions):
            app.reporter.say(remark)


def evaluate(app: Application) -> Artifact:
    """The comparison of the setups over the live index and the deployed model; missing answers are generated."""
    refuse_unmeasurable(app)
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
        asked = [*(SETUPS[name] for name in app.config.evaluate.setups), *arms(app)]
        retrieves = any(setup.retrieval for setup in asked)
        decided = inputs(app, current_id(app.index_root) if retrieves else None)
    except NoSnapshot as error:
        raise RagftError(f"There are no answers to score yet: {error}") from None
    found = {name: app.find(of) for name, of in decided.items()}
    missing = [name for name, artifact in found.items() if artifact is None and name in SETUPS]
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
    tuned = (
        any(setup.tuned for name, setup in SETUPS.items() if name in artifacts) and app.registry.current() is not None
    )
    # That of the model that answered, whatever the configuration says now.
    if tuned and (recipe := app.registry.deployed().figures.get("recipe")):
        values["recipe"] = recipe
    if app.config.evaluate.cost.prices_something:
        values["cost"] = _measured_costs(app, artifacts, tuned=tuned)
    found = [record for artifact in artifacts.values() for record in read_answers(artifact.folder)]
    return _comparison(app, app.questions, found, list(artifacts), values)


def _measured_costs(app: Application, artifacts: Mapping[str, Artifact], *, tuned: bool) -> dict[str, Any]:
    """What prices are made from beside the records: seconds of training, and questions that were asked at once."""
    at_once = {name: artifact.figures.get("at_once") for name, artifact in artifacts.items()}
    seconds = None
    if tuned:
        adapter = find(app.workspace / ADAPTER.folder, app.registry.deployed().manifest["parents"].get("adapter", ""))
        seconds = None if adapter is None else adapter.figures.get("seconds")
    return {"training_seconds": seconds, "at_once": at_once}


def _comparison(
    app: Application, questions: Sequence[Question], answers: Sequence[Record], setups: Sequence[str],
    values: dict[str, Any],
) -> Artifact:  # fmt: skip
    """Scores records, compares the setups and writes the report; `values` identify records and questions."""
    with computed_metrics(app):
        return _compared(app, questions, answers, setups, values)


def computed_metrics(app: Application) -> AbstractContextManager[None]:
    """Has the metrics of the configuration computed, see `selected`."""
    named = list(app.config.evaluate.metrics)
    if app.config.answer.choices:
        named.append("choice_accuracy")
    return selected(named, app.config.evaluate.metrics_file)


def metric_inputs(app: Application) -> dict[str, Any]:
    """What decides scores beside the versions of metrics: the content of files that some of them need."""
    own = app.config.evaluate.metrics_file
    found: dict[str, Any] = {} if own is None else {"metrics_file": hash_file(own)}
    return {**found, "encoder": app.encoder_hashes()["encoder"]} if "similarity" in METRICS else found


def rules_of(app: Application) -> Rules:
    """The rules of scoring, with the index's encoder for metrics that compare meanings."""
    return replace(Rules.of(app.config.answer), encode=lambda texts: app.encoder.encode_passages(texts))


def _compared(
    app: Application, questions: Sequence[Question], answers: Sequence[Record], setups: Sequence[str],
    values: dict[str, Any],
) -> Artifact:  # fmt: skip
    """The same with the metrics that are registered now."""
    config = app.config
    values = {**values, **metric_inputs(app)}
    metrics = {name: metric.version for name, metric in METRICS.items()}
    versions = {"metrics": metrics, "statistics": STATISTICS_VERSION, "attribution": ATTRIBUTION_VERSION}
    decided = Inputs((EVALUATION,), {**values, **versions}, {})

    def work(folder: Path) -> dict[str, Any]:
        from ragft.evaluate.report import render_markdown, render_report

        rules = rules_of(app)
        where = looked_up(app, questions, answers)
        identified = {key: value for key, value in values.items() if key != "cost"}
        scored = partial(
            score_records, where.questions, answers, rules, seed=config.seed, resamples=config.evaluate.resamples,
            max_failed=config.evaluate.max_failed, fingerprints=identified,
        )  # fmt: skip
        four = [name for name in setups if name not in config.evaluate.arms]
        scores, comparison = scored(setups=four)
        if len(four) < len(setups):
            # Apart, so that no arm takes part in the verdict, the interaction and the correction over the four.
            scores, beside = scored(setups=setups)
            comparison = replace(comparison, arms=arms_beside(beside, four))
        findings = attribute(where, answers, scores, rules)
        comparison = replace(comparison, causes=summary(findings, scores))
        rates = config.evaluate.cost
        told = costs(answers, comparison.setups, comparison.pairs, rates, **values.get("cost", {}))
        comparison = replace(comparison, costs=told)
        write_file(folder / "causes.jsonl", to_lines(asdict(finding) for finding in findings))
        write_comparison(folder, scores, comparison)
        recipe = f', trained by the recipe "{values["recipe"]}"' if "recipe" in values else ""
        subtitle = f"{len(questions)} questions, {len(setups)} setups{recipe}"
        page = render_report(
            comparison, answers, where.questions, name=config.name, subtitle=subtitle, scores=scores,
            findings=findings, rules=rules,
        )  # fmt: skip
        text = render_markdown(comparison, answers, where.questions, name=config.name, subtitle=subtitle)
        write_file(folder / "report.html", page.encode())
        write_file(folder / "report.md", text.encode())
        write_file(folder / "questions.jsonl", to_lines(map(as_line, questions)))
        return {
            setup: {metric: values[metric]["mean"] for metric in ("exact_match", "format_validity")}
            for setup, values in comparison.setups.items()
        }

    return app.build(decided, work)


def looked_up(app: Application, questions: Sequence[Question], answers: Sequence[Record]) -> Located:
    """The questions, with where their sources stand in the snapshot that was searched; as they are where none was.

    Says which sources the index does not hold, and which may mean several sections.
    """
    from index.store.snapshot import Snapshot

    versions = {record.index_version for record in answers if record.index_version is not None}
    # Answers that were made elsewhere have another index, and those of old versions no paths of headings.
    if len(versions) != 1 or not all(passage.path for record in answers for passage in record.passages):
        return Located(tuple(questions))
    try:
        snapshot = Snapshot.open(app.index_root, versions.pop())
    except IndexFault:
        return Located(tuple(questions))
    where = located(questions, snapshot.chunks())
    if where.absent:
        named = some(f"{source} ({name})" for name, sources in where.absent.items() for source in sources)
        app.reporter.say(f"The index lacks sources of {counted(len(where.absent), 'question')}: {named}.")
    if where.unclear:
        named = some(f"{source} may mean {' or '.join(written)}" for source, written in where.unclear.items())
        app.reporter.say(f"{counted(len(where.unclear), 'source')} of questions may mean several sections: {named}.")
    return where
