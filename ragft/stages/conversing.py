"""Follow-ups in records: what is searched for them, and what decides that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from index.store.filters import Labels
from ragft.conversation import CONDENSING_VERSION
from ragft.data.questions import Question
from ragft.engine.many import ask_many
from ragft.pipeline import Pipeline
from ragft.rewriting import REWRITING_VERSION
from ragft.setups import Setup
from ragft.stages.application import Application


def how_conversed(app: Application, questions: Iterable[Question], setup: Setup) -> dict[str, Any]:
    """What decides beside its keys how a setup answers follow-ups; nothing where there are none."""
    if not any(question.history for question in questions):
        return {}
    condense = app.config.serve.condense
    versions = {"off": None, "heuristic": CONDENSING_VERSION, "model": [CONDENSING_VERSION, REWRITING_VERSION]}
    searched = {"condense": [condense, versions[condense]]} if setup.retrieval else {}
    return {"history_tokens": app.config.prompt.history_tokens, **searched}


async def queries(pipeline: Pipeline, setup: Setup, questions: Sequence[Question], labels: Labels) -> list[str]:
    """What is searched for each question, as the endpoint would, but for its deadline."""

    async def one(question: Question) -> str:
        return (await pipeline.query(setup, question.question, question.history, labels=labels))[0]

    return await ask_many(questions, pipeline.config.engine.max_num_seqs, one, lambda _: None)
