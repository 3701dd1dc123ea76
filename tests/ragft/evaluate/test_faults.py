"""A setup's wrong answer to an example's own question stands beside the good one, with what is wrong."""

from __future__ import annotations

import pytest

from ragft.data.examples import Example
from ragft.data.preferences import Worse
from ragft.data.sources import Source
from ragft.evaluate.faults import asked_of, worse_in
from ragft.evaluate.metrics.base import Rules
from ragft.evaluate.records import PassageRef, Record
from ragft.patterns import Bounded

RULES = Rules(
    format=Bounded(r"Answer: .+", "answer.format"), value=Bounded(r"Answer: (.*)", "answer.value"),
    refusal="Answer: unknown",
)  # fmt: skip
EXAMPLE = Example("e", "When does X end?", "Answer: 2027-03-10 [1]", (Source("a.md"),))
REFUSING = Example("r", "Who owns Y?", "Answer: unknown")
PASSAGES = (PassageRef("c1", "b.md", "B", 1.0), PassageRef("c2", "a.md", "A", 0.9))


def found(answer: str, example: Example = EXAMPLE, passages: tuple[PassageRef, ...] = PASSAGES,
          reason: str = "stop", error: str | None = None) -> Worse | None:  # fmt: skip
    record = Record(example.id, "hybrid", answer, passages, finish_reason=reason, error=error)
    return worse_in(example, asked_of(example, RULES), record, RULES)


@pytest.mark.parametrize(
    "answer, fault, text",
    [
        # The second passage is from the example's only source, so it becomes [1]; the first, from none, [2].
        ("Answer: 2027-03-11 [2]", "value", "Answer: 2027-03-11 [1]"),
        ("Answer: 2026-03-11 [1]", "stale", "Answer: 2026-03-11 [2]"),
        ("Answer: never [7]", "value", "Answer: never [8]"),
        ("Answer: unknown", "refused", "Answer: unknown"),
        ("It ends on 2027-03-10 [2].\nAnswer: 2027-03-10", "form", "It ends on 2027-03-10 [1].\nAnswer: 2027-03-10"),
        ("Answer: 2027-03-10", "uncited", "Answer: 2027-03-10"),
        ("Answer: 2027-03-10 [1]", "uncited", "Answer: 2027-03-10 [2]"),
    ],
)
def test_a_wrong_answer_has_its_fault_and_cites_as_examples_do(answer: str, fault: str, text: str) -> None:
    assert found(answer) == Worse(text, fault, "hybrid")  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", ["Answer: 2027-03-10 [2]", "Answer: 10 March 2027 [2]", "Answer: 2027-03-10 [1][2]"])
def test_a_right_answer_is_no_worse_one(answer: str) -> None:
    assert found(answer) is None


def test_without_passages_nobody_can_cite() -> None:
    assert found("Answer: 2027-03-10", passages=()) is None
    assert found("Answer: 2027-03-10", passages=PASSAGES[:1]) is None


def test_an_answer_where_refusing_is_right_is_unrefused() -> None:
    assert found("Answer: Ann [1]", REFUSING) == Worse("Answer: Ann [1]", "unrefused", "hybrid")
    assert found("Answer: unknown", REFUSING) is None
    assert found("The documents do not say.", REFUSING) is None


def test_what_failed_was_cut_off_or_is_empty_is_nobodys_opinion() -> None:
    assert found("Answer: 2027-03-11 [2]", error="timed out") is None
    assert found("Answer: 2027-03-11 [2]", reason="length") is None
    assert found(" \n") is None
