"""How likely a model finds several texts after the same prompt: log-likelihoods, in batches.

A prompt is read once for all of its continuations where the model can be shown so: they stand side by side in one row,
and a mask keeps each from seeing the others. What a model can do is tried on two prompts against rows that are read
alone, not looked up in a list.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ragft.finetune import devices
from ragft.finetune.peft_backend.batching import PaddedBatch, pad, padded_batches
from ragft.finetune.peft_backend.forward import computing_in, logits_at
from ragft.messages import Rendered

TOKENS_AT_ONCE = 512
"""Attention within a row of packed prompts is computed in full and masked: longer rows would mostly compute that."""

_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest difference in nats per token of a continuation that rounding explains."""

Way = Callable[[nn.Module, "Sequence[Continued]", torch.dtype], list[list[float]]]


@dataclass(frozen=True)
class Continued:
    """A prompt and texts that may follow it, as token ids; none of them is empty."""

    prompt: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]

    @property
    def rows(self) -> list[Rendered]:
        """Each continuation behind a prompt of its own."""
        return [Rendered.answered(self.prompt, one) for one in self.continuations]

    @property
    def longest(self) -> int:
        """Tokens of the prompt with its longest continuation."""
        return len(self.prompt) + max(map(len, self.continuations))


@torch.inference_mode()
def log_likelihoods(
    model: nn.Module, asked: Sequence[Continued], dtype: torch.dtype,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[float]]:  # fmt: skip
    """The log-likelihood of every continuation of every prompt, in nats.

    Args:
        model: in evaluation mode, with or without what PEFT puts around it.
        dtype: of the products.
        advance: called with how many of the prompts are done, and how many there are.
    """
    if not asked:
        return []
    way = _way(model, asked, dtype)
    order = sorted(range(len(asked)), key=lambda at: asked[at].longest)
    found: list[list[float]] = [[] for _ in asked]
    done = 0
    for group in _grouped([(at, asked[at]) for at in order]):
        for (at, _), values in zip(group, way(model, [one for _, one in group], dtype), strict=True):
            found[at] = values
        done += len(group)
        advance(done, len(asked))
    return found


def _grouped(asked: Sequence[tuple[int, Continued]]) -> list[list[tuple[int, Continued]]]:
    groups: list[list[tuple[int, Continued]]] = []
    room = 0
    for at, one in asked:
        size = len(one.prompt) + sum(map(len, one.continuations))
        if not groups or size > room:
            groups.append([])
            room = TOKENS_AT_ONCE
        groups[-1].append((at, one))
        room -= size
    return groups


def _way(model: nn.Module, asked: Sequence[Continued], dtype: torch.dtype) -> Way:
    """The quickest way that gives what rows give that are read alone."""
    longest, shortest = max(asked, key=lambda one: one.longest), min(asked, key=lambda one: one.longest)
    tried = [longest, shortest]
    expected = alone(model, tried, dtype)
    for way in (packed, padded):
        try:
            found = way(model, tried, dtype)
        except Exception:  # noqa: S112  what a model raises that does not know such a mask is anything
            continue
        if _close(tried, found, expected, _TOLERANCE[dtype]):
            return way
    return alone


def _close(
    asked: Sequence[Continued], found: Sequence[Sequence[float]], expected: Sequence[Sequence[float]], tolerance: float
) -> bool:
    return all(
        abs(here - there) <= tolerance * len(ids)
        for one, ours, theirs in zip(asked, found, expected, strict=True)
        for ids, here, there in zip(one.continuations, ours, theirs, strict=True)
    )


def alone(model: nn.Module, asked: Sequence[Continued], dtype: torch.dtype) -> list[list[float]]:
    """One row after the other, without padding: what every model knows."""
    return [[_sums(model, pad([row]), 1, dtype)[0] for row in one.rows] for one in asked]


def padded(model: nn.Module, asked: Sequence[Continued], dtype: torch.dtype) -> list[list[float]]:
    """Rows side by side, each with its own prompt."""
    rows = [row for one in asked for row in one.rows]
    by_row: dict[tuple[int, ...], float] = {}
    for batch in padded_batches(rows, TOKENS_AT_ONCE):
        sums = _sums(model, batch, len(batch.ids), dtype)
        lengths = batch.mask.sum(dim=1).tolist()
        by_row |= {
            tuple(ids[:length]): value for ids, length, value in zip(batch.ids.tolist(), lengths, sums, strict=True)
        }
    return [[by_row[row.ids] for row in one.rows] for one in asked]


def _sums(model: nn.Module, batch: PaddedBatch, rows: int, dtype: torch.dtype) -> list[float]:
    chosen = _chosen(logits_at(model, batch, dtype), batch.targets)
    return torch.zeros(rows, dtype=torch.float64).index_add(0, batch.row, chosen).tolist()


def packed(model: nn.Module, asked: Sequence[Continued], dtype: torch.dtype) -> list[list[float]]:
    """All prompts in one row, each read once for its continuations.

    A token sees its own prompt and its own continuation up to itself. The last token of a continuation predicts
    nothing, and is left out.
    """
    device = devices.of(model)
    ids, positions, prompts, parts = list[int](), list[int](), list[int](), list[int]()
    predicting, targets, owners = list[int](), list[int](), list[int]()
    part = 0
    for number, one in enumerate(asked):
        start, length = len(ids), len(one.prompt)
        ids += one.prompt
        positions += range(length)
        parts += [-1] * length
        for continuation in one.continuations:
            predicting += [start + length - 1, *range(len(ids), len(ids) + len(continuation) - 1)]
            targets += continuation
            owners += [part] * len(continuation)
            ids += continuation[:-1]
            positions += range(length, length + len(continuation) - 1)
            parts += [part] * (len(continuation) - 1)
            part += 1
        prompts += [number] * (len(ids) - start)
    position, prompt, of_part = (torch.tensor(values, device=device) for values in (positions, prompts, parts))
    seen = (prompt[:, None] == prompt) & (position[:, None] >= position)
    seen &= (of_part == -1) | (of_part[:, None] == of_part)
    # The dtype that a model adds its mask in: that of its hidden states, whatever its products are in.
    mask = torch.zeros(seen.shape, dtype=next(model.parameters()).dtype, device=device)
    mask.masked_fill_(~seen, torch.finfo(mask.dtype).min)
    at = torch.tensor(predicting, device=device)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    few = "logits_to_keep" in inspect.signature(inner.forward).parameters
    with computing_in(dtype, device):
        logits = model(
            input_ids=torch.tensor([ids], device=device), attention_mask=mask[None, None],
            position_ids=position[None], use_cache=False, **({"logits_to_keep": at} if few else {}),
        ).logits[0]  # fmt: skip
    chosen = _chosen(logits if few else logits[at], torch.tensor(targets, device=device))
    sums = torch.zeros(part, dtype=torch.float64).index_add(0, torch.tensor(owners), chosen).tolist()
    found = iter(sums)
    return [[next(found) for _ in one.continuations] for one in asked]


def _chosen(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Log-probability of each target: (K,) float64 on the processor."""
    wide = logits.float()
    picked = wide.gather(1, targets.to(wide.device)[:, None])[:, 0]
    return (picked - wide.logsumexp(dim=1)).double().cpu()
