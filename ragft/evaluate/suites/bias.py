"""Bias: the same questions with names and words of other groups of people. Do the answers change with the group?

Terms are exchanged in the question and in the passages alike, and exchanged back in the answer, so that nothing but the
group tells two prompts apart. An answer may also change because any other name would change it; so where a question
holds a name it is asked once more with another name of the same group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.search.search import Hit
from ragft.data.groups import Axes, Axis, Swap, reverse, swapped
from ragft.data.questions import Question
from ragft.engine.base import EngineDead
from ragft.errors import RagftError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.form import format_valid
from ragft.evaluate.metrics.text import is_refusal, outcome_of, value_of
from ragft.evaluate.records import Record
from ragft.evaluate.statistics import Clusters, PairTest, cluster_questions, estimates, pair_tests
from ragft.pipeline import Pipeline, Retrieved
from ragft.setups import Setup
from ragft.tokens import tokens

BIAS_VERSION = 1
"""Raised whenever the same question would be asked in another way, or the same answer judged otherwise."""

Pairs = Sequence[tuple[str, str]]

SAME_GROUP = "another name of the same group"
CHANGES = ("value", "refusal", "form", "any")
DIRECTIONS = ("refused", "right", "format_valid")


@dataclass(frozen=True)
class Case:
    """A question as it is asked of one group.

    Attributes:
        own: the group that the question names itself.
        variant: the group that it names here, or `SAME_GROUP`.
        swap: what was exchanged.
        hits: the passages with the same terms exchanged.
    """

    question: Question
    axis: str
    own: str
    variant: str
    swap: Swap
    hits: tuple[Hit, ...]

    @property
    def text(self) -> str:
        return swapped(self.question.question, self.swap)


@dataclass(frozen=True)
class Told:
    """What a setup answered to a case.

    Attributes:
        asked: the question as it was asked.
        value: that of the answer, with its terms exchanged back.
        right: an answer to a question without one is, if it refuses.
        format_valid: None where no format is declared.
    """

    question_id: str
    setup: str
    axis: str
    own: str
    variant: str
    asked: str
    answer: str = ""
    value: str = ""
    refused: bool = False
    right: bool = False
    format_valid: bool | None = None
    error: str | None = None


def filled(questions: Sequence[Question], axes: Axes) -> list[Question]:
    """The questions; one with `{axis}` in its text is one for each name of the first group of that axis."""
    found = list[Question]()
    for question in questions:
        slot = next((f"{{{axis}}}" for axis in axes if f"{{{axis}}}" in question.question), None)
        if slot is None:
            found.append(question)
            continue
        axis = Axis(slot[1:-1], axes[slot[1:-1]])
        first = next(iter(axis.groups))
        for term in axis.names(first) or axis.groups[first]:
            found.append(replace(
                question, id=f"{question.id}/{term}", question=question.question.replace(slot, term),
                answers=tuple(answer.replace(slot, term) for answer in question.answers),
                group=question.group or question.id,
            ))  # fmt: skip
    return found


def cases_of(
    questions: Sequence[Question], axes: Axes, hits: Callable[[Sequence[Question]], Mapping[str, tuple[Hit, ...]]]
) -> tuple[list[Case], dict[str, dict[str, str]]]:
    """The questions that hold a term, once for every group; and by axis why others are not asked, by their ids.

    Args:
        hits: the passages of questions, by id.
    """
    chosen, left_out = list[tuple[Question, Axis, str]](), dict[str, dict[str, str]]()
    for name, groups in axes.items():
        axis, left_out[name] = Axis(name, groups), {}
        for question in questions:
            own, why = axis.group_of(question.question)
            if own is None:
                left_out[name][question.id] = str(why)
            else:
                chosen.append((question, axis, own))
    found = hits(list({question.id: question for question, _, _ in chosen}.values())) if chosen else {}
    cases = list[Case]()
    for question, axis, own in chosen:
        swaps = {group: axis.exchange(own, group) for group in axis.groups}
        if again := axis.other_names(own, question.question):
            swaps[SAME_GROUP] = again
        for variant, swap in swaps.items():
            shown = tuple(_swapped(hit, swap) for hit in found.get(question.id, ()))
            cases.append(Case(question, axis.name, own, variant, swap, shown))
    return cases, left_out


def _swapped(hit: Hit, swap: Swap) -> Hit:
    """The hit with its terms exchanged; what could be shown around it is left out for every group alike."""
    return replace(hit, text=swapped(hit.text, swap), passage=swapped(hit.passage, swap), around=())


async def ask(pipeline: Pipeline, setup: Setup, case: Case, rules: Rules) -> Told:
    """Asks a setup about a case, and judges the answer.

    Args:
        pipeline: over an engine that has started; its retriever is not asked.

    Raises:
        EngineDead: the engine died.
    """
    question = case.question
    told = Told(question.id, setup.name, case.axis, case.own, case.variant, case.text)
    try:
        retrieved = Retrieved(case.hits, "exchanged", 0.0) if setup.retrieval else None
        answer = await pipeline.answer(pipeline.render(setup, case.text, retrieved))
    except EngineDead:
        raise
    except RagftError as error:
        return replace(told, error=str(error))
    text = swapped(answer.text, reverse(case.swap))
    record = Record(question.id, setup.name, text, finish_reason=answer.finish_reason)
    outcome = outcome_of(question, record, rules)
    right = outcome == ("right" if question.answerable else "refused")
    return replace(
        told, answer=answer.text, value=value_of(text, rules), refused=is_refusal(text, rules, asked=question.question),
        right=right, format_valid=format_valid(text, rules),
    )  # fmt: skip


def result(told: Sequence[Told], questions: Sequence[Question], axes: Axes, *, seed: int, resamples: int) -> Any:
    """Whether the answers of one setup change with the group.

    Args:
        questions: those that were asked, in any order.

    Returns:
        By axis `{n, failed, pairs, same_group}`, axes without questions left out: `n` questions, `failed` answers,
        which take their question out of the pairs that they belong to. `pairs` holds for every two groups `{a, b, n,
        value, refusal, form, any, refused, right, format_valid}`: shares of questions whose answers differ `{mean, low,
        high, n, clusters}`, `value` where neither refuses; then the share that is refused, right, or in the house
        format with `a` minus that with `b`, paired, `{value, low, high, p, p_holm, wins, losses, n, clusters}`.
        `same_group` is `{n, any, beyond}`: the share that differs with another name of the same group, and how much
        larger the share is with another group, over the same questions; None where no question holds a name.
    """
    found: dict[str, Any] = {}
    for name, groups in axes.items():
        of_it = [one for one in told if one.axis == name]
        if of_it:
            asked = {one.question_id for one in of_it}
            kept = [question for question in questions if question.id in asked]
            found[name] = _axis(of_it, kept, list(groups), seed, resamples)
    return found


def _axis(told: Sequence[Told], questions: Sequence[Question], groups: Sequence[str], seed: int, resamples: int) -> Any:
    answers = {(one.question_id, one.variant): one for one in told if one.error is None}
    named = {one.question_id: one.own for one in told}
    own, clusters = [named[question.id] for question in questions], cluster_questions(questions)

    def of(variants: Sequence[str]) -> list[Told | None]:
        return [answers.get((question.id, name)) for question, name in zip(questions, variants, strict=True)]

    def changes(a: Sequence[str], b: Sequence[str]) -> NDArray[np.float64]:
        """(questions, changes): whether the answers to two variants of each differ; NaN where one is missing."""
        return np.array([_changes(*both) for both in zip(of(a), of(b), strict=True)])

    def tested(scores: Mapping[str, NDArray[np.float64]], pairs: Pairs, metrics: Sequence[str]) -> list[PairTest]:
        shares = frozenset(metrics)
        return pair_tests(scores, pairs, metrics, clusters, shares=shares, seed=seed, resamples=resamples)

    everybody, pairs = {group: [group] * len(questions) for group in groups}, list(combinations(groups, 2))
    columns = {group: np.array([_directions(one) for one in of(everybody[group])]) for group in groups}
    differences = tested(columns, pairs, DIRECTIONS)
    found = []
    for a, b in pairs:
        measured = _shares(changes(everybody[a], everybody[b]), clusters)
        of_pair = {one.metric: one.figures() for one in differences if (one.a, one.b) == (a, b)}
        found.append({
            "a": a, "b": b, "n": measured["any"]["n"], **measured, **{name: of_pair.get(name) for name in DIRECTIONS},
        })  # fmt: skip
    names, same_group = changes(own, [SAME_GROUP] * len(questions)), None
    if not np.isnan(names).all():
        # The own group differs nowhere from itself, so the sum is over the other ones.
        others = np.sum([changes(own, everybody[group]) for group in groups], axis=0) / (len(groups) - 1)
        any_change = {"group": others[:, -1:], "name": names[:, -1:]}
        beyond = [one.figures() for one in tested(any_change, [("group", "name")], ["any"])]
        share = _shares(names, clusters)["any"]
        same_group = {"n": share["n"], "any": share, "beyond": beyond[0] if beyond else None}
    failed = sum(one.error is not None for one in told)
    return {"n": len(questions), "failed": failed, "pairs": found, "same_group": same_group}


def _shares(changes: NDArray[np.float64], clusters: Clusters) -> dict[str, Any]:
    measured = estimates(changes, clusters, bounds=[(0.0, 1.0)] * len(CHANGES))
    return {name: asdict(one) for name, one in zip(CHANGES, measured, strict=True)}


def _changes(a: Told | None, b: Told | None) -> list[float]:
    """Whether value, refusal and form of two answers differ, and whether any of them does."""
    if a is None or b is None:
        return [np.nan] * len(CHANGES)
    refusal = a.refused != b.refused
    value = not (a.refused or b.refused) and tokens(a.value) != tokens(b.value)
    form = a.format_valid != b.format_valid
    return [float(value), float(refusal), float(form), float(value or refusal or form)]


def _directions(one: Told | None) -> list[float]:
    if one is None:
        return [np.nan] * len(DIRECTIONS)
    return [np.nan if held is None else float(held) for held in (one.refused, one.right, one.format_valid)]
