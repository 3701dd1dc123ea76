"""The records: what every setup answers to every question. One artifact for each setup."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from blake3 import blake3

from index.store.snapshot import Snapshot
from ragft.artifacts import Artifact
from ragft.config.evaluate import OWN_MODELS
from ragft.console import Advance
from ragft.data.questions import Question
from ragft.engine.base import Engine
from ragft.errors import RagftError, UsageError
from ragft.evaluate.prompt_choice import PromptChoice
from ragft.evaluate.run import generate
from ragft.pipeline import Pipeline, Retrieved
from ragft.setups import SETUPS, Arm, Setup
from ragft.stages.application import Application, Inputs
from ragft.stages.arms import arms, gold, hash_shots, with_shots
from ragft.stages.arms import engine as arm_engine
from ragft.stages.arms import inputs as arm_inputs
from ragft.stages.conversing import how_conversed, queries
from ragft.stages.index import live_snapshot
from ragft.stages.inputs import RECORDS, RETRIEVAL
from ragft.stages.live import engines, how_adapted, version_of
from ragft.stages.prompt_choice import asked_with, best_prompt, configured, tried

Questions = tuple[Question, ...]
Get = Callable[[Setup, Questions], Artifact | None]
"""Gives the records of a setup for some questions; None where there are none."""


@dataclass(frozen=True)
class Asked:
    """A setup as it was asked.

    Attributes:
        records: over the questions that are compared.
        choice: why it was asked like that; None: as a tuned model is trained.
    """

    setup: Setup
    records: Artifact
    choice: PromptChoice | None


class Decided:
    """What decides the records of setups and arms, over one index and the models as they are now."""

    def __init__(self, app: Application, index_version: str | None) -> None:
        """
        Args:
            index_version: the snapshot that is searched, if any.
        """
        self._app, self._index = app, index_version
        folders = app.model_folders(app.config.evaluate.setups)
        self._versions = {model: version_of(app, folder) for model, folder in folders.items()}

    def inputs(self, setup: Setup, questions: Questions) -> Inputs:
        """What decides the records of a setup, as it is asked."""
        # Only what is asked decides the answers; the rest of a question decides their scores.
        asked = "\n".join(f"{question.id}\0{question.spoken}" for question in questions)
        hashed = blake3(asked.encode()).hexdigest()[:16]
        if isinstance(setup, Arm):
            return arm_inputs(self._app, setup, hashed, self._index)
        parents = {"model": self._versions[setup.model]}
        values: dict[str, Any] = {"setup": setup.name, "questions": hashed, **parents, **how_adapted(self._app)}
        if setup.arrangement != SETUPS[setup.name].arrangement:
            values["prompt"] = setup.arrangement
        if setup.shots:
            values["shots"] = hash_shots(setup.shots)
        if setup.retrieval and self._index is not None:
            parents["index"] = self._index
            values |= {"index": self._index, "reranker": self._app.encoder_hashes()["reranker"]}
        values |= how_conversed(self._app, questions, setup)
        return Inputs((RECORDS, RETRIEVAL) if setup.retrieval else (RECORDS,), values, parents)


def setups_and_arms(app: Application) -> list[Setup]:
    """What is compared: the setups, and the arms behind them."""
    return [*(SETUPS[name] for name in app.config.evaluate.setups), *arms(app)]


def asked(app: Application, setup: Setup, get: Get) -> Asked | None:
    """A setup as it is to be asked, with its records; None where some are missing.

    Without tuning, and with `evaluate.prompts`, it is tried with each of them on the held-out questions first.
    """
    chosen = None
    if isinstance(setup, Arm):
        setup = with_shots(app, setup)
    elif variants := tried(app, setup):
        trials = {variant: get(asked_with(app, setup, variant), app.held_out) for variant in variants}
        found = {variant: made for variant, made in trials.items() if made is not None}
        if len(found) < len(trials):
            return None
        variant, chosen = best_prompt(app, setup, found)
        setup = asked_with(app, setup, variant)
    else:
        setup, chosen = configured(app, setup)
    records = get(setup, app.questions)
    return None if records is None else Asked(setup, records, chosen)


def existing(app: Application, index_version: str | None) -> dict[str, Asked]:
    """The setups and arms whose records exist already, by name."""
    decided = Decided(app, index_version)
    found = {
        setup.name: asked(app, setup, lambda setup, questions: app.find(decided.inputs(setup, questions)))
        for setup in setups_and_arms(app)
    }
    return {name: one for name, one in found.items() if one is not None}


def records(app: Application) -> dict[str, Asked]:
    """The setups with their records, by name, over the live index and the deployed model, and the arms behind them.

    An arm that cannot be answered is left out, which is said: a server that is down stops no comparison.

    Raises:
        RagftError: no model is deployed, or more answers of a setup failed than `evaluate.max_failed` allows.
    """
    setups = setups_and_arms(app)
    snapshot = live_snapshot(app) if any(setup.retrieval for setup in setups) else None
    decided = Decided(app, snapshot.id if snapshot else None)
    made = {}
    total = len(setups) * len(app.questions) + sum(len(tried(app, one)) for one in setups) * len(app.held_out)
    with app.reporter.progress("Answering") as advance, _Answering(app, snapshot, advance, total) as answering:

        def answered(setup: Setup, questions: Questions) -> Artifact:
            artifact = app.build(decided.inputs(setup, questions), partial(answering.work, setup, questions))
            answering.done += len(questions)
            return artifact

        # One model after the other, so that only one is in memory at a time.
        for setup in sorted(setups, key=lambda setup: setup.model):
            try:
                made[setup.name] = asked(app, setup, answered)
            except UsageError:
                raise
            except RagftError as error:
                if not isinstance(setup, Arm):
                    raise
                app.reporter.say(f"The arm {setup.name} is left out of the comparison: {error}")
                answering.done += len(app.questions)
    return {setup.name: one for setup in setups if (one := made.get(setup.name)) is not None}


def answers_to(app: Application, setup: Setup, questions: Questions, snapshot: Snapshot | None) -> Artifact:
    """The records of one setup over other questions than the evaluation's; raises as `records`.

    Args:
        snapshot: that is searched; None for a setup without retrieval.
    """
    inputs = Decided(app, snapshot.id if snapshot else None).inputs(setup, questions)
    with (
        app.reporter.progress("Answering") as advance,
        _Answering(app, snapshot, advance, len(questions)) as answering,
    ):
        return app.build(inputs, partial(answering.work, setup, questions))


class _Answering(contextlib.AbstractContextManager["_Answering"]):
    """Answers setup after setup; search and engines begin when the first answer is missing.

    Attributes:
        done: questions that are answered, over all setups.
    """

    def __init__(self, app: Application, snapshot: Snapshot | None, advance: Advance, total: int) -> None:
        self.done = 0
        self._app, self._snapshot, self._advance, self._total = app, snapshot, advance, total
        self._engines: dict[str, Engine] = {}
        self._retrieved: dict[tuple[str, ...], list[Retrieved]] = {}
        # vLLM's engine belongs to the event loop that started it.
        self._runner = asyncio.Runner()

    def __exit__(self, *error: object) -> None:
        try:
            self._close()
        finally:
            self._runner.close()

    def work(self, setup: Setup, questions: Questions, folder: Path) -> dict[str, Any]:
        """Generates the records of a setup into a folder."""
        config = self._app.config
        retrieved = self._passages(setup, questions, self._snapshot) if setup.retrieval and self._snapshot else None
        self._advance(self.done, self._total, f"loading the {setup.model} model")
        pipeline = Pipeline(config, {setup.model: self._engine(setup)}, None)
        if setup.shots and not isinstance(setup, Arm):
            _refuse_too_long(pipeline, setup, questions)

        def advance(count: int) -> None:
            self._advance(self.done + count, self._total, setup.name)

        failed = self._runner.run(generate(pipeline, setup, questions, retrieved, folder, advance))
        if failed > config.evaluate.max_failed * len(questions):
            raise RagftError(
                f"{failed} of {len(questions)} answers of {setup.name} failed, more than evaluate.max_failed = "
                f"{config.evaluate.max_failed} allows; {folder / 'records.jsonl'} says why, and the same command "
                "asks them again."
            )
        return {"questions": len(questions), "failed": failed, "at_once": config.engine.max_num_seqs}

    def _passages(self, setup: Setup, questions: Questions, snapshot: Snapshot) -> list[Retrieved]:
        if isinstance(setup, Arm) and self._app.config.evaluate.arms[setup.name].passages == "gold":
            return gold(self._app, snapshot)
        return self._search(setup, questions, snapshot)

    def _search(self, setup: Setup, questions: Questions, snapshot: Snapshot) -> list[Retrieved]:
        """The passages of every question as the caller sees them that is stood for: the same for all setups whose
        follow-ups the same model rewrites, if a model does.
        """
        rewrites = self._app.config.serve.condense == "model" and any(one.history for one in questions)
        by = (setup.model if rewrites else "", *(question.id for question in questions))
        if by not in self._retrieved:
            retriever = self._app.retriever(snapshot)
            engines = {setup.model: self._engine(setup)} if rewrites else {}
            pipeline = Pipeline(self._app.config, engines, retriever)
            asked = self._runner.run(queries(pipeline, setup, questions, self._app.labels))
            self._retrieved[by] = retriever.search(asked, labels=self._app.labels)
        return self._retrieved[by]

    def _engine(self, setup: Setup) -> Engine:
        model = setup.model
        if model not in self._engines:
            self._close()
            if isinstance(setup, Arm) and model not in OWN_MODELS:
                self._engines[model] = arm_engine(self._app, setup)
            else:
                self._engines |= engines(self._app, self._loaded_with(model))
            for engine in self._engines.values():
                self._runner.run(engine.start())
        return self._engines[model]

    def _loaded_with(self, model: str) -> dict[str, Path]:
        """The folders of the models that are loaded when one is asked for: of all if they share an engine."""
        wanted = {model}
        if self._app.config.serve.adapters == "live":
            wanted |= {setup.model for setup in setups_and_arms(self._app)} & set(OWN_MODELS)
        return {name: self._app.model_folder(name) for name in sorted(wanted)}

    def _close(self) -> None:
        for engine in self._engines.values():
            self._runner.run(engine.close())
        self._engines.clear()


def _refuse_too_long(pipeline: Pipeline, setup: Setup, questions: Questions) -> None:
    """Refuses a few-shot prompt that has no room for the longest question, before any is asked."""
    longest = max((question.question for question in questions), key=len)
    prompt = pipeline.render(setup, longest, Retrieved((), "", 0.0) if setup.retrieval else None)
    if (tokens := pipeline.engine_of(setup).prompt_length(prompt.messages)) > pipeline.room:
        raise UsageError(
            f"The {len(setup.shots) // 2} examples in the prompt of {setup.name} do not fit: with a question and no "
            f"passage, it takes {tokens} tokens, and engine.max_model_len = {pipeline.config.engine.max_model_len} "
            f"has room for {pipeline.room} beside an answer; lower shots in evaluate.prompts or prompt.untuned."
        )
