"""Train and validation parts, so that related examples never stand on both sides.

Related are examples of one group, those that ask the same, word for word or nearly so, and, if wanted, those with
sources in one document; directly or through others. Memory holds a few numbers of each example.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from ragft.citations import without_citations
from ragft.data.duplicates import hash_of
from ragft.data.examples import Example
from ragft.data.near import Asked
from ragft.errors import UsageError

SPLIT_VERSION = 3
"""Increased whenever the same examples are split differently."""

By = Literal["group", "source"]
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def split(
    examples: Sequence[Example], validation_share: float, seed: int, *, by: By = "group", stratify: bool = False
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Training and validation examples, each in the order of the file; see `validating`."""
    chosen = validating(lambda: iter(examples), validation_share, seed, by=by, stratify=stratify)
    train, validation = (
        tuple(example for example, validates in zip(examples, chosen, strict=True) if validates == part)
        for part in (False, True)
    )
    return train, validation


def validating(
    examples: Callable[[], Iterator[Example]], validation_share: float, seed: int, *, by: By = "group",
    stratify: bool = False, words: Path | None = None,
) -> Mask:  # fmt: skip
    """Which of the examples validate, (examples,) bool.

    What is related is put in the order of a seeded hash of the first of its groups by name, and goes to validation
    until its share is reached: adding other examples moves none of the old ones unless the share asks for it. With
    `stratify`, what brings the shares of its tags and of the whole nearer goes to validation, instead.

    Args:
        examples: begins to read them again, each time in the same order.
        by: what stays together, see `data.split.by`.
        words: see `Asked`.

    Raises:
        UsageError: all examples are related, so that nothing could validate.
    """
    columns = _Columns.of(examples(), Asked(words), by, stratify, seed)
    related = columns.related()
    count = int(related.max(initial=-1)) + 1
    if count < 2:
        raise UsageError(_one_group(count, by))
    order = np.argsort(_hashes(columns, related, count, examples, seed), kind="stable")
    chosen = _stratified if stratify else _until_full
    validation = np.zeros(count, dtype=np.bool_)
    validation[chosen(columns, related, order, validation_share)] = True
    return validation[related]


def _one_group(count: int, by: By) -> str:
    if by == "source":
        return (
            "By their groups and source documents, all examples are related, so none is left to validate: set "
            "data.split.by to group, or name a file in data.validation."
        )
    return (
        f"The examples form {count} group, so none is left to validate: give unrelated examples different `group` "
        "values, or none."
    )


