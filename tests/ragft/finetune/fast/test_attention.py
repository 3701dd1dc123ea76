"""Packed attention: rows in one sequence compute what each would alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from ragft.finetune.fast import attention, decoder
from ragft.finetune.fast.batching import Layout, pack
from ragft.finetune.fast.probe import load_for_training
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]


def _gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    return found


@pytest.mark.medium
@pytest.mark.parametrize("tile", [5, attention.TILE])
@pytest.mark.parametrize("prefix", [0, 12])
def test_a_packed_batch_has_the_loss_and_gradients_of_its_rows_one_by_one(
    model_folder: Path, adapt: Callable[..., nn.Module], make_rows: Rows, prefix: int, tile: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model = adapt(load_for_training(model_folder, torch.float32, max_seq_length=512))
    rows = make_rows(5, prefix=prefix)
    alone = 0.0
    for row in rows:
        loss = decoder.summed_loss(model, pack([row]))
        loss.backward()
        alone += loss.item()
    expected = _gradients(model)
    monkeypatch.setattr(attention, "TILE", tile)
    packed = pack(rows)
    assert packed.layout.prefix == prefix
    loss = decoder.summed_loss(model, packed)
    loss.backward()
    assert loss.item() == pytest.approx(alone, rel=1e-5)
    for name, gradient in _gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5 * expected[name].abs().max().item())


def test_a_row_is_not_changed_by_what_it_is_packed_with(llama_folder: Path, make_rows: Rows) -> None:
    model = load_for_training(llama_folder, torch.float32, max_seq_length=512)
    first, second, other = make_rows(3)

    def hidden_of_first(neighbour: Rendered) -> torch.Tensor:
        batch = pack([neighbour, first])
        states = model.get_decoder()(
            input_ids=batch.ids, position_ids=batch.positions, use_cache=False, layout=batch.layout
        ).last_hidden_state
        return states[0, -batch.layout.remainders[1] :]

    with torch.no_grad():
        torch.testing.assert_close(hidden_of_first(second), hidden_of_first(other), rtol=1e-5, atol=1e-5)


def test_tiles_cover_every_query_once_and_end_at_their_last_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "TILE", 4)
    assert list(attention.tiles(Layout(6, (5, 3)))) == [
        (0, 4, 0, 0), (4, 6, 0, 0), (6, 10, 6, 6), (10, 11, 6, 6), (11, 14, 6, 11),
    ]  # fmt: skip
