"""Asks every setup the same things, one model after the other, for suites that need other answers than the records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from ragft.artifacts import Artifact
from ragft.data.jsonl import read_objects
from ragft.errors import RagftError
from ragft.pipeline import Pipeline
from ragft.setups import Setup
from ragft.stages.application import Application


class Told(Protocol):
    """An answer, or why there is none."""

    @property
    def question_id(self) -> str: ...
    @property
    def error(self) -> str | None: ...


T = TypeVar("T", bound=Told)
Ask = Callable[[Pipeline, Setup, Callable[[int], None]], Coroutine[Any, Any, list[T]]]
"""Asks a setup everything; the last argument is called with the number of answers so far."""


def ask_setups(app: Application, setups: Sequence[Setup], count: int, title: str, ask: Ask[T]) -> dict[str, list[T]]:
    """What each setup answers, by its name.

    Args:
        count: answers of each setup.
        title: of the progress that is shown.

    Raises:
        RagftError: more answers of a setup failed than `evaluate.max_failed` allows.
    """
    told = dict[str, list[T]]()
    with app.reporter.progress(title) as advance, asyncio.Runner() as runner:
        for done, setup in enumerate(setups):
            engine = app.engine(app.model_folder(setup.model))
            runner.run(engine.start())
            try:
                pipeline = Pipeline(app.config, {setup.model: engine}, None)

                def answered(number: int, name: str = setup.name, before: int = done * count) -> None:
                    advance(before + number, len(setups) * count, name)

                told[setup.name] = runner.run(ask(pipeline, setup, answered))
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