@dataclass
class _Columns:
    """A few numbers of every example.

    Attributes:
        asked: what each asks.
        groups: a hash of the group of each.
        order: the first 8 bytes of the seeded hash of the group of each, by which groups are ordered.
        documents, holders: hashes of the documents of their sources, and the examples that name them.
        tags, tagged: numbers of tags, and the examples that have them.
        names: numbers of the tags.
    """

    asked: Asked
    groups: array[int] = field(default_factory=lambda: array("Q"))
    order: array[int] = field(default_factory=lambda: array("Q"))
    documents: array[int] = field(default_factory=lambda: array("Q"))
    holders: array[int] = field(default_factory=lambda: array("I"))
    tags: array[int] = field(default_factory=lambda: array("I"))
    tagged: array[int] = field(default_factory=lambda: array("I"))
    names: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, examples: Iterable[Example], asked: Asked, by: By, stratify: bool, seed: int) -> _Columns:
        """Reads the examples once."""
        columns = cls(asked)
        for place, example in enumerate(examples):
            text = "\n".join([*(turn["content"] for turn in example.history), example.question])
            asked.add(text, without_citations(example.answer))
            columns.groups.append(hash_of(example.group))
            columns.order.append(_ordering(example.group, seed))
            for document in {source.documents[0] for source in example.sources} if by == "source" else ():
                columns.documents.append(hash_of(document))
                columns.holders.append(place)
            for tag in dict.fromkeys(example.tags or ("",)) if stratify else ():
                columns.tags.append(columns.names.setdefault(tag, len(columns.names)))
                columns.tagged.append(place)
        return columns

    def __len__(self) -> int:
        return len(self.groups)

    def related(self) -> Numbers:
        """(examples,) numbers, the same for those that stay together."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        count = len(self)
        if not count:
            return np.zeros(0, dtype=np.int64)
        rows = np.arange(count)
        edges = [(rows, self.asked.clusters()), (rows, _firsts(self.groups, rows))]
        if len(self.documents):
            holders = np.array(self.holders, dtype=np.int64)
            edges.append((holders, _firsts(self.documents, holders)))
        one, other = (np.concatenate([edge[side] for edge in edges]) for side in (0, 1))
        graph = coo_matrix((np.ones(len(one), dtype=np.bool_), (one, other)), shape=(count, count))
        _, labels = connected_components(graph, directed=False)
        found: Numbers = labels.astype(np.int64)
        return found


def _firsts(column: array[int], rows: Numbers) -> Numbers:
    """For each value of a column the row of the first one that is equal."""
    values = np.array(column, dtype=np.uint64)
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    found: Numbers = rows[first[inverse]]
    return found


def _ordering(group: str, seed: int) -> int:
    return int.from_bytes(blake3(f"{seed}\0{group}".encode("utf-8", "surrogatepass")).digest(8), "big")


def _hashes(
    columns: _Columns, related: Numbers, count: int, examples: Callable[[], Iterator[Example]], seed: int
) -> npt.NDArray[np.uint64]:
    """(count,) what puts related examples in order: the hash of the first of their groups by name."""
    hashes = np.zeros(count, dtype=np.uint64)
    order, groups = np.array(columns.order, dtype=np.uint64), np.array(columns.groups, dtype=np.uint64)
    hashes[related] = order
    several = np.zeros(count, dtype=np.bool_)
    first = np.zeros(count, dtype=np.uint64)
    first[related] = groups
    several[related[first[related] != groups]] = True
    if several.any():  # their names are read again, because only here they count
        names = dict[int, str]()
        for number, example in zip(related.tolist(), examples(), strict=True):
            if several[number]:
                names[number] = min(names.get(number, example.group), example.group)
        for number, name in names.items():
            hashes[number] = _ordering(name, seed)
    return hashes


def _until_full(columns: _Columns, related: Numbers, order: Numbers, share: float) -> list[int]:
    """What validates: in the order given, what brings the share nearer, until it is reached."""
    sizes = np.bincount(related)
    wanted, count = share * len(columns), 0
    validation: list[int] = []
    for number in order[:-1].tolist():  # something is left to train on
        size = int(sizes[number])
        # What is large would leave little to train on.
        if abs(count + size - wanted) > abs(count - wanted):
            continue
        validation.append(number)
        count += size
        if count >= wanted:
            break
    return validation or [int(order[np.argmin(sizes[order])])]


def _stratified(columns: _Columns, related: Numbers, order: Numbers, share: float) -> list[int]:
    """What validates: tag by tag, the rarest first (after Sechidis et al., 2011), and the whole as the last one.

    For each tag, what has it goes to validation in the order given, if that brings the counts of the tags so far nearer
    to their shares. A distance is the sum of squares of what is missing or too much, each divided by what is wanted, as
    in Pearson's chi-squared, so that rare tags count as much as frequent ones.
    """
    sizes, whole = np.bincount(related), len(columns.names)
    rows, tagged = np.array(columns.tagged, dtype=np.int64), np.array(columns.tags, dtype=np.int64)
    totals = np.bincount(tagged, minlength=whole)
    names = list(columns.names)
    rank = np.empty(whole, dtype=np.int64)
    rank[sorted(range(whole), key=lambda tag: (totals[tag], names[tag]))] = np.arange(whole)
    # How often each tag, by its rank, is in each of what stays together; the whole is the tag with the last rank.
    keys = np.concatenate([related[rows] * (whole + 1) + rank[tagged], np.arange(len(sizes)) * (whole + 1) + whole])
    pairs, times = np.unique(keys, return_counts=True)
    of, tags = np.divmod(pairs, whole + 1)
    times[tags == whole] = sizes
    starts, tag_of, time_of = np.searchsorted(of, np.arange(len(sizes) + 1)).tolist(), tags.tolist(), times.tolist()
    wanted = (share * np.append(np.sort(totals), len(columns))).tolist()
    place = np.empty(len(sizes), dtype=np.int64)
    place[order] = np.arange(len(order))
    turns = np.lexsort((place[of], tags))
    turns = turns[of[turns] != order[-1]]  # something is left to train on
    counts, validation = [0] * (whole + 1), dict[int, None]()
    for number, last in zip(of[turns].tolist(), tags[turns].tolist(), strict=True):
        if number in validation:
            continue
        span = range(starts[number], starts[number + 1])
        # The difference of two squares: (count + n - wanted)² - (count - wanted)².
        farther = sum(
            time_of[at] * (2 * (counts[tag_of[at]] - wanted[tag_of[at]]) + time_of[at]) / wanted[tag_of[at]]
            for at in span
            if tag_of[at] <= last
        )
        if farther < 0:
            validation[number] = None
            for at in span:
                counts[tag_of[at]] += time_of[at]
    return list(validation) or [int(order[np.argmin(sizes[order])])]
