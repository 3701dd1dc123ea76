"""Form metrics: does the answer look as it should? Whether it is right is not their question."""

from __future__ import annotations

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import NOT_APPLICABLE, Rules, Score, is_cut_off, metric
from ragft.evaluate.metrics.refusals import refusal_of
from ragft.evaluate.records import Record


def format_valid(answer: str, rules: Rules) -> bool | None:
    """Whether an answer is in the house format or is the exact refusal; None where no format is declared."""
    if rules.format is None:
        return None
    answer = answer.strip()
    return bool(rules.format.fullmatch(answer)) or answer == rules.refusal.strip()


def _has_house_format(question: Question, record: Record) -> bool:
    """Applies to questions whose `format` is not `free`."""
    return question.format != "free"


@metric("format_validity", axis="form", applies=_has_house_format, version=2)
def format_validity(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the whole answer matches the house format or is the exact refusal, and was not cut off.

    >>> tried("format_validity", "I do not know.", "4.2", rules=Rules(format=Bounded("Answer: .+", "answer.format")))
    1.0
    """
    valid = format_valid(record.answer, rules)
    if valid is None:
        return NOT_APPLICABLE
    return Score(0.0, "cut off") if is_cut_off(record) else Score(float(valid))


@metric("undeclared_refusal", axis="form", title="refusals in other words", better="lower", version=2)
def undeclared_refusal(question: Question, record: Record, rules: Rules) -> Score:
    """1 where a refusal is not in the declared words, 0 where it is; does not apply to what is none.

    >>> tried("undeclared_refusal", "The documents do not say."), tried("undeclared_refusal", "I do not know.")
    (1.0, 0.0)
    """
    refusal = refusal_of(record.answer, rules, asked=question.question, cut_off=is_cut_off(record))
    return Score(float(refusal == "other")) if refusal in ("declared", "other") else NOT_APPLICABLE


@metric("length", axis="form", title="length", better=None, unit="words")
def length(question: Question, record: Record, rules: Rules) -> Score:
    """Words of the answer, separated by white space.

    >>> tried("length", "three words here", "4.2")
    3.0
    """
    return Score(float(len(record.answer.split())))
