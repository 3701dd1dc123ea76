"""The records: what every setup answers to every question. One artifact for each setup."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from pathlib import Path
from typing import Any

from blake3 import blake3

from index.store.snapshot import Snapshot
from ragft.artifacts import Artifact, model_version
from ragft.config.evaluate import OWN_MODELS
from ragft.console import Advance
from ragft.engine.base import Engine
from ragft.errors import RagftError, UsageError
from ragft.evaluate.run import generate
from ragft.pipeline import Pipeline, Retrieved
from ragft.setups import SETUPS, Arm, Setup
from ragft.stages.application import Application, Inputs
from ragft.stages.arms import arms, gold, shots
from ragft.stages.arms import engine as arm_engine
from ragft.stages.arms import inputs as arm_inputs
from ragft.stages.asking import how_conversed, queries
from ragft.stages.index import live_snapshot
from ragft.stages.inputs import RECORDS, RETRIEVAL


def inputs(app: Application, index_version: str | None) -> dict[str, Inputs]:
    """What decides the records of each setup and arm, by its name.

    Args:
        index_version: the snapshot that is searched, if any.
    """
    # Only what is asked decides the answers; the rest of a question decides their scores.
    asked = "\n".join(f"{question.id}\0{question.spoken}" for question in app.questions)
    questions = blake3(asked.encode()).hexdigest()[:16]
    folders = app.model_folders(app.config.evaluate.setups)
    versions = {model: model_version(folder) for model, folder in folders.items()}
    found: dict[str, Inputs] = {}
    for name in app.config.evaluate.setups:
        setup = SETUPS[name]
        parents = {"model": versions[setup.model]}
        values: dict[str, Any] = {"setup": name, "questions": questions, **parents}
        if setup.retrieval and index_version is not None:
            parents["index"] = index_version
            values |= {"index": index_version, "reranker": app.encoder_hashes()["reranker"]}
        values |= how_conversed(app, app.questions, setup)
        found[name] = Inputs((RECORDS, RETRIEVAL) if setup.retrieval else (RECORDS,), values, parents)
    for arm in arms(app):
        found[arm.name] = arm_inputs(app, arm, questions, index_version)
    return found


def records(app: Application) -> dict[str, Artifact]:
    """The records of every setup by its name, over the live index and the deployed model, and of the arms behind them.

    An arm that cannot be answered is left out, which is said: a server that is down stops no comparison.

    Raises:
        RagftError: no model is deployed, or more answers of a setup failed than `evaluate.max_failed` allows.
    """
    setups = [*(SETUPS[name] for name in app.config.evaluate.setups), *arms(app)]
    snapshot = live_snapshot(app) if any(setup.retrieval for setup in setups) else None
    decided = inputs(app, snapshot.id if snapshot else None)
    made = {}
    with app.reporter.progress("Answering") as advance, _Answering(app, snapshot, advance) as answering:
        # One model after the other, so that only one is in memory at a time.
        for setup in sorted(setups, key=lambda setup: setup.model):
            try:
                made[setup.name] = app.build(decided[setup.name], partial(answering.work, setup))
            except UsageError:
                raise
            except RagftError as error:
                if not isinstance(setup, Arm):
                    raise
                app.reporter.say(f"The arm {setup.name} is left out of the comparison: {error}")
            answering.done += len(app.questions)
    return {setup.name: made[setup.name] for setup in setups if setup.name in made}


class _Answering(contextlib.AbstractContextManager["_Answering"]):
    """Answers setup after setup; search and engines begin when the first answer is missing.

    Attributes:
        done: questions that are answered, over all setups.
    """

    def __init__(self, app: Application, snapshot: Snapshot | None, advance: Advance) -> None:
        self.done = 0
        self._app, self._snapshot, self._advance = app, snapshot, advance
        self._total = len(app.questions) * (len(app.config.evaluate.setups) + len(app.config.evaluate.arms))
        self._engines: dict[str, Engine] = {}
        self._retrieved: dict[str, list[Retrieved]] = {}
        # vLLM's engine belongs to the event loop that started it.
        self._runner = asyncio.Runner()

    def __exit__(self, *error: object) -> None:
        try:
            self._close()
        finally:
            self._runner.close()

    def work(self, setup: Setup, folder: Path) -> dict[str, Any]:
        """Generates the records of a setup into a folder."""
        config, questions = self._app.config, self._app.questions
        retrieved = self._passages(setup, self._snapshot) if setup.retrieval and self._snapshot else None
        history = shots(self._app, setup) if isinstance(setup, Arm) else ()
        self._advance(self.done, self._total, f"loading the {setup.model} model")
        pipeline = Pipeline(config, {setup.model: self._engine(setup)}, None)

        def advance(count: int) -> None:
            self._advance(self.done + count, self._total, setup.name)

        failed = self._runner.run(generate(pipeline, setup, questions, retrieved, folder, advance, history))
        if failed > config.evaluate.max_failed * len(questions):
            raise RagftError(
                f"{failed} of {len(questions)} answers of {setup.name} failed, more than evaluate.max_failed = "
                f"{config.evaluate.max_failed} allows; {folder / 'records.jsonl'} says why, and the same command "
                "asks them again."
            )
        return {"questions": len(questions), "failed": failed, "at_once": config.engine.max_num_seqs}

    def _passages(self, setup: Setup, snapshot: Snapshot) -> list[Retrieved]:
        if isinstance(setup, Arm) and self._app.config.evaluate.arms[setup.name].passages == "gold":
            return gold(self._app, snapshot)
        return self._search(setup, snapshot)

    def _search(self, setup: Setup, snapshot: Snapshot) -> list[Retrieved]:
        """The passages of every question as the caller sees them that is stood for: the same for all setups whose
        follow-ups the same model rewrites, if a model does.
        """
        rewrites = self._app.config.serve.condense == "model" and any(one.history for one in self._app.questions)
        by = setup.model if rewrites else ""
        if by not in self._retrieved:
            retriever = self._app.retriever(snapshot)
            engines = {setup.model: self._engine(setup)} if rewrites else {}
            pipeline = Pipeline(self._app.config, engines, retriever)
            asked = self._runner.run(queries(pipeline, setup, self._app.questions, self._app.labels))
            self._retrieved[by] = retriever.search(asked, labels=self._app.labels)
        return self._retrieved[by]

    def _engine(self, setup: Setup) -> Engine:
        model = setup.model
        if model not in self._engines:
            self._close()
            if isinstance(setup, Arm) and model not in OWN_MODELS:
                engine = arm_engine(self._app, setup)
            else:
                engine = self._app.engine(self._app.model_folder(model))
            self._engines[model] = engine
            self._runner.run(engine.start())
        return self._engines[model]

    def _close(self) -> None:
        for engine in self._engines.values():
            self._runner.run(engine.close())
        self._engines.clear()
