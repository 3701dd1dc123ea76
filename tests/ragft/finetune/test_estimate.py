"""What an estimate promises: more work takes more, and steps that are timed leave nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ragft.config import FinetuneSection
from ragft.finetune.estimate import ModelSizes, measured_rate, memory, quantising_saves, seconds
from ragft.finetune.fast.batching import trainable
from ragft.prompts import Rendered

SIZES = ModelSizes(2, 64, 128, 2, 32, 256, linear=60_000, others=20_000, sides=3_000)


def rows(count: int, length: int) -> list[Rendered]:
    return [Rendered(tuple((n + place) % 50 for place in range(length)), (False,) * (length - 4) + (True,) * 4)
            for n in range(count)]  # fmt: skip


def test_time_is_that_of_the_epochs_and_of_validations() -> None:
    once, twice = (FinetuneSection(epochs=epochs, batch_size=4, threads=1) for epochs in (1, 2))
    some = rows(16, 40)
    assert seconds(SIZES, some, (), twice, rate=1.0) == pytest.approx(2 * seconds(SIZES, some, (), once, rate=1.0))
    assert seconds(SIZES, some, some, once, rate=1.0) > seconds(SIZES, some, (), once, rate=1.0)


def test_memory_grows_with_budget_rank_and_vocabulary() -> None:
    some = rows(16, 100)
    small = FinetuneSection(batch_size=8, token_budget=128, threads=1, rank=4)
    before = memory(SIZES, some, small)
    assert memory(SIZES, some, small.model_copy(update={"token_budget": 1024})).activations > before.activations
    again, deep = small.model_copy(update={"gradient_checkpointing": True}), replace(SIZES, layers=30)
    assert memory(deep, some, again).activations < memory(deep, some, small).activations / 4
    assert seconds(SIZES, some, (), again, rate=1.0) > seconds(SIZES, some, (), small, rate=1.0)
    assert memory(SIZES, some, small.model_copy(update={"rank": 32})).adapters == pytest.approx(8 * before.adapters)
    assert memory(SIZES, some, small.model_copy(update={"threads": 2})).vocabulary > before.vocabulary


@pytest.mark.parametrize(("linear", "saves"), [(106_000_000, False), (7_000_000_000, True)])
def test_a_quantised_base_saves_memory_only_where_its_dequantised_weights_are_not_kept(
    linear: int, saves: bool
) -> None:
    sizes, some = replace(SIZES, linear=linear), rows(16, 100)
    plain, quantised = (memory(sizes, some, FinetuneSection(method=method)).weights for method in ("lora", "qlora"))
    assert quantising_saves(sizes) == (quantised < plain) == saves


def test_rows_that_training_drops_are_not_counted() -> None:
    settings = FinetuneSection(max_seq_length=50)
    assert len(trainable([*rows(3, 40), *rows(2, 60), Rendered((1, 2), (False, False))], settings.max_seq_length)) == 3


def test_steps_are_timed_on_the_real_base(llama_folder: Path) -> None:
    settings = FinetuneSection(batch_size=2, rank=2, threads=1, max_seq_length=64)
    sizes = ModelSizes.of(llama_folder)
    before = sorted(llama_folder.iterdir())
    assert measured_rate(llama_folder, sizes, rows(6, 24), settings, seed=0) > 0
    assert sorted(llama_folder.iterdir()) == before
