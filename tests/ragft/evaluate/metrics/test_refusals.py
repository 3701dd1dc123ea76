"""Refusals are recognised in whatever words, and an answer is one of right, wrong, refused and hedged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evaluation import RULES, question, record, value

from ragft.config import AnswerSection
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.refusals import outcome_of, refusal_of

FREE = Rules()


@pytest.mark.parametrize(
    "answer",
    [
        "The documents do not say.",
        "The passages don't mention it.",
        "None of the passages answers this.",
        "I don't have any information about that.",
        "Not mentioned in the passages.",
        "It is not specified in the provided documents.",
        "I'm sorry, but I cannot find the answer in the documents.",
        "There is no information about this.",
        "Unfortunately, the documents do not contain it. Please check the website.",
        "This cannot be determined.",
        "I am unable to answer.",
        "unknown",
        "N/A",
        "**Not available.**",
        "Nobody knows. I do not know.",
        "No passage mentions this.",
        "None of these passages mention a date.",
        "None of those documents say so.",
        "Neither passage says when.",
        "The date is not given.",
        "The release date of this version is not available.",
        "Cannot determine.",
        "Unable to determine.",
        "There's nothing about that in the documents.",
        "There isn't any information on that.",
        "Information not found.",
        "Not enough info.",
        "It is unclear from the text.",
        "The document lacks this information.",
        "This information is missing from the passages.",
        "No clue.",
        "The passages do not include a price.",
        "No details are given about that.",
        "There is no evidence of that in the passages.",
        "The context doesn't have enough details.",
        "The 4 passages do not mention it [1].",
    ],
)
def test_other_words_of_a_refusal(answer: str) -> None:
    assert refusal_of(answer, FREE, asked="") == "other"
    assert value("undeclared_refusal", question(), record(answer), FREE) == 1
    assert value("wrong", question(), record(answer), FREE) == 0


@pytest.mark.parametrize(
    "answer",
    [
        "4.2",
        "no",
        "none",
        "not announced",
        "Django does not include a server.",
        "It is not available for purchase.",
        "",
        "There is no evidence that aspirin helps.",
        "The document does not include VAT.",
        "No data are sent to third parties.",
        "No records are shared with anybody.",
        "No data about users are kept.",
        "It was not disclosed by the company until 2019.",
        "The database does not contain duplicates.",
        "There is no information desk on floor 2.",
        "I was unable to log in: error 5.",
        "Not available in Europe.",
        "It is not found in Europe.",
        "The warranty is not included.",
        "The feature is not available.",
        "It is unclear whether aspirin helps.",
    ],
)
def test_what_is_no_refusal(answer: str) -> None:
    assert refusal_of(answer, FREE, asked="") is None


@pytest.mark.parametrize(
    "answer",
    [
        "I do not know, but it is probably 4.2.",
        "I do not know about 4.1, but 4.2 ends in 2026",
        "I do not know. 2026-04-30.",
        "I do not know. Paris.",
        "There is no information about this. It may be 2024.",
        "The end is 2026-04-30. However, the passages do not say so.",
    ],
)
def test_a_refusal_with_a_guess_is_neither(answer: str) -> None:
    for asked in (question(), question(None)):
        given = record(answer)
        assert value("hedged", asked, given, FREE) == 1
        assert value("exact_match", asked, given, FREE) == value("wrong", asked, given, FREE) == 0
        assert value("contains", asked, given, FREE) == 0
    assert value("false_refusal", question(), record(answer), FREE) == 0
    assert value("abstention", question(None), record(answer), FREE) == 0


def test_what_the_question_says_is_no_guess() -> None:
    asked = "When does Django 4.2 end?"
    answer = "Django 4.2 is a web framework. I do not know."
    assert refusal_of(answer, FREE, asked=asked) == "declared"
    assert refusal_of(answer, FREE, asked="") == "hedged"


def test_what_a_text_does_not_have_is_no_answer_if_the_question_asks_for_it() -> None:
    assert refusal_of("The document does not include VAT.", FREE, asked="Which VAT does the document name?") == "other"
    assert refusal_of("The document does not include VAT.", FREE, asked="What does the price include?") is None


def test_a_refusal_with_a_figure_of_its_own_is_a_guess() -> None:
    answer = "The passages do not mention that it ends in 2027."
    assert refusal_of(answer, FREE, asked="When does it end?") == "hedged"
    assert refusal_of(answer, FREE, asked="Does it end in 2027?") == "other"


def test_a_value_beside_the_refusing_one_is_a_guess() -> None:
    assert refusal_of("Answer: unknown · Source: none\nAnswer: 2024-01-01 · Source: [1]", RULES, asked="") == "hedged"
    assert refusal_of("Answer: not available · Source: none", RULES, asked="") == "other"
    assert refusal_of("**answer:** Unknown · Source: none", RULES, asked="") == "declared"


def test_a_gold_answer_may_read_like_a_refusal() -> None:
    assert outcome_of(question("not known"), record("Not known."), FREE) == "right"
    assert outcome_of(question("4.2"), record("Not known."), FREE) == "refused"


def test_own_wordings_are_recognised() -> None:
    rules = Rules.of(AnswerSection(refusals=("(?i)keine angabe",)))
    assert refusal_of("Keine Angabe.", rules, asked="") == "other"
    assert refusal_of("Keine Angabe.", FREE, asked="") is None


PARTS = st.sampled_from([
    "I do not know.", "unknown", "It is 4.2.", "4.2", "probably 4.1", "The passages do not say.", "but", "Paris.",
    "Answer: 4.2 · Source", "Answer: unknown · Source", "\n", "sorry", "[1]",
])  # fmt: skip


@given(st.lists(PARTS, max_size=5).map(" ".join), st.booleans(), st.booleans())
def test_every_answer_is_exactly_one_thing(answer: str, answerable: bool, house: bool) -> None:
    asked = question("4.2" if answerable else None)
    given, rules = record(answer), RULES if house else FREE
    refused = value("false_refusal" if answerable else "abstention", asked, given, rules) or 0.0
    right = value("exact_match", asked, given, rules) or 0.0
    rest = sum(value(name, asked, given, rules) or 0.0 for name in ("wrong", "hedged"))
    assert (right if answerable else 0.0) + refused + rest == 1
