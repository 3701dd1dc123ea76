"""Form metrics: does the answer look as it should? Whether it is right is not their question."""

from __future__ import annotations

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import NOT_APPLICABLE, Rules, Score, metric
from ragft.evaluate.records import Record


def format_valid(answer: str, rules: Rules) -> bool | None:
    """Whether an answer is in the house format or is the exact refusal; None where no format is declared."""
    if rules.format is None:
        return None
    answer = answer.strip()
    return bool(rules.format.fullmatch(answer)) or answer == rules.refusal.strip()


@metric("format_validity", axis="form", applies=lambda question, record: question.format != "free")
def format_validity(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the whole answer matches the house format or is the exact refusal."""
    valid = format_valid(record.answer, rules)
    return NOT_APPLICABLE if valid is None else Score(float(valid))


@metric("length", axis="form", title="length", better=None, unit="words")
def length(question: Question, record: Record, rules: Rules) -> Score:
    """Words of the answer, separated by white space."""
    return Score(float(len(record.answer.split())))
