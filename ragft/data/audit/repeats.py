"""Rows that repeat others, exactly and nearly, and rows that contradict others, for any number of rows.

Exact repetition compares hashes; near repetition is what `ragft.data.near` finds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ragft.data.audit.kinds import Flag, Table
from ragft.data.near import Mask, Near, Numbers, Words

MOST_COMPARED = 24
"""Rows before it, with the same rare word and the same figures, that a row is compared with: keeps the time linear."""


def repeats(table: Table) -> Iterator[Flag]:
    """Rows whose question stood in an earlier row: duplicates, or contradictions where the answers differ."""
    questions = np.frombuffer(table.question, dtype=np.uint64)
    said, answers = (np.frombuffer(column, dtype=np.uint64) for column in (table.said, table.answer))
    read = np.flatnonzero(np.frombuffer(table.is_read, dtype=np.uint8))
    if not len(read):
        return
    order = read[np.argsort(questions[read], kind="stable")]
    starts = np.flatnonzero(np.diff(questions[order], prepend=questions[order[:1]] ^ np.uint64(1)))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        if end - start > 1:
            yield from _of_one_question(order[start:end].tolist(), said, answers)


def _of_one_question(rows: list[int], said: npt.NDArray[np.uint64], answers: npt.NDArray[np.uint64]) -> Iterator[Flag]:
    """The rows with one question, in their order."""
    first_with: dict[int, int] = {}
    first_saying: dict[int, int] = {}
    for row in rows:
        earlier = first_with.setdefault(int(answers[row]), row)
        if earlier != row:
            yield Flag("duplicate", row, "question and answer", earlier)
        elif (alike := first_saying.setdefault(int(said[row]), row)) != row:
            yield Flag("near_duplicate", row, "the same question, and the same answer otherwise written", alike)
    if len(first_saying) > 1:
        one, other, *_ = first_saying.values()
        for saying, row in first_saying.items():
            yield Flag("contradiction", row, "the same question", other if saying == int(said[one]) else one)


def near_repeats(table: Table, words: Words, alike: float) -> Iterator[Flag]:
    """Rows that nearly ask what an earlier row asks, with the same answer.

    Args:
        alike: share of the weight of the words that two questions must have in common.
    """
    near = Near(words, np.flatnonzero(np.frombuffer(table.is_read, dtype=np.uint8)), alike)
    questions, answers = (np.frombuffer(column, dtype=np.uint64) for column in (table.question, table.answer))

    def with_one_answer(rows: Numbers, others: Numbers) -> Mask:
        # What has the same question was told by `repeats`.
        found: Mask = (answers[rows] == answers[others]) & (questions[rows] != questions[others])
        return found

    told: set[int] = set()
    for rows, others in near.pairs(with_one_answer, with_one_answer, MOST_COMPARED):
        for row, other in zip(rows.tolist(), others.tolist(), strict=True):
            if row not in told:
                told.add(row)
                yield Flag("near_duplicate", row, near.why(row, other), other)


def repeated_ids(table: Table) -> Iterator[tuple[int, int]]:
    """Rows whose id stands in an earlier row of the same file, and that row."""
    identities, files = np.frombuffer(table.identity, dtype=np.uint64), np.frombuffer(table.file, dtype=np.uint8)
    read = np.flatnonzero(np.frombuffer(table.is_read, dtype=np.uint8))
    order = read[np.lexsort((read, identities[read], files[read]))]
    same = (identities[order][1:] == identities[order][:-1]) & (files[order][1:] == files[order][:-1])
    first = 0
    for at in np.flatnonzero(same).tolist():
        first = order[at] if at == 0 or not same[at - 1] else first
        yield int(order[at + 1]), int(first)
