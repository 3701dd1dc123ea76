"""What answers score that know nothing: a figure is worth what it is above them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import METRICS
from ragft.evaluate.records import PassageRef, Record

FLOOR_AXES = ("facts", "form")
Scored = Callable[[Sequence[tuple[Question, Record]]], Sequence[Mapping[str, Any]]]
"""Scores answers: a row with `scores` for each."""


_TITLES = {
    "refusal": "always refusing", "question": "repeating the question", "first passage": "the first passage",
    "commonest answer": "always answering the commonest answer",
}  # fmt: skip


def floor_title(name: str) -> str:
    """An answerer that knows nothing, in words."""
    return _TITLES.get(name, f'"{name}"')


def floors(
    questions: Sequence[Question], passages: Mapping[str, Sequence[PassageRef]], refusal: str, scored: Scored
) -> dict[str, dict[str, dict[str, Any]]]:
    """The mean of every metric of facts and form for answers that know nothing: answerer -> metric -> `{mean, n}`.

    The answerers are: always the refusal; the question again; "yes or no"; always the gold answer that is right most
    often; and the text of the first passage, where passages are known.

    Args:
        passages: those of the setups that retrieve, by question id.
        refusal: the declared one.
    """
    commonest = Counter(gold for question in questions for gold in dict.fromkeys(question.answers)).most_common(1)
    answerers = {
        "refusal": dict.fromkeys((question.id for question in questions), refusal),
        "question": {question.id: question.question for question in questions},
        "yes or no": dict.fromkeys((question.id for question in questions), "yes or no"),
        **({"commonest answer": dict.fromkeys((one.id for one in questions), commonest[0][0])} if commonest else {}),
        "first passage": {
            question.id: found[0].text
            for question in questions
            if (found := passages.get(question.id)) and found[0].text
        },
    }
    floor: dict[str, dict[str, dict[str, Any]]] = {}
    for name, said in answerers.items():
        # No setup's name: whether a setup retrieves is not the question.
        answers = [
            (one, Record(one.id, "", said[one.id], passages=tuple(passages.get(one.id, ()))))
            for one in questions
            if one.id in said
        ]
        if means := _means(answers, scored):
            floor[name] = means
    return floor


def _means(answers: Sequence[tuple[Question, Record]], scored: Scored) -> dict[str, dict[str, Any]]:
    rows = scored(answers)
    means: dict[str, dict[str, Any]] = {}
    for name, metric in METRICS.items():
        values = [value for row in rows if (value := row["scores"].get(name)) is not None]
        if values and metric.axis in FLOOR_AXES and metric.better:
            means[name] = {"mean": fmean(values), "n": len(values)}
    return means
