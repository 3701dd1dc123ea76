"""Train and validation parts, by group, so that related examples never stand on both sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from blake3 import blake3

from ragft.data.examples import Example
from ragft.errors import UsageError


def split(
    examples: Sequence[Example], validation_share: float, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Training and validation examples, each in the order of the file.

    Groups are ordered by a seeded hash of their name and go to validation until its share is reached: adding examples
    to other groups moves none of the old ones unless the share asks for it.

    Raises:
        UsageError: there are fewer than two groups, so that nothing could validate.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.group].append(example)
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
        tuple(example for example in examples if example.group not in validation),
        tuple(example for example in examples if example.group in validation),
    )
