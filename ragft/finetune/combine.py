"""Several LoRA adapters of one base become one, which is itself an adapter in PEFT's format.

What is combined are the changes of the weights, scale · B A, and never A and B apart: sums of factors multiply out to
cross terms that belong to no adapter, which is why PEFT's own `linear` is an approximation. The weighted sum is exact
here, at the sum of the ranks. TIES and DARE, PEFT's functions, have no low rank of their own: the nearest matrix of the
summed rank is kept, and `Combined.retained` says how much of the change that is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from ragft.errors import UsageError
from ragft.finetune.fast.adapter import read_adapter, save_adapter
from ragft.finetune.fast.lora import LoraDelta
from ragft.finetune.fast.plain_lora import CONFIG

Combination = Literal["linear", "ties", "dare_linear", "dare_ties"]
COMBINATIONS: tuple[Combination, ...] = get_args(Combination)


@dataclass(frozen=True)
class Combined:
    """What was written.

    Attributes:
        rank: of the combined adapter.
        layers: how many it changes.
        retained: smallest share of a layer's combined change, by its squared norm, that the rank could hold.
    """

    rank: int
    layers: int
    retained: float


def combine(
    adapters: Sequence[Path],
    weights: Sequence[float],
    folder: Path,
    *,
    how: Combination,
    density: float,
    seed: int,
) -> Combined:
    """Writes the combination of adapters of the same base.

    Args:
        weights: one per adapter; the sum of the changes is not scaled otherwise.
        density: share of each change that TIES keeps by magnitude, and DARE at random; not used by `linear`.
        seed: decides what DARE drops.

    Raises:
        RagftError: an adapter is not plain LoRA, or two change a layer of different size.
    """
    read = [read_adapter(adapter) for adapter in adapters]
    names = sorted({name for deltas in read for name in deltas})
    rank = sum(max(delta.A.shape[0] for delta in deltas.values()) for deltas in read)
    matrices: dict[str, Tensor] = {}
    retained = 1.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in names:
            parts = {number: deltas[name] for number, deltas in enumerate(read) if name in deltas}
            _refuse_other_sizes(name, parts, adapters)
            A, B, kept = _combined_layer(parts, weights, how, density, rank)
            retained = min(retained, kept)
            # alpha equals the rank, so that every layer's scale is one; missing ranks are zeros.
            matrices[f"{name}.A"] = _padded(A, (rank, A.shape[1]))
            matrices[f"{name}.B"] = _padded(B, (B.shape[0], rank))
    base_name = json.loads((adapters[0] / CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    save_adapter(matrices, folder, base_name, rank=rank, alpha=rank)
    return Combined(rank, len(names), retained)


def _combined_layer(
    parts: Mapping[int, LoraDelta], weights: Sequence[float], how: Combination, density: float, rank: int
) -> tuple[Tensor, Tensor, float]:
    """A, B and the share that they hold of the change, B A, of one layer; `parts` by the number of their adapter."""
    if how == "linear":
        A = torch.cat([delta.A for delta in parts.values()])
        B = torch.cat([weights[number] * delta.scale * delta.B for number, delta in parts.items()], dim=1)
        return A, B, 1.0
    changes = [delta.scale * (delta.B @ delta.A) for delta in parts.values()]
    change = _merging(how)(changes, torch.tensor([weights[number] for number in parts]), density)
    U, S, V = torch.linalg.svd(change, full_matrices=False)
    energy = S.square()
    whole = energy.sum()
    kept = (energy[:rank].sum() / whole).item() if whole > 0 else 1.0
    return V[:rank], U[:, :rank] * S[:rank], kept


def _merging(how: Combination) -> Callable[[list[Tensor], Tensor, float], Tensor]:
    from peft.utils import merge_utils

    found: Callable[[list[Tensor], Tensor, float], Tensor] = getattr(merge_utils, how)
    return found


def _padded(matrix: Tensor, shape: tuple[int, int]) -> Tensor:
    whole = torch.zeros(shape)
    whole[: matrix.shape[0], : matrix.shape[1]] = matrix
    return whole


def _refuse_other_sizes(name: str, parts: Mapping[int, LoraDelta], adapters: Sequence[Path]) -> None:
    sizes = {number: (delta.B.shape[0], delta.A.shape[1]) for number, delta in parts.items()}
    first = next(iter(sizes))
    for number, size in sizes.items():
        if size != sizes[first]:
            raise UsageError(
                f"The adapters in {adapters[first]} and {adapters[number]} cannot be combined: layer {name!r} is "
                f"{sizes[first]} in the first and {size} in the second, so they are of different base models."
            )
