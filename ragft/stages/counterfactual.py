"""The counterfactual suite over the live index: do answers follow when the value in a passage changes?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from index.durable import write_file
from ragft.artifacts import Artifact
from ragft.data.gold import located
from ragft.data.jsonl import to_lines
from ragft.errors import UsageError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.suites.counterfactual import COUNTERFACTUAL_VERSION, ask, changed, result
from ragft.stages.application import Application, Inputs
from ragft.stages.asking import (
    ask_setups,
    right_by_setup,
    setups_with_passages,
    single_questions,
    what_is_asked,
)
from ragft.stages.index import live_snapshot
from ragft.stages.inputs import COUNTERFACTUAL, RETRIEVAL


def counterfactual(app: Application, evaluation: Artifact) -> Artifact:
    """The suite for every setup with retrieval that is compared, with `result` of each among the figures.

    Args:
        evaluation: of the same setups; it tells which questions they answer rightly from the unchanged passages.

    Raises:
        UsageError: no setup retrieves, or no question can be changed.
        RagftError: more answers of a setup failed than `evaluate.max_failed` allows.
    """
    config = app.config
    setups = setups_with_passages(app, "change")
    snapshot = live_snapshot(app)
    inputs = {"version": COUNTERFACTUAL_VERSION, **what_is_asked(app, setups, snapshot, evaluation)}

    def work(folder: Path) -> dict[str, Any]:
        questions = located(single_questions(app), snapshot.chunks()).questions
        found = app.retriever(snapshot).search([question.question for question in questions], labels=app.labels)
        made = [changed(question, one.hits, config.seed) for question, one in zip(questions, found, strict=True)]
        cases = [case for case in made if case is not None]
        if not cases:
            raise UsageError(
                "No question has a date, version, number, yes or no as its answer that stands in a passage found for "
                "it, so nothing can be changed."
            )
        right = right_by_setup(evaluation)
        rules = Rules.of(config.answer)
        told = ask_setups(
            app, setups, cases, "Asking with changed passages",
            lambda pipeline, setup, case: ask(pipeline, setup, case, rules),
        )  # fmt: skip
        write_file(
            folder / "counterfactual.jsonl", to_lines(asdict(one) for answers in told.values() for one in answers)
        )
        return {name: result(answers, len(questions), right.get(name, set())) for name, answers in told.items()}

    return app.build(Inputs((COUNTERFACTUAL, RETRIEVAL), inputs, {"index": snapshot.id}), work)


def counterfactual_lines(artifact: Artifact) -> list[str]:
    """The result for people, a line for each setup."""
    return [f"{setup}: {_line(found)}" for setup, found in artifact.figures.items()]


def _line(found: Mapping[str, Any]) -> str:
    where, followed = found["where_right"], found["followed"]
    if not found["n"]:
        return f"none of {found['cases']} changed passages was answered."
    of_right = where["followed"]
    beside = f"; of the {where['n']} that it answers rightly otherwise {of_right['share']:.0%}" if where["n"] else ""
    return (
        f"{followed['share']:.0%} of {found['n']} answers follow a changed passage (95 % interval "
        f"{followed['low']:.0%} to {followed['high']:.0%}), {found['stuck']['share']:.0%} keep the old value, "
        f"{found['refused']['share']:.0%} refuse, {found['other']['share']:.0%} say another{beside}."
    )
