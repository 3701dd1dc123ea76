"""Which rows a mix has: how often each example comes, and of which kind its rows are. All shares are exact, and the
places seeded.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence, Set
from typing import Literal

from ragft.config import MixSection
from ragft.data.examples import Example

Kind = Literal["gold", "refusal", "closed-book", "general"]


def tasks_of(examples: Sequence[Example], places: Sequence[int]) -> dict[str, list[int]]:
    """The examples of each task, which is the first tag; those without a tag are one, too."""
    tasks: dict[str, list[int]] = {}
    for place in places:
        tasks.setdefault(next(iter(examples[place].tags), ""), []).append(place)
    return tasks


def task_rows(sizes: Sequence[int], temperature: float) -> list[int]:
    """How many rows each task gets, of as many as there are examples: shares of n^(1/T) (Raffel et al., 2020, section
    3.5.2), rounded by the largest remainders.

    >>> task_rows([90, 10], 1.0), task_rows([90, 10], 2.0), task_rows([90, 10], 1e9)
    ([90, 10], [75, 25], [50, 50])
    """
    weights = [size ** (1 / temperature) for size in sizes]
    exact = [sum(sizes) * weight / sum(weights) for weight in weights]
    rows = [math.floor(one) for one in exact]
    most = sorted(range(len(rows)), key=lambda at: (rows[at] - exact[at], at))
    for at in most[: sum(sizes) - sum(rows)]:
        rows[at] += 1
    return rows


def sampled(tasks: Mapping[str, Sequence[int]], temperature: float, draw: random.Random) -> list[int]:
    """Examples of all tasks: each of a task as often as any other, but for one time."""
    drawn: list[int] = []
    for places, rows in zip(tasks.values(), task_rows([*map(len, tasks.values())], temperature), strict=True):
        drawn += [place for _ in range(rows // len(places)) for place in places]
        drawn += draw.sample(list(places), rows % len(places))
    return drawn


def rows_with_false(kinds: Sequence[Kind], share: float, draw: random.Random) -> Set[int]:
    """The rows that get a made-up passage, if one can be made of theirs: an exact share of those with the answer."""
    gold = [row for row, kind in enumerate(kinds) if kind == "gold"]
    return frozenset(draw.sample(gold, round(share * len(gold))))


def kinds_of(sourced: Sequence[bool], settings: MixSection, draw: random.Random) -> list[Kind]:
    """Which row is of which kind: exact shares, seeded places.

    Args:
        sourced: whether the example of each row names sources.
    """
    rows = len(sourced)
    total = rows / (1 - settings.general_share) if settings.general_share < 1 else rows
    order = draw.sample(range(rows), rows)
    kinds: list[Kind] = ["gold"] * rows
    closed = min(rows, round(settings.closed_book_share * total))
    for place in order[:closed]:
        kinds[place] = "closed-book"
    # An example without sources is a refusal already: the share is counted over the others.
    answered = [place for place in order[closed:] if sourced[place]]
    for place in answered[: round((1 - settings.gold_share) * len(answered))]:
        kinds[place] = "refusal"
    return [
        "refusal" if kind == "gold" and not has_sources else kind
        for kind, has_sources in zip(kinds, sourced, strict=True)
    ]


def passages_of_row(settings: MixSection, draw: random.Random) -> int:
    """How many passages a row holds, if it holds any."""
    most, fewest = settings.passages, settings.fewest_passages
    return most if fewest is None else draw.randint(min(fewest, most), most)
