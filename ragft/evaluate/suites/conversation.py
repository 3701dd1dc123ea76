"""Conversation: do follow-ups find and get what the same questions get when they are asked by themselves?

Every follow-up is compared with its stand-alone wording, question by question. `ask` needs a pipeline, and with it the
engine contract alone; the rest are pure functions.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from index.search.search import Hit
from ragft.conversation import questions_in
from ragft.data.questions import Question
from ragft.engine.base import EngineDead
from ragft.errors import RagftError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.text import outcome_of
from ragft.evaluate.records import Record
from ragft.evaluate.statistics import Clusters, Columns, pair_tests
from ragft.evaluate.suites.figures import share
from ragft.messages import Message, turn
from ragft.pipeline import Pipeline
from ragft.setups import Setup

Kind = Literal["follow-up", "standalone", "rewritten"]

CONVERSATION_VERSION = 1
"""Raised whenever the same follow-ups would be asked, changed or judged otherwise."""


@dataclass(frozen=True)
class Case:
    """A follow-up, asked behind its turns or by itself, or only rewritten by the model."""

    question: Question
    kind: Kind


@dataclass(frozen=True)
class Told:
    """What a setup answered to a case.

    Attributes:
        query: what was searched for; None without retrieval.
        outcome: as `outcome_of` names it, or `failed`; empty where nothing was to be answered.
    """

    question_id: str
    setup: str
    kind: Kind
    query: str | None = None
    answer: str = ""
    outcome: str = ""
    error: str | None = None


async def ask(pipeline: Pipeline, setup: Setup, case: Case, rules: Rules, labels: Any) -> Told:
    """Asks a setup about a case, and judges the answer.

    Args:
        pipeline: over an engine that has started, with a retriever.
        labels: the caller's.

    Raises:
        EngineDead: the engine died.
    """
    question = case.question
    told = Told(question.id, setup.name, case.kind)
    alone = case.kind == "standalone" and question.standalone is not None
    text, history = (question.standalone or "", ()) if alone else (question.question, question.history)
    try:
        if case.kind == "rewritten":
            return replace(told, query=(await pipeline.query(setup, text, history, labels=labels))[0])
        retrieved = await pipeline.retrieve(setup, text, history=history, labels=labels)
        answer = await pipeline.answer(pipeline.render(setup, text, retrieved, history=history))
    except EngineDead:
        raise
    except RagftError as error:
        return replace(told, outcome="failed", error=str(error))
    record = Record(question.id, setup.name, answer.text, finish_reason=answer.finish_reason)
    outcome = outcome_of(question, record, rules)
    return replace(told, query=answer.query, answer=answer.text, outcome=outcome)


def turn_of(question: Question) -> int:
    """Which turn of the user a question is, from 1."""
    return len(questions_in(question.history)) + 1


def behind_others(questions: Sequence[Question], follow_ups: Sequence[Question], seed: int) -> list[list[Message]]:
    """For every question the turns of a follow-up about other documents, drawn by `seed`: the topic changes."""
    histories = []
    for question in questions:
        own = {document for source in question.sources for document in source.documents}
        others = [
            one for one in follow_ups if own.isdisjoint(name for source in one.sources for name in source.documents)
        ]
        drawn = random.Random(f"{seed} {question.id}").choice(others or list(follow_ups))
        histories.append([*drawn.history, turn("user", drawn.question)])
    return histories


def found_all(questions: Sequence[Question], found: Sequence[Sequence[Hit]]) -> Columns:
    """(questions, 1): 1 where every source of a question is among the hits for it."""
    rows = []
    for question, hits in zip(questions, found, strict=True):
        sources = {
            source for hit in hits for source in question.sources_of(hit.document_id, hit.heading_path, hit.title)
        }
        rows.append([float(set(question.sources) <= sources)])
    return np.array(rows)


def compared(
    columns: Mapping[str, Columns], with_: str, questions: Sequence[Question], clusters: Clusters, *, seed: int,
    resamples: int,
) -> dict[str, Any]:  # fmt: skip
    """Shares of yes and no under several names, beside one of them.

    Args:
        columns: (questions, 1), by name.
        with_: the name that each other one is compared with.

    Returns:
        By name `{share, turns, difference}`: the share `{mean, low, high, n, clusters}` with a 95 % interval by
        cluster, the same by turn, and the paired difference from `with_`, corrected over the names; None for itself.
    """
    tests = pair_tests(
        columns, [(name, with_) for name in columns if name != with_], ["right"], clusters,
        shares=frozenset({"right"}), seed=seed, resamples=resamples,
    )  # fmt: skip
    differences = {test.a: test.figures() for test in tests}
    turns = np.array([[turn_of(question)] for question in questions])
    return {
        name: {
            "share": share(column, clusters),
            "turns": {
                str(number): share(np.where(turns == number, column, np.nan), clusters)
                for number in sorted(set(turns[:, 0].tolist()))
            },
            "difference": differences.get(name),
        }
        for name, column in columns.items()
    }


def answers(
    told: Sequence[Told], questions: Sequence[Question], clusters: Clusters, *, seed: int, resamples: int
) -> dict[str, Any]:
    """How a setup answers follow-ups beside the same questions asked alone, as `compared`; failed ones are wrong.

    A follow-up without a stand-alone wording counts in its own share alone. `failed` counts answers that failed.
    """
    rows = {question.id: row for row, question in enumerate(questions)}

    def column(kind: str) -> Columns:
        values = np.full((len(questions), 1), np.nan)
        for one in told:
            if one.kind == kind:
                values[rows[one.question_id]] = float(one.outcome == "right")
        return values

    columns = {kind: column(kind) for kind in ("follow-up", "standalone")}
    columns = {name: values for name, values in columns.items() if not np.isnan(values).all()}
    with_ = "standalone" if "standalone" in columns else "follow-up"
    shown = compared(columns, with_, questions, clusters, seed=seed, resamples=resamples)
    return {**shown, "failed": sum(one.outcome == "failed" for one in told)}
