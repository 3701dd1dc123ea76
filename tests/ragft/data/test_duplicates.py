"""Questions that are asked twice are found, and different ones are kept apart."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.data.examples import Example
from ragft.data.near import clusters
from ragft.data.split import split

OTHERS = [f"What does the {name} office say about {thing}?" for name in ("Rome", "Oslo") for thing in ("tea", "ink")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("When does Node 22 end?", "when does  node 22 END", True),
        ("When does support for Node 22 end for customers?", "For customers, when does support for Node 22 end?", True),
        ("When does support for Node 22 end?", "When does support for Node 24 end?", False),
        ("Is C supported?", "Is C++ supported?", False),
        ("製品の保証期間は何年ですか", "製品の保証期間は何年ですか?", True),
    ],
)
def test_the_same_question_is_told_from_another(one: str, other: str, same: bool) -> None:
    first, second, *_ = clusters([one, other, *OTHERS])
    assert (first == second) is same


def test_questions_under_one_long_instruction_stay_apart() -> None:
    instruction = " ".join(f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
    asked = [f"{instruction}\n\n{name} {thing}" for name, thing in itertools.product(("ann", "bob"), ("tea", "ink"))]
    assert clusters(asked) == [0, 1, 2, 3]


@given(st.lists(st.integers(0, 9), min_size=4, max_size=40).filter(lambda numbers: len(set(numbers)) > 1))
def test_a_question_asked_twice_never_stands_on_both_sides(numbers: list[int]) -> None:
    names = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
    examples = [
        Example(str(at), f"Who leads {names[n]} now?" + "?" * (at % 3), "a", group=str(at))
        for at, n in enumerate(numbers)
    ]
    train, validation = split(examples, 0.3, 0)
    questions = [{one.question.rstrip("?") for one in part} for part in (train, validation)]
    assert validation and not questions[0] & questions[1]
