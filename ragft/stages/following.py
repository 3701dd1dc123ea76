"""Whether models follow instructions that have nothing to do with the domain: a part of the suite `forgetting`.

The engine answers, as it does in the comparison of the setups, but each instruction stands alone: without the domain's
system prompt, which the base has never seen, and without the wording that questions get.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.artifacts import Artifact
from ragft.data.questions import Question
from ragft.errors import RagftError
from ragft.evaluate.records import read_records
from ragft.evaluate.run import generate
from ragft.evaluate.suites.forgetting import PRIMARY, Forgotten, compared
from ragft.evaluate.suites.instructions import Instructed, keeps
from ragft.messages import turn
from ragft.pipeline import Pipeline, Prompt, Retrieved
from ragft.setups import SETUPS, Setup
from ragft.stages.application import Application, Inputs
from ragft.stages.inputs import FOLLOWING

if TYPE_CHECKING:
    from ragft.stages.forgetting import Task

_VERSION = 1


class _Alone(Pipeline):
    """Asks what is written, and nothing else."""

    def render(self, setup: Setup, question: str, retrieved: Retrieved | None, **others: Any) -> Prompt:
        return Prompt(setup, [turn("user", question)], None)


def generated(app: Application, model: str, folder: Path, version: str, found: Sequence[Task[Instructed]]) -> Artifact:
    """The answers of one model to all instructions; an interrupted run goes on.

    Raises:
        RagftError: more of them failed than `evaluate.max_failed` allows.
    """
    settings, limit = app.config.evaluate.general, app.config.evaluate.max_failed
    longest = app.config.engine.model_copy(update={"max_tokens": settings.max_tokens})
    questions = [
        Question(f"{task.name}/{one.id}", one.prompt, (), (), True) for task in found for one in task.questions
    ]

    async def answer(growing: Path, advance: Callable[[int], None]) -> int:
        engine, setup = app.engine(folder), SETUPS["prompt-only" if model == "base" else "fine-tuned"]
        pipeline = _Alone(app.config.model_copy(update={"engine": longest}), {setup.model: engine}, None)
        await engine.start()
        try:
            return await generate(pipeline, setup, questions, None, growing, advance)
        finally:
            await engine.close()

    def work(growing: Path) -> dict[str, Any]:
        with app.reporter.progress(f"Instructions, {model} model") as advance:
            failed = asyncio.run(answer(growing, lambda done: advance(done, len(questions), "answers")))
        if failed > limit * len(questions):
            raise RagftError(
                f"{failed} of {len(questions)} answers of the {model} model failed, more than evaluate.max_failed = "
                f"{limit} allows; {growing / 'records.jsonl'} says why, and the same command asks them again."
            )
        return {"questions": len(questions), "failed": failed}

    inputs = {
        "model": version, "tasks": {task.name: task.hash for task in found}, "limit": settings.limit,
        "max_tokens": settings.max_tokens, "template": app.template.hash, "version": _VERSION,
    }  # fmt: skip
    return app.build(Inputs((FOLLOWING,), inputs), work)


def instructed(found: Sequence[Task[Instructed]], base: Artifact, tuned: Artifact, margin: float) -> list[Forgotten]:
    """The comparison of each task; an answer that failed keeps nothing."""
    metric = PRIMARY["instructions"]
    before, after = (
        {record.question_id: record.answer for record in read_records(answers.folder / "records.jsonl")}
        for answers in (base, tuned)
    )

    def kept(task: Task[Instructed], answers: dict[str, str]) -> list[bool]:
        return [keeps(one, answers.get(f"{task.name}/{one.id}", "")) for one in task.questions]

    return [compared(task.name, metric, kept(task, before), kept(task, after), margin=margin) for task in found]
