"""Which requests it takes to judge answers, and what becomes of the replies.

Every pair of answers is shown in both orders, and only what the judge says in both counts as a preference. An answer
that failed, when it was generated, is the worst one and needs no judge; a reply that failed is no judgement at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ragft.data.questions import Question
from ragft.errors import UsageError
from ragft.evaluate.judges.endpoint import Reply
from ragft.evaluate.judges.rubric import (
    Ask,
    Criterion,
    Unreadable,
    preference_request,
    read_preference,
    read_score,
    score_request,
)
from ragft.evaluate.records import Record

Side = Literal["a", "b", "tie"]
Find = Callable[[str], Reply | str]
"""The reply to a request by its key, or why there is none."""


@dataclass(frozen=True)
class ScoreRow:
    """What the judge says of one answer.

    Attributes:
        score: on the criterion's scale; None where the judgement failed.
        unanswered: there is no answer, so that the score is the lowest.
        error: why the judgement failed.
    """

    question_id: str
    setup: str
    criterion: str
    score: int | None
    reason: str = ""
    unanswered: bool = False
    error: str | None = None


@dataclass(frozen=True)
class PreferenceRow:
    """What the judge says of the answers of two setups.

    Attributes:
        preference: None where the judgement failed; `tie` where the two orders disagree, too.
        orders: what was said with `a` shown first, and with `b` shown first; None where the judge was not asked.
        settled: why it was not asked: `identical` answers, or `unanswered` by one or both.
        longer_by: characters by which the answer of `a` is longer.
        error: why the judgement failed.
    """

    question_id: str
    a: str
    b: str
    criterion: str
    preference: Side | None
    orders: tuple[Side, Side] | None = None
    settled: Literal["identical", "unanswered"] | None = None
    longer_by: int = 0
    reasons: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be judged.

    Attributes:
        asks: the requests by their keys; equal ones are one.
    """

    criteria: tuple[Criterion, ...]
    setups: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    questions: tuple[Question, ...]
    answers: dict[tuple[str, str], Record]
    asks: dict[str, Ask] = field(default_factory=dict)
    _scores: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _preferences: dict[tuple[str, str, str, str], tuple[str, str]] = field(default_factory=dict)

    def score_rows(self, find: Find) -> list[ScoreRow]:
        """The scores, in the order of criteria, setups and questions; none where none were planned."""
        rows = []
        for (criterion, setup, question), key in self._scores.items():
            declared = next(known for known in self.criteria if known.name == criterion)
            if not key:
                rows.append(ScoreRow(question, setup, criterion, declared.scale[0], unanswered=True))
                continue
            try:
                score, reason = read_score(_text(find(key)), declared.scale)
                rows.append(ScoreRow(question, setup, criterion, score, reason))
            except Unreadable as error:
                rows.append(ScoreRow(question, setup, criterion, None, error=str(error)))
        return rows

    def preference_rows(self, find: Find) -> list[PreferenceRow]:
        """The preferences, in the order of criteria, pairs and questions; none where none were planned."""
        return [
            self._preferred(criterion, a, b, question, keys, find)
            for (criterion, a, b, question), keys in self._preferences.items()
        ]

    def _preferred(
        self, criterion: str, a: str, b: str, question: str, keys: tuple[str, str], find: Find
    ) -> PreferenceRow:
        one, other = self.answers[question, a], self.answers[question, b]
        longer_by = len(one.answer.strip()) - len(other.answer.strip())
        if one.error is not None or other.error is not None:
            side: Side = "tie" if one.error is not None and other.error is not None else "b" if one.error else "a"
            return PreferenceRow(question, a, b, criterion, side, settled="unanswered", longer_by=longer_by)
        if one.answer.strip() == other.answer.strip():
            return PreferenceRow(question, a, b, criterion, "tie", settled="identical")
        try:
            (first, why), (second, why_not) = (read_preference(_text(find(key))) for key in keys)
        except Unreadable as error:
            return PreferenceRow(question, a, b, criterion, None, longer_by=longer_by, error=str(error))
        sides: dict[str, Side] = {"A": "a", "B": "b", "tie": "tie"}
        swapped: dict[str, Side] = {"A": "b", "B": "a", "tie": "tie"}
        orders = sides[first], swapped[second]
        agreed: Side = orders[0] if orders[0] == orders[1] else "tie"
        return PreferenceRow(question, a, b, criterion, agreed, orders, None, longer_by, (why, why_not))


def plan(
    questions: Sequence[Question],
    records: Iterable[Record],
    criteria: Sequence[Criterion],
    *,
    setups: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    refusal: str | None,
    key_of: Callable[[Ask], str],
) -> Plan:
    """Plans a score for each answer of `setups`, and a preference for each of `pairs`; either may be empty.

    Raises:
        UsageError: a setup has no answer to a question, or two.
    """
    named = tuple(dict.fromkeys([*setups, *(setup for pair in pairs for setup in pair)]))
    answers = answers_of(questions, records, named)
    made = Plan(tuple(criteria), tuple(setups), tuple(pairs), tuple(questions), answers)

    def add(ask: Ask) -> str:
        key = key_of(ask)
        made.asks[key] = ask
        return key

    for criterion in criteria:
        for setup in setups:
            for question in questions:
                record = answers[question.id, setup]
                asked = record.error is None
                ask = add(score_request(criterion, question, record.answer, refusal)) if asked else ""
                made._scores[criterion.name, setup, question.id] = ask
        for a, b in pairs:
            for question in questions:
                one, other = answers[question.id, a], answers[question.id, b]
                keys = ("", "")
                if one.error is None and other.error is None and one.answer.strip() != other.answer.strip():
                    keys = (
                        add(preference_request(criterion, question, one.answer, other.answer, refusal)),
                        add(preference_request(criterion, question, other.answer, one.answer, refusal)),
                    )
                made._preferences[criterion.name, a, b, question.id] = keys
    return made


def answers_of(
    questions: Iterable[Question], records: Iterable[Record], setups: Iterable[str]
) -> dict[tuple[str, str], Record]:
    """The answer of each of these setups to each question, by question and setup.

    Raises:
        UsageError: there is none, or there are two.
    """
    ids, names = [question.id for question in questions], tuple(setups)
    wanted, found = {(question, setup) for question in ids for setup in names}, dict[tuple[str, str], Record]()
    for record in records:
        key = record.question_id, record.setup
        if key in wanted and key in found:
            raise UsageError(f"{record.setup} has two answers to question {record.question_id!r}: keep one of them.")
        if key in wanted:
            found[key] = record
    for setup in names:
        missing = [question for question in ids if (question, setup) not in found]
        if missing:
            raise UsageError(
                f"{setup} has no answer to {len(missing)} of {len(ids)} questions, {missing[0]!r} for one: "
                "run `ragft evaluate`, or correct the name of the setup."
            )
    return found


def _text(reply: Reply | str) -> str:
    if isinstance(reply, str):
        raise Unreadable(reply)
    if reply.cut_off:
        raise Unreadable("the reply was cut off at evaluate.judge.max_tokens")
    return reply.text
