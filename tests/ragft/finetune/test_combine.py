"""Adapters combined: the sum is the arithmetic of their changes, the rest is PEFT's, and what cannot be is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from ragft.errors import RagftError, UsageError
from ragft.finetune.combine import COMBINATIONS, Combination, combine
from ragft.finetune.fast.adapter import WEIGHTS, read_adapter, save_adapter


def changes(folder: Path) -> dict[str, Tensor]:
    return {name: delta.scale * (delta.B @ delta.A) for name, delta in read_adapter(folder).items()}


Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Writes a random adapter of two layers of the tiny Llama."""

    def write(seed: int, rank: int, layers: tuple[str, ...] = ("q_proj", "o_proj"), width: int = 64) -> Path:
        generator = torch.Generator().manual_seed(seed)
        matrices = {}
        for layer in layers:
            name = f"model.layers.0.self_attn.{layer}"
            matrices[f"{name}.A"] = torch.randn(rank, width, generator=generator)
            matrices[f"{name}.B"] = torch.randn(width, rank, generator=generator)
        folder = tmp_path_factory.mktemp("adapter")
        save_adapter(matrices, folder, "base", rank=rank, alpha=2.0 * rank)
        return folder

    return write


@pytest.mark.medium
@given(first=st.floats(-2, 2), second=st.floats(-2, 2), ranks=st.tuples(st.integers(1, 8), st.integers(1, 8)))
def test_linear_is_the_weighted_sum_of_the_changes(
    make: Make, tmp_path_factory: pytest.TempPathFactory, first: float, second: float, ranks: tuple[int, int]
) -> None:
    one, two = make(1, ranks[0]), make(2, ranks[1])
    folder = tmp_path_factory.mktemp("combined")
    found = combine([one, two], [first, second], folder, how="linear", density=0.5, seed=0)
    assert (found.rank, found.layers, found.retained) == (sum(ranks), 2, 1.0)
    for name, change in changes(folder).items():
        expected = first * changes(one)[name] + second * changes(two)[name]
        assert torch.allclose(change, expected, atol=1e-4)


@pytest.mark.parametrize("how", COMBINATIONS)
def test_peft_combines_changes_to_the_same(make: Make, llama_folder: Path, tmp_path: Path, how: Combination) -> None:
    one, two = make(1, 4), make(2, 4)
    combine([one, two], [0.7, 0.3], tmp_path / "combined", how=how, density=1.0, seed=0)
    base = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, one, adapter_name="one")
    model.load_adapter(two, adapter_name="two")
    kind = "cat" if how == "linear" else f"{how}_svd"
    # Nothing is dropped at a density of one, so that the two need not draw alike.
    model.add_weighted_adapter(["one", "two"], [0.7, 0.3], "both", combination_type=kind, svd_rank=8, density=1.0)
    for name, change in changes(tmp_path / "combined").items():
        theirs = model.get_submodule(f"base_model.model.{name}").get_delta_weight("both")
        assert torch.allclose(change, theirs, atol=1e-3), name


def test_peft_reads_what_was_combined(make: Make, llama_folder: Path, tmp_path: Path) -> None:
    combine([make(1, 2), make(2, 4)], [0.5, 0.5], tmp_path / "combined", how="ties", density=0.5, seed=0)
    base = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, tmp_path / "combined")
    for name, change in changes(tmp_path / "combined").items():
        assert torch.allclose(
            model.get_submodule(f"base_model.model.{name}").get_delta_weight("default"), change, atol=1e-4
        )


def test_what_one_adapter_alone_changes_keeps_its_weight(make: Make, tmp_path: Path) -> None:
    one, two = make(1, 2), make(2, 3, layers=("o_proj", "k_proj"))
    combine([one, two], [0.5, 2.0], tmp_path / "combined", how="linear", density=0.5, seed=0)
    found = changes(tmp_path / "combined")
    assert {name.rpartition(".")[2] for name in found} == {"q_proj", "o_proj", "k_proj"}
    key = "model.layers.0.self_attn.k_proj"
    assert torch.allclose(found[key], 2 * changes(two)[key], atol=1e-4)


def test_dare_is_seeded(make: Make, tmp_path: Path) -> None:
    adapters = [make(1, 2), make(2, 2)]

    def drawn(name: str, seed: int) -> Tensor:
        combine(adapters, [0.5, 0.5], tmp_path / name, how="dare_linear", density=0.5, seed=seed)
        return torch.cat([change.flatten() for change in changes(tmp_path / name).values()])

    before = torch.random.get_rng_state()
    first = drawn("first", 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, drawn("again", 1))
    assert not torch.equal(first, drawn("other", 2))


def test_how_much_a_rank_holds_is_said(make: Make, tmp_path: Path) -> None:
    found = combine([make(1, 2), make(2, 2)], [0.5, 0.5], tmp_path / "c", how="dare_ties", density=0.5, seed=0)
    assert 0 < found.retained < 1


def test_adapters_of_different_models_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'model\.layers\.0\.self_attn\.o_proj' is \(64, 64\) .* \(32, 32\)"):
        combine([make(1, 2), make(2, 2, width=32)], [1, 1], tmp_path / "c", how="linear", density=0.5, seed=0)
    assert not (tmp_path / "c").exists()


def test_an_adapter_that_is_not_plain_is_refused(make: Make, tmp_path: Path) -> None:
    odd = make(1, 2)
    tensors = load_file(odd / WEIGHTS)
    save_file({**tensors, "base_model.model.x.lora_magnitude_vector": torch.ones(2)}, odd / WEIGHTS)
    with pytest.raises(RagftError, match="not plain LoRA"):
        combine([make(2, 2), odd], [1, 1], tmp_path / "c", how="linear", density=0.5, seed=0)
