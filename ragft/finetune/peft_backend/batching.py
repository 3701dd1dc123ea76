"""Rows side by side, padded on the right: a layout that every causal model knows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ragft.finetune.fast.batching import Rows, grouped


@dataclass(frozen=True)
class PaddedBatch:
    """Rows of at most T tokens, K of which are trained in all; all tensors are int64.

    Attributes:
        ids: (rows, T); behind a row's end, any token.
        mask: (rows, T); 1 for the tokens of a row, 0 behind its end.
        row, position: (K,) where the positions that predict a trained token are.
        targets: (K,) the tokens that they predict.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    row: torch.Tensor
    position: torch.Tensor
    targets: torch.Tensor

    def to(self, device: torch.device) -> PaddedBatch:
        """The same batch on a device; itself if it is there."""
        if self.ids.device == device:
            return self
        tensors = (self.ids, self.mask, self.row, self.position, self.targets)
        return PaddedBatch(*(tensor.to(device) for tensor in tensors))


def padded_batches(rows: Rows, budget: int, *, together: bool = True) -> list[PaddedBatch]:
    """Packs rows by length into batches of at most `budget` tokens with their padding; a longer row is alone.

    Args:
        together: False: every row is alone, for models whose rows change with the padding behind them.
    """
    return [pad(group) for group in grouped(rows, _padded_tokens, budget if together else 0)]


def _padded_tokens(rows: Rows) -> int:
    return len(rows) * max(len(row.ids) for row in rows)


def pad(rows: Rows) -> PaddedBatch:
    """Rows as one batch, in their order."""
    longest = max(len(row.ids) for row in rows)
    ids, mask = torch.zeros(2, len(rows), longest, dtype=torch.int64)
    where: list[tuple[int, int, int]] = []
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)], mask[number, : len(row.ids)] = torch.tensor(row.ids), 1
        ids[number, len(row.ids) :] = row.ids[-1]
        where += [(number, at - 1, row.ids[at]) for at in range(1, len(row.ids)) if row.trained[at]]
    row_of, position, targets = torch.tensor(where, dtype=torch.int64).reshape(-1, 3).unbind(1)
    return PaddedBatch(ids, mask, row_of, position, targets)
