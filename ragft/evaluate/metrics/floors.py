"""What answers score that know nothing: a figure is worth what it is above them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import METRICS, Rules
from ragft.evaluate.records import PassageRef, Record

FLOOR_AXES = ("facts", "form")


def floors(
    questions: Sequence[Question], passages: Mapping[str, Sequence[PassageRef]], rules: Rules
) -> dict[str, dict[str, dict[str, Any]]]:
    """The mean of every metric of facts and form for answers that know nothing: answerer -> metric -> `{mean, n}`.

    The answerers are: always the refusal; the question again; "yes or no"; always the gold answer that is right most
    often; and the text of the first passage, where passages are known.

    Args:
        passages: those of the setups that retrieve, by question id.
    """
    commonest = Counter(gold for question in questions for gold in dict.fromkeys(question.answers)).most_common(1)
    answerers = {
        "refusal": {question.id: rules.refusal for question in questions},
        "question": {question.id: question.question for question in questions},
        "yes or no": dict.fromkeys((question.id for question in questions), "yes or no"),
        **({"commonest answer": dict.fromkeys((one.id for one in questions), commonest[0][0])} if commonest else {}),
        "first passage": {
            question.id: found[0].text
            for question in questions
            if (found := passages.get(question.id)) and found[0].text
        },
    }
    return {name: scored for name, said in answerers.items() if (scored := _means(questions, said, passages, rules))}


def _means(
    questions: Sequence[Question], said: Mapping[str, str], passages: Mapping[str, Sequence[PassageRef]], rules: Rules
) -> dict[str, dict[str, Any]]:
    values: dict[str, list[float]] = {}
    for question in questions:
        if question.id not in said:
            continue
        # No setup's name: whether a setup retrieves is not the question.
        record = Record(question.id, "", said[question.id], passages=tuple(passages.get(question.id, ())))
        for name, metric in METRICS.items():
            if metric.axis in FLOOR_AXES and metric.better:
                value = metric.score(question, record, rules).value
                if value is not None:
                    values.setdefault(name, []).append(value)
    return {name: {"mean": fmean(found), "n": len(found)} for name, found in values.items()}
