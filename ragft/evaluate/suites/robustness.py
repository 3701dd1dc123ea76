"""Robustness: the same questions again with one thing changed, see `disturbances`. Which right answers stay right?

Every variation is compared with the answers to the unchanged questions, question by question. `ask` needs a pipeline,
and with it the engine contract alone; the rest are pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from ragft.data.answers import holds, run_of
from ragft.data.questions import Question
from ragft.engine.base import EngineDead
from ragft.errors import RagftError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.text import is_refusal, outcome_of, value_of
from ragft.evaluate.records import Record
from ragft.evaluate.statistics import Clusters, pair_tests
from ragft.evaluate.suites.disturbances import Case, Variation
from ragft.evaluate.suites.figures import share
from ragft.pipeline import Pipeline, Retrieved
from ragft.setups import Setup

Outcome = Literal["right", "wrong", "refused", "failed", "no room"]

ROBUSTNESS_VERSION = 2
"""Raised whenever the same question is changed in another way, or the same answer judged otherwise."""

VARIATIONS: tuple[Variation, ...] = get_args(Variation)
PLANTED: tuple[Variation, ...] = ("false", "instruction")
"""Those with a wrong answer in a passage."""


@dataclass(frozen=True)
class Told:
    """What a setup answered to a case.

    Attributes:
        asked: the question as it was asked.
        outcome: `no room` where the prompt had none for the passage that the case is about; nothing was asked then.
        obeyed: the answer is the planted one.
        both: the answer gives the planted value and a right one.
    """

    question_id: str
    setup: str
    variation: Variation
    asked: str
    answer: str
    outcome: Outcome
    planted: str | None = None
    obeyed: bool = False
    both: bool = False
    error: str | None = None


def obeys(case: Case, answer: str, rules: Rules) -> bool:
    """Whether an answer gives the planted value, and no accepted one beside it."""
    return _given(case, answer, rules) == (True, False)


def says_both(case: Case, answer: str, rules: Rules) -> bool:
    """Whether an answer gives the planted value and an accepted one, as one that tells of a conflict does."""
    return _given(case, answer, rules) == (True, True)


def _given(case: Case, answer: str, rules: Rules) -> tuple[bool, bool]:
    """Whether an answer gives the planted value, and an accepted one."""
    if case.planted is None or is_refusal(answer, rules, asked=case.text):
        return False, False
    said = value_of(answer, rules)
    return holds(said, run_of(case.planted)), any(holds(said, run_of(gold)) for gold in case.question.answers)


async def ask(pipeline: Pipeline, setup: Setup, case: Case, rules: Rules) -> Told:
    """Asks a setup with retrieval about a case, and judges the answer.

    Args:
        pipeline: over an engine that has started; its retriever is not asked.

    Raises:
        EngineDead: the engine died.
    """
    told = Told(case.question.id, setup.name, case.variation, case.text, "", "no room", case.planted)
    try:
        prompt = pipeline.render(setup, case.text, Retrieved(case.hits, "disturbed", 0.0))
        if not all(any(text in hit.text for hit in prompt.hits) for text in case.needed):
            return told
        answer = await pipeline.answer(prompt)
    except EngineDead:
        raise
    except RagftError as error:
        return replace(told, outcome="failed", error=str(error))
    record = Record(case.question.id, setup.name, answer.text, finish_reason=answer.finish_reason)
    outcome = outcome_of(case.question, record, rules)
    judged: Outcome = "wrong" if outcome == "hedged" else outcome
    obeyed, both = obeys(case, answer.text, rules), says_both(case, answer.text, rules)
    return replace(told, answer=answer.text, outcome=judged, obeyed=obeyed, both=both)


def result(
    told: Sequence[Told], questions: Sequence[Question], right_before: Collection[str], clusters: Clusters, *,
    seed: int, resamples: int,
) -> dict[str, Any]:  # fmt: skip
    """What each variation does to the answers of one setup; a failed answer counts as wrong.

    Args:
        right_before: ids of the questions that the setup answers rightly as they are.
        clusters: of the questions, in their order.

    Returns:
        By name of a variation `{n, left_out, failed, no_room, right, refused, kept, obeyed, both, difference}`: `n`
        questions that were asked, and `left_out` answerable ones of which it cannot be made; shares `{mean, low, high,
        n, clusters}` with 95 % intervals by cluster, `kept` of those that were right before, `obeyed` and `both` None
        where no wrong answer was planted. `difference` is the share of right answers minus that before, paired,
        `{value, low, high, p, p_holm, wins, losses, n, clusters}`, corrected over the variations. Without its gold
        passage no question can be answered, so `kept` and `difference` of `without` are None.
    """
    rows = {question.id: row for row, question in enumerate(questions)}
    before = np.array([[float(question.id in right_before)] for question in questions])
    answerable = sum(question.answerable for question in questions)
    columns: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for variation in VARIATIONS:
        of_it = [one for one in told if one.variation == variation]
        asked = [one for one in of_it if one.outcome != "no room"]
        if not of_it:
            continue

        def column(holds: Callable[[Told], bool], asked: Sequence[Told] = asked) -> Any:
            values = np.full((len(questions), 1), np.nan)
            for one in asked:
                values[rows[one.question_id]] = float(holds(one))
            return values

        right = column(lambda one: one.outcome == "right")
        shares = {
            "right": right, "refused": column(lambda one: one.outcome == "refused"),
            "kept": np.where(before == 1.0, right, np.nan), "obeyed": column(lambda one: one.obeyed),
            "both": column(lambda one: one.both),
        }  # fmt: skip
        measured: dict[str, Any] = {name: share(values, clusters) for name, values in shares.items()}
        if variation not in PLANTED:
            measured["obeyed"] = measured["both"] = None
        if variation == "without":
            measured["kept"] = None
        else:
            columns[variation] = right
        failed = sum(one.outcome == "failed" for one in of_it)
        counts = {
            "n": len(asked), "left_out": answerable - len(of_it), "failed": failed, "no_room": len(of_it) - len(asked)
        }  # fmt: skip
        found[variation] = {**counts, **measured, "difference": None}
    pairs = [(variation, "before") for variation in columns]
    tests = pair_tests(
        {"before": before, **columns}, pairs, ["right"], clusters, shares=frozenset({"right"}), seed=seed,
        resamples=resamples,
    )  # fmt: skip
    for test in tests:
        found[test.a]["difference"] = test.figures()
    return found
