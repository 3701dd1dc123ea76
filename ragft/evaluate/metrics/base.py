"""What a metric is: one decorated function of a question, a record and the rules.

A metric returns a `Score`, whose value is None where it does not apply. A record on which it raises counts as failed
and never becomes a 0 or a 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ragft.data.questions import Question
from ragft.evaluate.records import Record

if TYPE_CHECKING:
    from ragft.config import AnswerSection

Axis = Literal["facts", "form", "retrieval", "cost"]
Better = Literal["higher", "lower"]
Unit = Literal["share", "words", "ms", "tokens"]


@dataclass(frozen=True)
class Rules:
    """What an answer must look like in this domain.

    Attributes:
        format: matches a whole answer in the house format; None: format is not scored.
        value: its first group is the exact value in an answer; None: the value is the whole answer.
    """

    format: re.Pattern[str] | None = None
    value: re.Pattern[str] | None = None
    refusal: str = "I do not know."

    @classmethod
    def of(cls, answer: AnswerSection) -> Rules:
        """The rules of a configuration, whose patterns it has checked."""
        whole, value = (re.compile(pattern) if pattern else None for pattern in (answer.format, answer.value))
        return cls(whole, value, answer.refusal)


@dataclass(frozen=True)
class Score:
    """The value of a metric for one record, None where it does not apply; and why, for a reader."""

    value: float | None
    detail: str = ""


NOT_APPLICABLE = Score(None)
Scorer = Callable[[Question, Record, Rules], Score]
Condition = Callable[[Question, Record], bool]


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    Attributes:
        axis: what it is about; axes are never averaged with each other.
        better: None where it is reported, not judged.
        applies: where not, the score is None.
        version: raised whenever the same record would get another score.
    """

    name: str
    title: str
    axis: Axis
    unit: Unit
    better: Better | None
    applies: Condition
    scorer: Scorer
    version: int = 1

    def score(self, question: Question, record: Record, rules: Rules) -> Score:
        """Scores one record; raises what the scorer raises, and a ValueError where its value is not finite."""
        if not self.applies(question, record):
            return NOT_APPLICABLE
        score = self.scorer(question, record, rules)
        if score.value is not None and not math.isfinite(score.value):
            raise ValueError(f"{self.name} is {score.value}")
        return score


METRICS: dict[str, Metric] = {}


def answerable(question: Question, record: Record) -> bool:
    """Applies where the documents hold the answer."""
    return question.answerable


def unanswerable(question: Question, record: Record) -> bool:
    """Applies where the right answer is the refusal."""
    return not question.answerable


def metric(
    name: str, *, axis: Axis, title: str = "", applies: Condition = lambda question, record: True,
    better: Better | None = "higher", unit: Unit = "share", version: int = 1,
) -> Callable[[Scorer], Scorer]:  # fmt: skip
    """Registers a function as a metric."""

    def register(scorer: Scorer) -> Scorer:
        if name in METRICS:
            raise ValueError(f"there already is a metric {name!r}")
        METRICS[name] = Metric(name, title or name.replace("_", " "), axis, unit, better, applies, scorer, version)
        return scorer

    return register
