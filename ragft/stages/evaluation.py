"""The evaluation: records scored and compared, and the report. It needs no engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import reduce
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
from ragft.evaluate.attribution import ATTRIBUTION_VERSION, attribute, summary
from ragft.evaluate.costs import costs
from ragft.evaluate.metrics import METRICS, Metric
from ragft.evaluate.records import Record, read_answers, read_records
from ragft.evaluate.score import score as score_records
from ragft.evaluate.score import write_comparison
from ragft.evaluate.statistics import STATISTICS_VERSION, Plan, cluster_questions, plan
from ragft.evaluate.verdict import listed
from ragft.finetune.track import refuse_missing_tracker
from ragft.setups import SETUPS
from ragft.stages import records, tracking
from ragft.stages.application import Application, Inputs
from ragft.stages.chosen_metrics import metrics_of, rules_of
from ragft.stages.inputs import ADAPTER, EVALUATION
from ragft.stages.records import Asked, setups_and_arms


def refuse_unmeasurable(app: Application) -> None:
    """Refuses what would fail or mislead after hours.

    Raises:
        UsageError: metrics are named that there are not; questions are asked twice, are also examples where a tuned
            setup is to be measured, or cannot be parted to choose a prompt; or a file of either cannot be read.
    """
    with metrics_of(app):
        pass
    refuse_missing_tracker(app.config.evaluate.tracker, "evaluate.tracker")
    questions = (*app.held_out, *app.questions)
    refuse_repeated(questions)
    tuned, config = any(setup.tuned for setup in setups_and_arms(app)), app.config
    # What stands in a prompt is as well known as what was trained.
    prompts = [*config.evaluate.arms.values(), *config.evaluate.prompts, *config.prompt.untuned.values()]
    shown, examples = any(prompt.shots for prompt in prompts), config.data.examples
    if shown and not examples.is_file():
        raise UsageError(
            f"A prompt is to show examples (`shots`), and there is no file {str(examples)!r}: set data.examples to "
            "one, or leave shots out."
        )
    if (shown or tuned) and examples.is_file():
        for remark in refuse_overlap(app.examples, questions):
            app.reporter.say(remark)


def evaluate(app: Application) -> Artifact:
    """The comparison of the setups over the live index and the deployed model; missing answers are generated."""
    refuse_unmeasurable(app)
    return _scored(app, records.records(app))


def planned(app: Application, points: float) -> list[Plan]:
    """How many questions a difference between two setups takes, with as many a document as the present questions have.

    Args:
        points: the difference of the metric that decides, in percentage points.

    Returns:
        A plan where the questions of a document have nothing, little and much in common. Its questions are those that
        the metric applies to.

    Raises:
        UsageError: the difference is not between 0 and 100, or the metric cannot decide.
    """
    if not 0 < points <= 100:
        raise UsageError(f"--plan takes a difference between 0 and 100 points, not {points:g}.")
    size = 1.0
    with metrics_of(app):
        decides = METRICS[app.config.evaluate.decides]
    if app.config.data.questions.is_file() and (asked := _applying(decides, app.questions)):
        sizes = cluster_questions(asked).sizes
        size = float((sizes**2).sum() / sizes.sum())
    setups = len(app.config.evaluate.setups)
    return [
        plan(
            points / 100, questions_per_document=size, correlation=correlation, tests=max(1, setups * (setups - 1) // 2)
        )
        for correlation in (0.0, 0.1, 0.3)
    ]


def _applying(metric: Metric, questions: Sequence[Question]) -> list[Question]:
    """The questions that a metric applies to, whatever is answered."""
    return [question for question in questions if metric.applies(question, Record(question.id, "", ""))]


def score(app: Application, *, track: bool = True) -> Artifact:
    """The comparison of answers that exist already.

    Args:
        track: whether `evaluate.tracker` is told of it.

    Raises:
        RagftError: there are none for this configuration.
    """
    return _scored(app, asked_before(app), track=track)


def existing(app: Application) -> dict[str, Artifact]:
    """The records of each setup that exist already, by its name; raises as `asked_before`."""
    return {name: asked.records for name, asked in asked_before(app).items()}


def asked_before(app: Application) -> dict[str, Asked]:
    """The setups and arms whose records exist already, by name.

    Raises:
        RagftError: there are none of a setup for this configuration.
    """
    try:
        retrieves = any(setup.retrieval for setup in setups_and_arms(app))
        found = records.existing(app, current_id(app.index_root) if retrieves else None)
    except NoSnapshot as error:
        raise RagftError(f"There are no answers to score yet: {error}") from None
    if missing := [name for name in app.config.evaluate.setups if name not in found]:
        raise RagftError(
            f"There are no answers of {', '.join(missing)} to these questions, by this model and over this index: run "
            "`ragft evaluate` to generate them, or name a file of answers with --records."
        )
    return found


def score_file(app: Application, records_file: Path, questions_file: Path | None) -> Artifact:
    """The comparison of answers in a file, wherever they were made.

    Args:
        records_file: JSONL of `{"question_id", "setup", "answer"}` and whatever else a `Record` holds.
        questions_file: JSONL of questions; None: those of the configuration.
    """
    found = read_records(records_file)
    path = questions_file or app.config.data.questions
    questions = read_questions(path) if questions_file else app.all_questions
    refuse_repeated(questions)
    setups = list(dict.fromkeys(record.setup for record in found))
    if not setups:
        raise UsageError(f"{records_file} holds no records: write one JSON object per line.")
    # Those of the four in their own order, so that differences have the signs that people know.
    known = [name for name in SETUPS if name in setups]
    values = {"records": hash_file(records_file), "questions": hash_file(path)}
    return _comparison(app, questions, found, [*known, *(name for name in setups if name not in SETUPS)], values)


def _scored(app: Application, asked: Mapping[str, Asked], *, track: bool = True) -> Artifact:
    artifacts = {name: one.records for name, one in asked.items()}
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
    if prompts := {name: asdict(one.choice) for name, one in asked.items() if one.choice is not None}:
        values["prompts"] = prompts
    found = [record for artifact in artifacts.values() for record in read_answers(artifact.folder)]
    return _comparison(app, app.questions, found, list(artifacts), values, track=track)


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
    values: dict[str, Any], *, track: bool = True,
) -> Artifact:  # fmt: skip
    """Scores records, compares the setups and writes the report; `values` identify records and questions."""
    for remark in _mixed(answers):
        app.reporter.say(remark)
    with metrics_of(app):
        made = _compared(app, questions, answers, setups, values)
        if track and app.config.evaluate.tracker != "none":
            tracking.track(app, made, questions, answers)
        return made


def _mixed(answers: Sequence[Record]) -> Iterator[str]:
    """What tells that answers do not belong together: those of one setup by several models, or of several indexes."""
    models = {setup: Counter[str]() for setup in dict.fromkeys(record.setup for record in answers)}
    indexes: dict[str, list[str]] = {}
    for record in answers:
        if record.model_version:
            models[record.setup][record.model_version] += 1
        if record.index_version and record.setup not in indexes.setdefault(record.index_version, []):
            indexes[record.index_version].append(record.setup)
    for setup, found in models.items():
        if len(found) > 1:
            told = listed([f"{count:,} of {version}" for version, count in found.most_common()])
            yield f"The answers of {setup} are by {len(found)} models, {told}, and are scored as those of one."
    if len(indexes) > 1:
        told = "; ".join(f"{version}: {listed(setups)}" for version, setups in indexes.items())
        yield f"The setups searched different indexes, so they may differ by those alone ({told})."


def metric_inputs(app: Application) -> dict[str, Any]:
    """What decides scores beside the versions of metrics: the content of files that some of them need."""
    own = app.config.evaluate.metrics_file
    found: dict[str, Any] = {} if own is None else {"metrics_file": hash_file(own)}
    return {**found, "encoder": app.encoder_hashes()["encoder"]} if "similarity" in METRICS else found


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
        identified = {key: value for key, value in values.items() if key not in ("cost", "prompts")}
        scores, comparison = score_records(
            where.questions, answers, rules, setups=[name for name in setups if name not in config.evaluate.arms],
            arms=[name for name in setups if name in config.evaluate.arms], decides=config.evaluate.decides,
            seed=config.seed, resamples=config.evaluate.resamples, max_failed=config.evaluate.max_failed,
            fingerprints=identified,
        )  # fmt: skip
        findings = attribute(where, answers, scores, rules)
        comparison = replace(
            comparison,
            causes=summary(findings, scores, lambda key: reduce(getattr, key.split("."), config)),
            prompts=values.get("prompts", {}),
        )
        rates = config.evaluate.cost
        priced = costs(
            answers, comparison.setups, comparison.pairs, rates, decides=comparison.measure, **values.get("cost", {})
        )
        comparison = replace(comparison, costs=priced)
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
        told = (config.evaluate.decides, "exact_match", "format_validity")
        return {
            setup: {metric: values[metric]["mean"] for metric in dict.fromkeys(told)}
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
