"""Does the answer look as it should? Nothing here asks whether it is right."""

from __future__ import annotations

from ragft.evaluate.metrics.base import NOT_APPLICABLE, Rules, Score, metric
from ragft.evaluate.records import Question, Record


def _in_house_format(question: Question, record: Record) -> bool:
    return question.format != "free"


@metric("format_validity", axis="form", applies=_in_house_format)
def format_validity(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the whole answer matches the house format, or is the declared refusal word for word."""
    if rules.format is None:
        return NOT_APPLICABLE
    answer = record.answer.strip()
    return Score(float(bool(rules.format.fullmatch(answer)) or answer == rules.refusal.strip()))


@metric("length", axis="form", title="length", better=None, unit="words")
def length(question: Question, record: Record, rules: Rules) -> Score:
    """Words of the answer, as split at white space."""
    return Score(float(len(record.answer.split())))
