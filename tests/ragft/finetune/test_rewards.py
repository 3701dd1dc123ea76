"""An answer earns what is verifiably right about it, and nothing where it does not end."""

from __future__ import annotations

import re

import pytest

from ragft.config import RewardsSection
from ragft.evaluate.metrics import Rules
from ragft.finetune.rewards import Reward

END = 0
RULES = Rules(re.compile(r"ANSWER: .*"), re.compile(r"ANSWER: ([^\[]*)"), "ANSWER: I do not know.")


def _reward(reference: str, gold: tuple[int, ...] = (), **weights: float) -> Reward:
    def decode(ids: list[int]) -> str:
        return "".join(chr(token) for token in ids if token != END)

    return Reward(reference, gold, RULES, RewardsSection(**weights), decode, END)


def _ids(answer: str) -> list[int]:
    return [*map(ord, answer), END]


@pytest.mark.parametrize(
    ("answer", "earned"),
    [
        ("ANSWER: 5 days [2]", 1.0),
        ("ANSWER: 5 days [3]", 1.0),  # it says the same elsewhere
        ("ANSWER: 5 days [1]", 0.75),
        ("ANSWER: 5 days", 0.75),
        ("ANSWER: 5 days [1][2]", 0.875),
        ("ANSWER: 6 days [2]", 0.75),
        ("5 days", 0.5),
        ("ANSWER: I do not know.", 0.25),
    ],
)
def test_an_answer_earns_the_mean_of_what_is_right_about_it(answer: str, earned: float) -> None:
    assert _reward("ANSWER: 5 days [2]", (2, 3))(_ids(answer)) == pytest.approx(earned)


def test_a_rightful_refusal_earns_all_and_an_answer_instead_of_it_its_form_alone() -> None:
    reward = _reward("ANSWER: I do not know.")
    assert reward(_ids("ANSWER: I do not know.")) == 1.0
    assert reward(_ids("ANSWER: 5 days [1]")) == 0.5


def test_an_answer_that_does_not_end_earns_nothing() -> None:
    reward = _reward("ANSWER: 5 days [2]", (2,))
    assert reward(_ids("ANSWER: 5 days [2]")[:-1]) == reward([]) == 0.0


def test_weights_count_and_a_row_to_which_none_applies_is_known() -> None:
    assert _reward("ANSWER: 5 days [2]", (2,), form=3, value=0, citation=0, refusal=1)(_ids("5 days")) == 0.25
    only_value = {"form": 0, "citation": 0, "refusal": 0}
    assert _reward("ANSWER: 5 days", **only_value).rates
    assert not _reward("ANSWER: I do not know.", **only_value).rates
