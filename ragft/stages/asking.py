"""Asks every setup the same things, one model after the other, for suites that need other answers than the records."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from index.store.snapshot import Snapshot
from ragft.artifacts import Artifact, hash_file
from ragft.console import counted
from ragft.data.jsonl import read_objects
from ragft.data.questions import Question
from ragft.engine.many import ask_many
from ragft.errors import RagftError, UsageError
from ragft.pipeline import Pipeline
from ragft.setups import SETUPS, Setup
from ragft.stages.application import Application
from ragft.stages.evaluation import asked_before
from ragft.stages.live import engine_of, version_of
from ragft.stages.prompt_choice import configured


class Told(Protocol):
    """An answer, or why there is none."""

    @property
    def question_id(self) -> str: ...
    @property
    def error(self) -> str | None: ...


Case = TypeVar("Case")
T = TypeVar("T", bound=Told)


def setups_with_passages(app: Application, verb: str) -> list[Setup]:
    """The setups of the configuration that retrieve, as they were asked when they were compared.

    Args:
        verb: what is done with their passages.

    Raises:
        UsageError: none does.
    """
    setups = [SETUPS[name] for name in app.config.evaluate.setups if SETUPS[name].retrieval]
    if not setups:
        raise UsageError(f"No setup of evaluate.setups retrieves, so there are no passages to {verb}: add hybrid.")
    if app.config.evaluate.prompts:
        asked = asked_before(app)
        return [asked[setup.name].setup for setup in setups]
    return [configured(app, setup)[0] for setup in setups]


def what_is_asked(
    app: Application, setups: Sequence[Setup], snapshot: Snapshot | None, evaluation: Artifact | None
) -> dict[str, Any]:
    """What decides the answers of these setups to varied questions, and beside which answers they are seen.

    Args:
        snapshot: None where no setup retrieves.
        evaluation: None where they are seen beside no others.
    """
    searched = {} if snapshot is None else {"index": snapshot.id, "reranker": app.encoder_hashes()["reranker"]}
    beside = {} if evaluation is None else {"evaluation": evaluation.fingerprint}
    return {
        "models": {setup.name: version_of(app, app.model_folder(setup.model)) for setup in setups},
        **searched, **beside, "questions": hash_file(app.config.data.questions),
    }  # fmt: skip


def single_questions(app: Application) -> tuple[Question, ...]:
    """The questions without a history; says how many are left out."""
    single = tuple(question for question in app.questions if not question.history)
    if left_out := len(app.questions) - len(single):
        app.reporter.say(f"{counted(left_out, 'follow-up')} left out: only questions without `history` are varied.")
    return single


def ask_setups(
    app: Application, setups: Sequence[Setup], cases: Sequence[Case], title: str,
    ask: Callable[[Pipeline, Setup, Case], Awaitable[T]],
) -> dict[str, list[T]]:  # fmt: skip
    """What each setup answers to every case, in their order, by its name.

    Args:
        title: of the progress that is shown.

    Raises:
        RagftError: more answers of a setup failed than `evaluate.max_failed` allows.
    """
    told = dict[str, list[T]]()
    with app.reporter.progress(title) as advance, asyncio.Runner() as runner:
        for done, setup in enumerate(setups):
            engine = engine_of(app, app.model_folder(setup.model))
            runner.run(engine.start())
            try:
                pipeline = Pipeline(app.config, {setup.model: engine}, None)

                def answered(number: int, name: str = setup.name, before: int = done * len(cases)) -> None:
                    advance(before + number, len(setups) * len(cases), name)

                def one(case: Case, pipeline: Pipeline = pipeline, setup: Setup = setup) -> Awaitable[T]:
                    return ask(pipeline, setup, case)

                told[setup.name] = runner.run(ask_many(cases, app.config.engine.max_num_seqs, one, answered))
            finally:
                runner.run(engine.close())
            _refuse_failures(app, setup.name, told[setup.name])
    return told


def _refuse_failures(app: Application, name: str, told: Sequence[Told]) -> None:
    failed = [one for one in told if one.error is not None]
    if len(failed) > app.config.evaluate.max_failed * len(told):
        raise RagftError(
            f"{len(failed)} of {len(told)} answers of {name} failed, more than evaluate.max_failed = "
            f"{app.config.evaluate.max_failed} allows; the first, of question {failed[0].question_id!r}: "
            f"{failed[0].error}"
        )


def right_by_setup(evaluation: Artifact) -> dict[str, set[str]]:
    """Ids of the questions that each setup answered rightly."""
    right: dict[str, set[str]] = {}
    for _, row in read_objects(evaluation.folder / "scores.jsonl", "scores", ""):
        if row["scores"].get("exact_match") == 1.0:
            right.setdefault(row["setup"], set()).add(row["question_id"])
    return right
