"""Train and validation parts, by group, so that related examples never stand on both sides.

Questions that are asked twice, word for word or nearly so, bring their groups together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from blake3 import blake3

from ragft.data.duplicates import clusters
from ragft.data.examples import Example
from ragft.errors import UsageError

SPLIT_VERSION = 2
"""Increased whenever the same examples are split differently."""


def split(
    examples: Sequence[Example], validation_share: float, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Training and validation examples, each in the order of the file.

    Groups are ordered by a seeded hash of their name and go to validation until its share is reached: adding examples
    to other groups moves none of the old ones unless the share asks for it.

    Raises:
        UsageError: there are fewer than two unrelated groups, so that nothing could validate.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    names = joined_groups(examples)
    for example in examples:
        groups[names[example.group]].append(example)
    if len(groups) < 2:
        raise UsageError(
            f"The examples form {len(groups)} group, so none is left to validate: give unrelated examples different "
            "`group` values, or none."
        )
    wanted = validation_share * len(examples)
    ordered = sorted(groups, key=lambda name: blake3(f"{seed}\0{name}".encode()).digest())
    validation: set[str] = set()
    count = 0
    for name in ordered[:-1]:  # at least one group is left to train on
        size = len(groups[name])
        # A group goes where it brings the share nearer: a large one would leave little to train on.
        if abs(count + size - wanted) > abs(count - wanted):
            continue
        validation.add(name)
        count += size
        if count >= wanted:
            break
    if not validation:
        validation.add(min(ordered, key=lambda name: len(groups[name])))
    return (
        tuple(example for example in examples if names[example.group] not in validation),
        tuple(example for example in examples if names[example.group] in validation),
    )


def joined_groups(examples: Sequence[Example]) -> dict[str, str]:
    """For each group the first by name of those that it shares a question with, directly or through others."""
    name_of = {example.group: example.group for example in examples}

    def find(name: str) -> str:
        while name_of[name] != name:
            name = name_of[name]
        return name

    asked = ["\n".join([*(turn["content"] for turn in one.history), one.question]) for one in examples]
    for example, first in zip(examples, clusters(asked), strict=True):
        low, high = sorted((find(example.group), find(examples[first].group)))
        name_of[high] = low
    return {name: find(name) for name in name_of}
