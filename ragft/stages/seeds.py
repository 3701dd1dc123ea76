"""The suite `seeds`: the recipe trained again with other seeds, and what that makes of the comparison.

Each run is the ordinary stages with another seed, so that whatever exists is found again and an interrupted suite goes
on. A seed varies what a training draws: the mix of passages, the first values, the order of rows and dropout. What
stays is the questions, the index and the split, so that no run is trained on examples that another one validates with.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.durable import write_file
from ragft.artifacts import Artifact, hash_file
from ragft.console import counted, duration
from ragft.data.jsonl import to_lines
from ragft.errors import RagftError, UsageError
from ragft.evaluate.metrics import METRICS
from ragft.evaluate.records import read_answers
from ragft.evaluate.rows import Scored, scored
from ragft.evaluate.statistics import STATISTICS_VERSION
from ragft.evaluate.suites.seeds import SEEDS_VERSION, result
from ragft.evaluate.verdict import listed
from ragft.setups import SETUPS
from ragft.stages.adapter import refuse_unserved, trained
from ragft.stages.application import Application, Inputs
from ragft.stages.chosen_metrics import metrics_of, rules_of
from ragft.stages.estimates import estimate
from ragft.stages.evaluation import looked_up, metric_inputs, refuse_unmeasurable
from ragft.stages.inputs import SEEDS
from ragft.stages.model import proven
from ragft.stages.records import records

if TYPE_CHECKING:
    from index.encoders.encoder import Encoder

_KEY = "evaluate.seeds"


class Repetition(Application):
    """The same application with another seed: its tuned model is that of its own training, deployed or not."""

    def __init__(self, of: Application, seed: int) -> None:
        # Arms stand beside the comparison; here they would be asked again for nothing.
        evaluate = of.config.evaluate.model_copy(update={"arms": {}})
        super().__init__(of.config.model_copy(update={"seed": seed, "evaluate": evaluate}), of.reporter)
        self._of = of

    @property
    def fixed_seed(self) -> int:
        return self._of.fixed_seed

    @cached_property
    def encoder(self) -> Encoder:
        return self._of.encoder  # which takes seconds to load

    def model_folder(self, model: str) -> Path:
        return self.base if model == "base" else self.once("own model", lambda: proven(self)).folder


def seeds(app: Application) -> Artifact:
    """The suite over `seed` and `evaluate.seeds`, with `result` as its figures; trains and asks what is missing.

    Says how long that will take before it begins. Deploys nothing.

    Raises:
        UsageError: no other seed is named, or no setup is tuned.
        RagftError: a training, a proof or too many answers failed, or the index was refreshed in between.
    """
    config = app.config
    named = list(dict.fromkeys((config.seed, *config.evaluate.seeds)))
    if len(named) < 2:
        raise UsageError(
            f"{_KEY} names no seed beside seed = {config.seed}: name two or more, as in --set '{_KEY}="
            f"[{config.seed + 1}, {config.seed + 2}]'; each trains the recipe once more."
        )
    if not any(SETUPS[name].tuned for name in config.evaluate.setups):
        raise UsageError("No setup of evaluate.setups is tuned, so that no seed changes anything: add hybrid to them.")
    refuse_unmeasurable(app)
    refuse_unserved(app)
    runs = {seed: Repetition(app, seed) for seed in named}
    _tell_how_long(app, runs)
    made = {seed: _answered(run) for seed, run in runs.items()}
    snapshots = {one.manifest["parents"].get("index") for of_run in made.values() for one in of_run.values()} - {None}
    if len(snapshots) > 1:
        raise RagftError(
            "The index was refreshed while the suite ran, so that its runs searched different documents: run the same "
            "command again, which trains nothing anew."
        )
    with metrics_of(app):
        return _compared(app, made)


def _tell_how_long(app: Application, runs: Mapping[int, Repetition]) -> None:
    """Says how many trainings are missing and how long they will take."""
    missing = [run for run in runs.values() if trained(run) is None]
    if not missing:
        app.reporter.say(f"The suite takes {counted(len(runs), 'training')}, all of which exist.")
        return
    each = estimate(missing[0])
    seconds = len(missing) * sum(part.seconds or 0.0 for part in each.parts)
    named = listed([str(run.config.seed) for run in missing])
    app.reporter.say(
        f"The suite takes {counted(len(runs), 'training')}, of which {len(missing)} (seed {named}) are missing: "
        f"{duration(seconds)} together. One of them: {each.sentence()}."
    )


def _answered(run: Repetition) -> dict[str, Artifact]:
    """The records of each setup, by a model that is trained with the seed of this run."""
    run.reporter.say(f"Seed {run.config.seed}")
    run.model_folder("tuned")
    return {name: asked.records for name, asked in records(run).items()}


def _compared(app: Application, made: Mapping[int, Mapping[str, Artifact]]) -> Artifact:
    """Scores the records of all runs with the metrics that are registered now, and compares them."""
    config = app.config
    answers = {
        str(seed): {name: artifact.fingerprint for name, artifact in of_run.items()} for seed, of_run in made.items()
    }
    inputs = {
        "version": SEEDS_VERSION, "statistics": STATISTICS_VERSION, "records": answers,
        "metrics": {name: metric.version for name, metric in METRICS.items()},
        "questions": hash_file(config.data.questions), **metric_inputs(app),
    }  # fmt: skip

    def work(folder: Path) -> dict[str, Any]:
        found = {seed: _scored(app, of_run) for seed, of_run in made.items()}
        rows = [
            {"seed": seed, "setup": name, "question_id": row["question_id"], "scores": row["scores"]}
            for seed, run in found.items()
            for name, of_setup in run.rows.items()
            for row in of_setup
        ]
        write_file(folder / "seeds.jsonl", to_lines(rows))
        figures = result(
            {seed: run.columns(config.evaluate.decides) for seed, run in found.items()},
            next(iter(found.values())).clusters, seed=config.seed,
            resamples=config.evaluate.resamples, decides=config.evaluate.decides,
        )  # fmt: skip
        failed = {seed: {name: one.figures["failed"] for name, one in of_run.items()} for seed, of_run in made.items()}
        figures["text"] += [
            f"With seed {seed}, {counted(count, 'answer')} of {name} failed; failed answers count as wrong."
            for seed, of_run in failed.items()
            for name, count in of_run.items()
            if count
        ]
        return {**figures, "failed": {str(seed): of_run for seed, of_run in failed.items()}}

    return app.build(Inputs((SEEDS,), inputs), work)


def _scored(app: Application, made: Mapping[str, Artifact]) -> Scored:
    answers = [record for artifact in made.values() for record in read_answers(artifact.folder)]
    where = looked_up(app, app.questions, answers)
    return scored(where.questions, answers, rules_of(app), setups=list(made), max_failed=app.config.evaluate.max_failed)
