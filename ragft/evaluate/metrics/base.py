"""What a metric is: one decorated function of a question, a record and the rules.

A metric returns a `Score`, whose value is None where it does not apply. A record on which it raises counts as failed
and never becomes a 0 or a 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from ragft.data.questions import Question
from ragft.evaluate.records import Record
from ragft.patterns import Bounded, with_labels_in_any_case

if TYPE_CHECKING:
    import re

    import numpy as np

    from ragft.config import AnswerSection

    Pattern = re.Pattern[str] | Bounded

Axis = Literal["facts", "form", "retrieval", "cost"]
Better = Literal["higher", "lower"]
Unit = Literal["share", "words", "ms", "tokens"]
Encode = Callable[[Sequence[str]], "np.ndarray[Any, Any]"]
"""Vectors of length 1 for texts, one row each."""


@dataclass(frozen=True)
class Rules:
    """What an answer must look like in this domain.

    Attributes:
        format: matches a whole answer in the house format; None: format is not scored.
        value: its first group is the exact value in an answer; None: the value is the whole answer.
        refusals: each recognises a refusal in other words, beside those of `refusals.WORDINGS`.
        choices: the answers that there are to choose from; empty: it is no choice.
        encode: for metrics that compare meanings; None: there is no encoder.
    """

    format: Pattern | None = None
    value: Pattern | None = None
    refusal: str = "I do not know."
    refusals: tuple[Pattern, ...] = ()
    choices: tuple[str, ...] = ()
    encode: Encode | None = None

    @classmethod
    def of(cls, answer: AnswerSection) -> Rules:
        """The rules of a configuration, whose patterns it has checked."""
        return cls(
            format=Bounded(answer.format, "answer.format") if answer.format else None,
            value=Bounded(with_labels_in_any_case(answer.value), "answer.value") if answer.value else None,
            refusal=answer.refusal,
            refusals=tuple(Bounded(pattern, "answer.refusals") for pattern in answer.refusals),
            choices=answer.choices,
        )


@dataclass(frozen=True)
class Score:
    """The value of a metric for one record, None where it does not apply; and why, for a reader."""

    value: float | None
    detail: str = ""


NOT_APPLICABLE = Score(None)
_ROUNDING = 1e-9
Scorer = Callable[[Question, Record, Rules], Score]
Condition = Callable[[Question, Record], bool]
Prepare = Callable[[Sequence[tuple[Question, Record]], Rules], None]


@dataclass(frozen=True)
class Measure:
    """What figures of a metric say: enough to show and to compare them.

    Attributes:
        axis: what it is about; axes are never averaged with each other.
        better: None where it is reported, not judged.
    """

    name: str
    title: str
    axis: Axis
    unit: Unit
    better: Better | None

    @property
    def sign(self) -> int:
        """What a value is multiplied by, so that more is better."""
        return -1 if self.better == "lower" else 1

    def described(self) -> dict[str, Any]:
        """As JSON values, of which `Measure(**values)` makes it again."""
        return {one.name: getattr(self, one.name) for one in fields(Measure)}


@dataclass(frozen=True)
class Metric(Measure):
    """A registered metric.

    Attributes:
        applies: where not, the score is None.
        version: raised whenever the same record would get another score.
        prepare: called once with all records before they are scored, by a metric that works on many at once.
    """

    applies: Condition
    scorer: Scorer
    version: int = 1
    prepare: Prepare | None = None

    def score(self, question: Question, record: Record, rules: Rules) -> Score:
        """Scores one record.

        Raises:
            ValueError: the scorer returned no score, or one that is not finite, or a share below 0 or above 1.
            Exception: whatever the scorer raises.
        """
        if not self.applies(question, record):
            return NOT_APPLICABLE
        score = self.scorer(question, record, rules)
        if not isinstance(score, Score):
            raise ValueError(f"{self.name} returned {score!r}, which is no Score")
        if not isinstance(score.detail, str):
            raise ValueError(f"{self.name} says {score.detail!r} as its detail, which is no text")
        if score.value is None:
            return score
        # Numbers and truths of numpy are as good as Python's own.
        value = score.value.item() if hasattr(score.value, "item") else score.value
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{self.name} is {value!r}, which is no finite number")
        if self.unit == "share" and not -_ROUNDING <= value <= 1 + _ROUNDING:
            raise ValueError(f"{self.name} is {value:g}, and a share lies between 0 and 1")
        return score if value is score.value else replace(score, value=value)


METRICS: dict[str, Metric] = {}
"""The metrics that are computed, in the order of the report."""

OPTIONAL: dict[str, Metric] = {}
"""Those that are computed where `evaluate.metrics` names them."""


def everywhere(question: Question, record: Record) -> bool:
    """Applies to every answer."""
    return True


def answerable(question: Question, record: Record) -> bool:
    """Applies to answerable questions."""
    return question.answerable


def unanswerable(question: Question, record: Record) -> bool:
    """Applies to questions that the documents do not answer."""
    return not question.answerable


def metric(
    name: str, *, axis: Axis, title: str = "", applies: Condition = everywhere,
    better: Better | None = "higher", unit: Unit = "share", version: int = 1, default: bool = True,
    prepare: Prepare | None = None,
) -> Callable[[Scorer], Scorer]:  # fmt: skip
    """Registers a function as a metric; one that is not computed by `default` waits until it is named."""

    for key, value, known in (("axis", axis, Axis), ("better", better, Better), ("unit", unit, Unit)):
        if value not in get_args(known) and not (key == "better" and value is None):
            raise ValueError(f"metric {name!r}: {key} is {value!r}: choose one of {', '.join(get_args(known))}")

    def register(scorer: Scorer) -> Scorer:
        if name in METRICS or name in OPTIONAL:
            raise ValueError(f"there already is a metric {name!r}")
        (METRICS if default else OPTIONAL)[name] = Metric(
            name, title or name.replace("_", " "), axis, unit, better, applies, scorer, version, prepare
        )  # fmt: skip
        return scorer

    return register


def is_cut_off(record: Record) -> bool:
    """Whether an answer ended because it reached `engine.max_tokens`."""
    return record.finish_reason == "length"


def tried(
    name: str, answer: str, *golds: str, question: str = "?", rules: Rules | None = None, **given: Any
) -> float | None:
    """What a metric makes of one answer, without any file: to try it out, and for the examples of this package.

    Args:
        golds: the right answers; none: the documents hold no answer.
        given: other fields of the record, and `value`, `refusal` and `choices` of the rules.

    >>> tried("exact_match", "Answer: 30 April 2026", "2026-04-30", value="Answer: (.+)")
    1.0
    """
    found = METRICS.get(name) or OPTIONAL[name]
    rules = rules or Rules()
    if "value" in given:
        rules = replace(rules, value=Bounded(with_labels_in_any_case(given.pop("value")), "answer.value"))
    rules = replace(rules, **{key: given.pop(key) for key in ("refusal", "choices", "encode") if key in given})
    asked = Question("q", question, golds, given.pop("sources", ()), bool(golds), given.pop("stale_answers", ()))
    return found.score(asked, Record("q", given.pop("setup", "hybrid"), answer, **given), rules).value
