"""Training and validation never share a group, and the same seed gives the same parts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.data.examples import Example
from ragft.data.split import split
from ragft.errors import UsageError


def examples_of(groups: list[str]) -> list[Example]:
    return [Example(str(number), f"q{number}", "a", group=group) for number, group in enumerate(groups)]


GROUPS = st.lists(st.text(max_size=3), min_size=2, max_size=60).filter(lambda groups: len(set(groups)) > 1)
SHARES = st.floats(0.01, 0.49)


@given(groups=GROUPS, share=SHARES, seed=st.integers(0, 9))
def test_no_group_stands_on_both_sides_and_no_example_is_lost(groups: list[str], share: float, seed: int) -> None:
    examples = examples_of(groups)
    train, validation = split(examples, share, seed)
    assert train and validation
    assert not {example.group for example in train} & {example.group for example in validation}
    # Each part keeps the order of the file.
    assert sorted([*train, *validation], key=lambda example: int(example.id)) == examples
    for part in (train, validation):
        assert [int(example.id) for example in part] == sorted(int(example.id) for example in part)


@given(groups=GROUPS, share=SHARES, seed=st.integers(0, 9), shuffle=st.integers(0, 9))
def test_split_depends_on_groups_and_seed_not_on_the_order_of_lines(
    groups: list[str], share: float, seed: int, shuffle: int
) -> None:
    examples = examples_of(groups)
    moved = random.Random(shuffle).sample(examples, len(examples))
    for before, after in zip(split(examples, share, seed), split(moved, share, seed), strict=True):
        assert {example.id for example in before} == {example.id for example in after}


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4])
def test_share_is_met_where_groups_are_small(share: float) -> None:
    examples = examples_of([str(number // 2) for number in range(400)])
    for seed in range(5):
        assert abs(len(split(examples, share, seed)[1]) - share * 400) <= 1


def test_a_large_group_does_not_swallow_the_validation() -> None:
    examples = examples_of(["large"] * 90 + [str(number) for number in range(10)])
    assert {len(split(examples, 0.1, seed)[1]) for seed in range(20)} <= {9, 10}


def test_something_validates_even_where_every_group_is_too_large() -> None:
    train, validation = split(examples_of(["a"] * 50 + ["b"] * 40), 0.1, 0)
    assert (len(train), len(validation)) == (50, 40)


def test_another_seed_draws_other_groups() -> None:
    examples = examples_of([str(number) for number in range(100)])
    assert split(examples, 0.1, 0) == split(examples, 0.1, 0)
    assert split(examples, 0.1, 0) != split(examples, 0.1, 1)


def test_new_examples_move_few_of_the_old_ones() -> None:
    before = {example.id for example in split(examples_of([str(number) for number in range(100)]), 0.1, 0)[1]}
    after = {example.id for example in split(examples_of([str(number) for number in range(110)]), 0.1, 0)[1]}
    assert len(before - after) <= 3


def test_one_group_cannot_be_parted() -> None:
    with pytest.raises(UsageError, match="1 group, so none is left to validate"):
        split(examples_of(["same", "same"]), 0.1, 0)
