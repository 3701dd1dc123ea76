"""What a metric is: one decorated function of a question, a record and the rules.

A metric returns a `Score`; a value of None says that it does not apply. An exception says that this record
could not be scored: it is counted as failed, and never becomes 0 or 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ragft.evaluate.records import Question, Record

Axis = Literal["facts", "form", "retrieval", "cost"]
Better = Literal["higher", "lower"]
Unit = Literal["share", "words", "ms", "tokens"]


@dataclass(frozen=True)
class Rules:
    """What an answer must look like in this domain.

    Attributes:
        format: matches a whole answer in the house format; None: format is not scored.
        value: its first group is the exact value in an answer; None: the value is the whole answer.
        refusal: the answer to give, word for word, where the documents hold none.
    """

    format: re.Pattern[str] | None = None
    value: re.Pattern[str] | None = None
    refusal: str = "I do not know."

    @classmethod
    def compile(cls, format: str | None, value: str | None, refusal: str) -> Rules:  # noqa: A002
        """The rules of a configuration's `prompt` section.

        Raises:
            re.error: a pattern is no regular expression.
        """
        return cls(re.compile(format) if format else None, re.compile(value) if value else None, refusal)


@dataclass(frozen=True)
class Score:
    """What a metric says of one record: a value, or None where it does not apply; and why, for a reader."""

    value: float | None
    detail: str = ""


NOT_APPLICABLE = Score(None)
Scorer = Callable[[Question, Record, Rules], Score]
Condition = Callable[[Question, Record], bool]


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    Attributes:
        axis: which question it answers; axes are never averaged with each other.
        better: which direction is good; None: it is reported, not judged.
    """

    name: str
    title: str
    axis: Axis
    unit: Unit
    better: Better | None
    applies: Condition
    scorer: Scorer

    def score(self, question: Question, record: Record, rules: Rules) -> Score:
        """Scores one record.

        Raises:
            Exception: whatever the scorer raises, and ValueError where it returns no finite number.
        """
        if not self.applies(question, record):
            return NOT_APPLICABLE
        score = self.scorer(question, record, rules)
        if score.value is not None and not math.isfinite(score.value):
            raise ValueError(f"{self.name} is {score.value}")
        return score


METRICS: dict[str, Metric] = {}


def always(question: Question, record: Record) -> bool:
    """Applies to every record."""
    return True


def answerable(question: Question, record: Record) -> bool:
    """Applies where the documents hold the answer."""
    return question.answerable


def unanswerable(question: Question, record: Record) -> bool:
    """Applies where the right answer is the refusal."""
    return not question.answerable


def metric(
    name: str,
    *,
    axis: Axis,
    title: str = "",
    applies: Condition = always,
    better: Better | None = "higher",
    unit: Unit = "share",
) -> Callable[[Scorer], Scorer]:
    """Registers a function as a metric under `name`; a second metric of that name is refused."""

    def register(scorer: Scorer) -> Scorer:
        if name in METRICS:
            raise ValueError(f"there already is a metric {name!r}")
        METRICS[name] = Metric(name, title or name.replace("_", " "), axis, unit, better, applies, scorer)
        return scorer

    return register
