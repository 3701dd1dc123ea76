"""Training and validation never share a group, and the same seed gives the same parts."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from ragft.data.examples import Example
from ragft.data.near import clusters
from ragft.data.sources import Source
from ragft.data.split import By, split
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


WORDS = ["tea", "ink", "oslo", "rome", "lease", "desk", "pay", "sick", "tax", "mail", "car", "pen"]
ROWS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(WORDS), min_size=3, max_size=5).map(" ".join),
        st.integers(0, 12),
        st.lists(st.sampled_from(["a.md", "b.md#x", "b.md#y", "c.md", "d.md"]), max_size=2, unique=True),
        st.lists(st.sampled_from(["when", "who", "many"]), max_size=2, unique=True),
    ),
    min_size=8, max_size=30,
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 5), stratify=st.booleans(), by=st.sampled_from(["group", "source"]))
def test_nothing_that_stays_together_is_parted(
    rows: list[tuple[str, int, list[str], list[str]]], seed: int, stratify: bool, by: By
) -> None:
    examples = [
        Example(str(n), question, "It is so.", tuple(map(Source, sources)), str(group), tuple(tags))
        for n, (question, group, sources, tags) in enumerate(rows)
    ]  # fmt: skip
    try:
        parts = split(examples, 0.3, seed, by=by, stratify=stratify)
    except UsageError:
        return
    assert sorted(one.id for part in parts for one in part) == sorted(one.id for one in examples) and all(parts)
    same = clusters([one.question for one in examples])
    together = [{one.group for one in part} for part in parts], [{same[int(one.id)] for one in part} for part in parts]
    documents = [{source.documents[0] for one in part for source in one.sources} for part in parts]
    for train, validation in (*together, *([documents] if by == "source" else [])):
        assert not train & validation


@pytest.mark.parametrize("by", ["group", "source"])
def test_rows_about_one_document_part_unless_the_split_is_by_source(by: By) -> None:
    sources = [Source(f"doc{number % 10}.md#Part {number}") for number in range(100)]
    examples = [Example(str(n), f"q{n}", "a", (sources[n],), str(n)) for n in range(100)]
    train, validation = split(examples, 0.2, 0, by=by)
    shared = {one.sources[0].documents[0] for one in train} & {one.sources[0].documents[0] for one in validation}
    assert (not shared) is (by == "source") and len(validation) == 20


def tagged(count: int) -> list[Example]:
    """Three tags of very different frequency: one row in 2, in 5 and in 20 has them; groups of two."""
    tags = [tuple(name for every, name in ((2, "a"), (5, "b"), (20, "c")) if n % every == 0) for n in range(count)]
    return [Example(str(n), f"q{n}", "a", group=str(n // 2), tags=tags[n]) for n in range(count)]


def test_each_tag_has_its_share_of_the_validation() -> None:
    examples = tagged(400)
    for seed in range(10):
        validation = split(examples, 0.2, seed, stratify=True)[1]
        for tag in "abc":
            wanted = 0.2 * sum(tag in one.tags for one in examples)
            assert abs(sum(tag in one.tags for one in validation) - wanted) <= 2, (seed, tag)
        assert abs(len(validation) - 80) <= 4
    plain = [len([1 for one in split(examples, 0.2, seed)[1] if "c" in one.tags]) for seed in range(10)]
    assert max(plain) - min(plain) > 2  # what a random draw does to a rare tag


@settings(max_examples=30, deadline=None)
@given(added=st.integers(0, 12), seed=st.integers(0, 9))
def test_new_examples_move_few_of_a_stratified_split(added: int, seed: int) -> None:
    before, after = (
        {one.id for one in split(tagged(count), 0.2, seed, stratify=True)[1]} for count in (120, 120 + added)
    )
    assert len(before - after) <= 2 * added + 2


def test_rows_of_one_document_alone_cannot_be_parted_by_source() -> None:
    examples = [Example(str(n), f"q{n}", "a", (Source("a.md"),), str(n)) for n in range(5)]
    with pytest.raises(UsageError, match=r"set data\.split\.by to group"):
        split(examples, 0.2, 0, by="source")


@settings(max_examples=30, deadline=None)
@given(groups=GROUPS, share=SHARES, seed=st.integers(0, 9))
def test_groups_go_to_validation_in_the_order_of_their_seeded_hash(groups: list[str], share: float, seed: int) -> None:
    sizes = Counter(groups)
    ordered = sorted(sizes, key=lambda name: blake3(f"{seed}\0{name}".encode()).digest())
    chosen, count = set[str](), 0
    for name in ordered[:-1]:
        if count < share * len(groups) and abs(count + sizes[name] - share * len(groups)) <= abs(
            count - share * len(groups)
        ):
            chosen.add(name)
            count += sizes[name]
    chosen = chosen or {min(ordered, key=lambda name: sizes[name])}
    assert {one.group for one in split(examples_of(groups), share, seed)[1]} == chosen
