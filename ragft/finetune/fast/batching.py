"""Which rows make up which step, and how the rows of a micro-batch lie in one sequence.

The order of a run is a pure function of seed and epoch, so that a resumed run continues exactly where it stopped.
Inside an optimiser batch, rows are packed by length under a token budget; as losses are summed and divided by the
trained tokens of the whole batch, packing does not change the gradient.

A packed micro-batch is one sequence: the prefix that all its rows share, once, then the remainder of each row. Every
remainder attends to the prefix and to itself and continues the prefix's positions, so that each row computes what it
would compute alone (`attention.py`), without padding and without computing a shared system prompt for each row.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from ragft.messages import Rendered

Rows = Sequence[Rendered]
Row = TypeVar("Row", bound=Rendered)


@dataclass(frozen=True)
class Layout:
    """Rows in one sequence: `prefix` tokens that all share (may be 0), then `remainders[i]` further ones of row i."""

    prefix: int
    remainders: tuple[int, ...]


@dataclass(frozen=True)
class MicroBatch:
    """Rows packed into one sequence of T tokens with K trained ones; all tensors are int64.

    Attributes:
        ids: (1, T).
        positions: (1, T) positions of the tokens in their own rows.
        predicting: (K,) indices into the sequence of the positions that predict a trained token.
        targets: (K,) the tokens that they predict.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    predicting: torch.Tensor
    targets: torch.Tensor

    def to(self, device: torch.device) -> MicroBatch:
        """The same batch on a device; itself if it is there."""
        if self.ids.device == device:
            return self
        return MicroBatch(
            self.ids.to(device), self.positions.to(device), self.layout, self.predicting.to(device),
            self.targets.to(device),
        )  # fmt: skip


def trained_tokens(row: Rendered) -> int:
    """Number of tokens that the loss is taken over: the trained ones except the first, which nothing predicts."""
    return sum(sum(part.trained[1:]) for part in row.sequences)


def is_long(row: Rendered, max_seq_length: int) -> bool:
    """Whether a model would have to read more than so many tokens of a row at once."""
    return any(len(one.ids) > max_seq_length for one in row.sequences)


def trainable(rows: Rows, max_seq_length: int) -> Rows:
    """The rows that training takes: not too long, and with a token to train on."""
    return [row for row in rows if not is_long(row, max_seq_length) and trained_tokens(row) > 0]


def epoch_batches(
    rows: int, batch_size: int, *, seed: int, epoch: int, lengths: Sequence[int] | None = None
) -> list[list[int]]:
    """Row numbers of each optimiser batch of an epoch: every row once, in an order that the arguments alone decide.

    Args:
        lengths: of the rows: a curriculum, in which the first epoch goes from short rows to long ones and later ones
            are shuffled (SortaGrad; Amodei et al., 2015, arXiv 1512.02595). None: all epochs are shuffled.
    """
    order = list(range(rows))
    random.Random(f"{seed}:{epoch}").shuffle(order)
    if lengths is not None and epoch == 0:
        order.sort(key=lambda row: lengths[row])  # rows of one length stay shuffled
    return [order[start : start + batch_size] for start in range(0, rows, batch_size)]


def lengths_for(rows: Rows, order: str) -> list[int] | None:
    """What `epoch_batches` needs to know of the rows for `finetune.order`."""
    return [max(len(one.ids) for one in row.sequences) for row in rows] if order == "short-first" else None


def shares(rows: Rows, count: int, *, empty: bool = False) -> list[list[Rendered]]:
    """Divides rows among at most `count` workers: longest first, each to the worker with the fewest tokens so far.

    The shares depend on `rows` and `count` only, so that the same number of workers gives the same bits.

    Args:
        empty: return a share for each of `count`, of which some may be empty.
    """
    dealt: list[list[Rendered]] = [[] for _ in range(count)]
    tokens = [0] * count
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        least = tokens.index(min(tokens))
        dealt[least].append(row)
        tokens[least] += len(row.ids)
    return [share for share in dealt if share or empty]


def micro_batches(rows: Rows, budget: int) -> list[MicroBatch]:
    """Packs rows by length into sequences of at most `budget` tokens; a longer row gets a sequence of its own.

    Each row must have a trained token. The result depends on the rows and the budget only.
    """
    return [pack(group) for group in grouped(rows, _packed_tokens, budget)]


def grouped(rows: Iterable[Row], tokens: Callable[[Sequence[Row]], int], budget: int) -> list[list[Row]]:
    """Rows by length, longest first, in groups of at most `budget` tokens; a row that takes more is alone.

    Args:
        tokens: how many a group takes.
    """
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: -max(len(one.ids) for one in row.sequences)):
        if groups and tokens([*groups[-1], row]) <= budget:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def pack(rows: Rows) -> MicroBatch:
    """Lays `rows` into one sequence behind the longest untrained prefix that all of them share."""
    prefix = _untrained_prefix(rows) if len(rows) > 1 else 0
    ids, positions = list(rows[0].ids[:prefix]), list(range(prefix))
    predicting, targets = list[int](), list[int]()
    for row in rows:
        offset = len(ids) - prefix
        for position in range(max(prefix, 1), len(row.ids)):
            if row.trained[position]:
                # The first token after the prefix is predicted by the prefix's last one, which all rows share.
                predicting.append(position - 1 if position == prefix else offset + position - 1)
                targets.append(row.ids[position])
        ids.extend(row.ids[prefix:])
        positions.extend(range(prefix, len(row.ids)))
    layout = Layout(prefix, tuple(len(row.ids) - prefix for row in rows))
    trained = (torch.tensor(numbers, dtype=torch.int64) for numbers in (predicting, targets))
    return MicroBatch(torch.tensor([ids]), torch.tensor([positions]), layout, *trained)


def common_prefix(sequences: Iterable[Sequence[int]]) -> int:
    """Number of tokens that all sequences begin with."""
    columns = list(zip(*sequences, strict=False))
    return next((place for place, tokens in enumerate(columns) if len(set(tokens)) > 1), len(columns))


def _untrained_prefix(rows: Rows) -> int:
    """Number of tokens that all rows begin with before any has a trained one; never a whole row."""
    return common_prefix(row.ids[: (*row.trained[:-1], True).index(True)] for row in rows)


def _packed_tokens(rows: Rows) -> int:
    return sum(len(row.ids) for row in rows) - (len(rows) - 1) * _untrained_prefix(rows)
