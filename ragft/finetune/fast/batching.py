"""Which rows make which step, and how the rows of a micro-batch lie in one sequence.

The order of a run is a pure function of seed and epoch, so that a resumed run walks on exactly where it
stood. Inside an optimiser batch rows are packed by length under a token budget; as losses are summed and
divided by the trained tokens of the whole batch, packing does not change the gradient.

A packed micro-batch is one sequence: the prefix that all its rows share, once, then what follows it in each
row. Every remainder attends to the prefix and to itself and continues the prefix's positions, so that each
row computes what it would compute alone (`attention.py`), without padding and without computing a shared
system prompt for each row.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ragft.prompts import Rendered


@dataclass(frozen=True)
class Layout:
    """How rows lie in a packed sequence.

    Attributes:
        prefix: tokens that all rows share and that stand first, once; may be 0.
        remainders: tokens of each row after the prefix, in order.
    """

    prefix: int
    remainders: tuple[int, ...]


@dataclass(frozen=True)
class MicroBatch:
    """Rows packed into one sequence of T tokens with K trained ones.

    Attributes:
        ids: (1, T) int64 token ids.
        positions: (1, T) int64 positions of the tokens in their own rows.
        layout: which tokens attend to which.
        predicting: (K,) int64 indices into the sequence of the positions that predict a trained token.
        targets: (K,) int64 the tokens they predict.
        tokens: tokens of the rows, the shared prefix counted once per row.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    predicting: torch.Tensor
    targets: torch.Tensor
    tokens: int


def trained_tokens(row: Rendered) -> int:
    """Tokens of `row` that a loss is taken from: the flagged ones but the first, which nothing predicts."""
    return sum(row.trained[1:])


def epoch_batches(rows: int, batch_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Row numbers of each optimiser batch of an epoch: every row once, in an order that only the arguments
    decide."""
    order = list(range(rows))
    random.Random(f"{seed}:{epoch}").shuffle(order)
    return [order[start : start + batch_size] for start in range(0, rows, batch_size)]


def micro_batches(rows: Sequence[Rendered], budget: int) -> list[MicroBatch]:
    """`rows` packed by length into sequences of at most `budget` tokens; a longer row makes one of its own.

    Each row must have a trained token. The result depends on the rows and the budget only.
    """
    order = sorted(range(len(rows)), key=lambda number: (-len(rows[number].ids), number))
    groups: list[list[Rendered]] = []
    prefix, total = 0, 0
    for number in order:
        row = rows[number]
        if groups:
            shared = min(prefix, _common_prefix(groups[-1][0], row))
            size = len(groups[-1]) + 1
            if total + len(row.ids) - (size - 1) * shared <= budget:
                groups[-1].append(row)
                prefix, total = shared, total + len(row.ids)
                continue
        groups.append([row])
        prefix, total = _untrained_head(row), len(row.ids)
    return [pack(group) for group in groups]


def pack(rows: Sequence[Rendered]) -> MicroBatch:
    """Lays `rows` into one sequence behind the longest untrained prefix that all of them share."""
    prefix = 0
    if len(rows) > 1:
        prefix = min(_common_prefix(rows[0], row) for row in rows)
    ids: list[int] = list(rows[0].ids[:prefix])
    positions = list(range(prefix))
    predicting: list[int] = []
    targets: list[int] = []
    for row in rows:
        if any(row.trained[:prefix]):
            raise AssertionError("a shared prefix holds a trained token, whose loss would be counted once for all rows")
        offset = len(ids) - prefix
        for position in range(max(prefix, 1), len(row.ids)):
            if row.trained[position]:
                # The first token behind the prefix is predicted by the prefix's last one, which all rows share.
                predicting.append(position - 1 if position == prefix else offset + position - 1)
                targets.append(row.ids[position])
        ids.extend(row.ids[prefix:])
        positions.extend(range(prefix, len(row.ids)))
    return MicroBatch(
        ids=torch.tensor([ids]),
        positions=torch.tensor([positions]),
        layout=Layout(prefix, tuple(len(row.ids) - prefix for row in rows)),
        predicting=torch.tensor(predicting, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        tokens=sum(len(row.ids) for row in rows),
    )


def _common_prefix(first: Rendered, second: Rendered) -> int:
    """Tokens that two rows share from their beginning, before either has a trained one or ends."""
    limit = min(_untrained_head(first), _untrained_head(second))
    for position in range(limit):
        if first.ids[position] != second.ids[position]:
            return position
    return limit


def _untrained_head(row: Rendered) -> int:
    """Tokens before the first trained one, but never the whole row."""
    return row.trained.index(True) if True in row.trained else len(row.ids) - 1
