"""Packing: rows in one sequence compute what each would alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from transformers import AutoModelForCausalLM

from ragft.errors import RagftError
from ragft.finetune.fast import decoder
from ragft.finetune.fast.batching import epoch_batches, micro_batches, pack, trained_tokens
from ragft.finetune.fast.lora import adapted, attach
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]


def _with_adapters(folder: Path) -> torch.nn.Module:
    model = decoder.load_for_training(folder, torch.float32, max_length=512)
    attach(model, 4, 8.0, quantise=False, seed=1)
    torch.manual_seed(2)
    for _, layer in adapted(model):  # B starts at zero, which would leave A without a gradient
        torch.nn.init.normal_(layer.B, std=0.2)
    return model


def _gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    return found


@pytest.mark.parametrize("prefix", [0, 12])
def test_a_packed_batch_has_the_loss_and_gradients_of_its_rows_one_by_one(
    model_folder: Path, make_rows: Rows, prefix: int
) -> None:
    model, rows = _with_adapters(model_folder), make_rows(5, prefix=prefix)
    alone = 0.0
    for row in rows:
        loss = decoder.summed_loss(model, pack([row]))
        loss.backward()
        alone += loss.item()
    expected = _gradients(model)
    packed = pack(rows)
    assert packed.layout.prefix == prefix
    loss = decoder.summed_loss(model, packed)
    loss.backward()
    assert loss.item() == pytest.approx(alone, rel=1e-5)
    for name, gradient in _gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5 * expected[name].abs().max().item())


def test_a_row_has_the_loss_that_transformers_computes(model_folder: Path, make_rows: Rows) -> None:
    reference = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
    model = decoder.load_for_training(model_folder, torch.float32, max_length=512)
    rows = make_rows(4)
    expected = 0.0
    for row in rows:
        logits = reference(torch.tensor([row.ids])).logits[0, :-1]
        kept = torch.tensor(row.trained[1:])
        expected += functional.cross_entropy(logits[kept], torch.tensor(row.ids[1:])[kept], reduction="sum").item()
    with torch.no_grad():
        assert decoder.summed_loss(model, pack(rows)).item() == pytest.approx(expected, rel=1e-5)


def test_a_row_is_not_changed_by_what_it_is_packed_with(llama_folder: Path, make_rows: Rows) -> None:
    model = decoder.load_for_training(llama_folder, torch.float32, max_length=512)
    first, second, other = make_rows(3)

    def hidden_of_first(neighbour: Rendered) -> torch.Tensor:
        batch = pack([neighbour, first])
        states = model.get_decoder()(
            input_ids=batch.ids, position_ids=batch.positions, use_cache=False, layout=batch.layout
        ).last_hidden_state
        return states[0, -batch.layout.remainders[1] :]

    with torch.no_grad():
        torch.testing.assert_close(hidden_of_first(second), hidden_of_first(other), rtol=1e-5, atol=1e-5)


def test_the_shared_prefix_never_holds_a_trained_token() -> None:
    # Two rows with the same answer: everything before the answer may be shared, the answer itself may not.
    row = Rendered((5, 6, 7, 8, 2), (False, False, False, True, True))
    batch = pack([row, row])
    assert batch.layout.prefix == 3
    assert batch.targets.tolist() == [8, 2, 8, 2]
    assert batch.predicting.tolist() == [2, 3, 2, 5]
    assert batch.ids.tolist() == [[5, 6, 7, 8, 2, 8, 2]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 3, 4]]


def test_a_model_with_sliding_attention_is_refused_beyond_its_window(llama_folder: Path, tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=128,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(tmp_path)
    decoder.load_for_training(tmp_path, torch.float32, max_length=128)
    with pytest.raises(RagftError, match=r"set finetune\.max_length to 128"):
        decoder.load_for_training(tmp_path, torch.float32, max_length=129)


@given(rows=st.integers(1, 60), size=st.integers(1, 9), seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_batches_cover_every_row_once_and_depend_on_seed_and_epoch_only(
    rows: int, size: int, seed: int, epoch: int
) -> None:
    batches = epoch_batches(rows, size, seed=seed, epoch=epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(rows))
    assert all(len(batch) == size for batch in batches[:-1])
    assert batches == epoch_batches(rows, size, seed=seed, epoch=epoch)


def test_another_seed_or_epoch_makes_another_order() -> None:
    orders = {str(epoch_batches(40, 8, seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@given(
    lengths=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 10)), min_size=1, max_size=12),
    prefix=st.integers(0, 30),
    budget=st.integers(20, 200),
)
def test_micro_batches_keep_to_the_budget_and_hold_every_trained_token(
    lengths: list[tuple[int, int]], prefix: int, budget: int
) -> None:
    rows = [
        Rendered(
            (*range(prefix), *range(100 * number, 100 * number + question + answer)),
            (False,) * (prefix + question) + (True,) * answer,
        )
        for number, (question, answer) in enumerate(lengths, start=1)
    ]
    batches = micro_batches(rows, budget)
    assert all(batch.ids.numel() <= budget or len(batch.layout.remainders) == 1 for batch in batches)
    assert sum(batch.tokens for batch in batches) == sum(len(row.ids) for row in rows)
    targets = sorted(token for batch in batches for token in batch.targets.tolist())
    wanted = [t for row in rows for t, flag in zip(row.ids[1:], row.trained[1:], strict=True) if flag]
    assert targets == sorted(wanted)
    assert len(targets) == sum(trained_tokens(row) for row in rows)
