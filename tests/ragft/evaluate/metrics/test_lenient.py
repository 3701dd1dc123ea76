"""The lenient metric credits what is asserted, not what is merely said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.evaluation import question, record, value

from ragft.evaluate.metrics import Rules

FREE = Rules()


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("4.2", "The version you want is 4.2, I think."),
        ("4.2", "Not 4.1. It is 4.2."),
        ("2024-05-31", "It is not supported since 31 May 2024."),
        ("4.2", "4.2 or later"),
        ("4.2", "No, it is 4.2."),
        ("30", "It costs $30."),
        ("30", "at least 30"),
        ("4.2", "4.2 is the newest or last one"),
        ("yes", "Yes, it is no longer sold."),
        ("no", "No longer supported."),
        ("no", "It ended in 2024, so: no."),
        ("yes", "The answer is **yes**."),
    ],
)
def test_what_is_asserted_counts(gold: str, answer: str) -> None:
    assert value("contains", question(gold), record(answer), FREE) == 1


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("4.2", "It is not 4.2."),
        ("4.2", "It isn't version 4.2."),
        ("4.2", "It is 4.1 rather than 4.2."),
        ("4.2", "4.1 instead of 4.2"),
        ("4.2", "4.2 is wrong."),
        ("4.2", "4.1 or 4.2"),
        ("4.2", "4.2 or 4.1"),
        ("4.2", "The version you want is 4.2.1."),
        ("yes", "yes or no"),
        ("no", "Yes or no."),
        ("no", "There is no date."),
        ("yes", "It ended yesterday."),
        ("4.2", "It's no longer 4.2, it is 5.0"),
        ("4.2", "It is anything but 4.2"),
        ("30 days", "It takes 45 days, no longer 30 days."),
        ("4.2", "4.1 or version 4.2"),
        ("Rome", "Paris or in Rome"),
        ("4.1", "Either 4.1, 4.2 or 4.3"),
        ("30", "less than 30"),
        ("30", "It is over 30."),
    ],
)
def test_what_is_denied_or_offered_does_not_count(gold: str, answer: str) -> None:
    assert value("contains", question(gold), record(answer), FREE) == 0


def test_an_echo_of_the_question_does_not_count() -> None:
    asked = question("4.2", question="Which of the two is newer, Django 4.2 and Django 4.1?")
    assert value("contains", asked, record(asked.question), FREE) == 0
    assert value("contains", asked, record(f"{asked.question} 4.2"), FREE) == 1
    yes = question("yes", question="Is it supported, yes or no?")
    assert value("contains", yes, record("Is it supported, yes or no?"), FREE) == 0
    assert value("contains", yes, record("Is it supported, yes or no? Yes."), FREE) == 1


def test_one_choice_beside_another_does_not_count() -> None:
    rules = replace(FREE, choices=("left", "right", "middle"))
    assert value("contains", question("left"), record("It may be left, and it may be right."), rules) == 0
    assert value("contains", question("left"), record("It turns left, not right."), rules) == 1
    unspaced = replace(FREE, choices=("京都市", "大阪市"))
    assert value("contains", question("京都市"), record("京都市と大阪市です。"), unspaced) == 0
    assert value("contains", question("京都市"), record("答えは京都市です。"), unspaced) == 1
