"""Where training runs: which device a setting names, and that the loop's tensors follow the model onto it.

There is no card here. torch's device `meta` stands in for one: its tensors have no values, and an operation that mixes
it with the processor fails as it would on a card.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, masking_utils

from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune import devices, estimate
from ragft.finetune.estimate import ModelSizes, memory, refuse_small_card
from ragft.finetune.fast import decoder, fused
from ragft.finetune.fast.attention import ALL_PACKED
from ragft.finetune.fast.batching import pack
from ragft.finetune.fast.lora import adapted, attach, initial_adapter, matrices
from ragft.finetune.peft_backend import forward
from ragft.finetune.peft_backend.batching import pad
from ragft.finetune.peft_backend.forward import logits_at
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]
CARD, META = torch.device("cuda", 0), torch.device("meta")


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets torch say that there are so many cards."""

    def there_are(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)

    return there_are


def test_auto_is_the_card_where_there_is_one(cards: Callable[[int], None]) -> None:
    cards(0)
    assert devices.resolve("auto") == devices.resolve("cpu") == torch.device("cpu")
    cards(2)
    assert devices.resolve("auto") == devices.resolve("cuda") == CARD
    assert devices.resolve("cuda:1") == torch.device("cuda", 1)
    assert devices.resolve("cpu") == torch.device("cpu")
    assert [devices.resolve("auto", process=n, processes=2).index for n in (0, 1)] == [0, 1]


def test_a_card_that_is_not_there_is_refused_in_a_sentence(cards: Callable[[int], None]) -> None:
    cards(0)
    with pytest.raises(RagftError, match=r"finetune.device is cuda, and .*; set finetune.device to cpu or auto\."):
        devices.resolve("cuda")
    cards(2)
    with pytest.raises(RagftError, match=r"finetune.device is cuda:2, and this machine has cuda:0 to cuda:1"):
        devices.resolve("cuda:2")
    with pytest.raises(RagftError, match=r"3 processes take a card each, and this machine has cuda:0 to cuda:1"):
        devices.resolve("cuda", process=2, processes=3)
    with pytest.raises(RagftError, match=r"one card, for 2 processes"):
        devices.resolve("cuda:1", process=0, processes=2)


def test_a_card_computes_one_batch_after_the_other() -> None:
    assert devices.workers(CARD) == 1
    assert devices.workers(torch.device("cpu")) == torch.get_num_threads()


def test_a_card_with_too_little_free_memory_is_refused_before_anything_is_loaded(
    llama_folder: Path, make_rows: Rows, cards: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cards(1)
    monkeypatch.setattr(decoder, "compute_dtype", lambda device=None: torch.bfloat16)
    monkeypatch.setattr(estimate, "ModelSizes", _Sizes(ModelSizes.of(llama_folder)))
    rows, settings = make_rows(8), FinetuneSection(method="lora", device="cuda", batch_size=4)
    needed = memory(ModelSizes.of(llama_folder), rows, settings, CARD).total
    monkeypatch.setattr(devices, "free_mib", lambda device: needed + 1)
    refuse_small_card(llama_folder, rows, settings)
    monkeypatch.setattr(devices, "free_mib", lambda device: needed - 1)
    with pytest.raises(
        RagftError,
        match=r"GiB on cuda:0, most of it for \w+, and .* GiB are free there: set finetune.gradient_checkpointing",
    ) as refused:
        refuse_small_card(llama_folder, rows, settings)
    assert "qlora" not in str(refused.value), "which would take more, for a model of this size"
    refuse_small_card(llama_folder, rows, settings.model_copy(update={"device": "cpu"}))


class _Sizes:
    def __init__(self, sizes: ModelSizes) -> None:
        self.of = lambda folder: sizes


def _llama() -> nn.Module:
    config = LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")
    return model


@pytest.fixture
def _without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips what asks a tensor for its values: transformers' look for packed rows, and autocast of a real device."""
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda position_ids: None)
    monkeypatch.setattr(forward, "computing_in", lambda dtype, device: nullcontext())


def test_an_adapted_model_moves_as_a_whole() -> None:
    model = _llama()
    attach(model, initial_adapter(model, 4, 8.0, seed=0), quantise=False, device=META)
    frozen = [layer.weight(torch.float32) for _, layer in adapted(model)]
    assert {tensor.device for tensor in (*model.parameters(), *model.buffers(), *frozen)} == {META}


@pytest.mark.parametrize("kind", ALL_PACKED[:2])
@pytest.mark.usefixtures("_without_values")
def test_losses_and_gradients_of_the_fast_loop_stay_on_the_device_of_the_model(make_rows: Rows, kind: str) -> None:
    model = _llama()
    attach(model, initial_adapter(model, 4, 8.0, seed=0), quantise=False, device=META)
    model.set_attn_implementation(kind)
    loss = decoder.summed_loss(model, pack(make_rows(3)))
    gradients = torch.autograd.grad(loss, list(matrices(model).values()))
    assert {loss.device, *(gradient.device for gradient in gradients)} == {META}


@pytest.mark.usefixtures("_without_values")
def test_losses_and_gradients_of_the_peft_back_end_stay_on_the_device_of_the_model(make_rows: Rows) -> None:
    model, batch = _llama().to(META), pad(make_rows(3))
    logits = logits_at(model, batch, torch.float32)
    loss = nn.functional.cross_entropy(logits.float(), batch.to(META).targets, reduction="sum")
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert {loss.device, *(gradient.device for gradient in gradients)} == {META}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_attention_computes_what_block_wise_attention_does(dtype: torch.dtype) -> None:
    assert fused.agrees(fused.by_sdpa, torch.device("cpu"), dtype)


def test_flash_attention_is_called_with_the_keys_that_each_block_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "flash_attn", _Flash)
    assert fused.agrees(fused.by_flash, torch.device("cpu"), torch.float32)


class _Flash:
    """flash-attention by its documentation: each sequence's causal mask ends at its last query and its last key."""

    @staticmethod
    def flash_attn_varlen_func(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cu_seqlens_q: torch.Tensor, cu_seqlens_k: torch.Tensor,
        max_seqlen_q: int, max_seqlen_k: int, softmax_scale: float, causal: bool,
    ) -> torch.Tensor:  # fmt: skip
        assert causal
        assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
        assert (max_seqlen_q, max_seqlen_k) == (int(cu_seqlens_q.diff().max()), int(cu_seqlens_k.diff().max()))
        groups, found = q.shape[1] // k.shape[1], []
        for begin, end, first, last in zip(
            cu_seqlens_q[:-1], cu_seqlens_q[1:], cu_seqlens_k[:-1], cu_seqlens_k[1:], strict=True
        ):
            one = q[begin:end].transpose(0, 1)
            keys, values = (t[first:last].transpose(0, 1).repeat_interleave(groups, 0) for t in (k, v))
            seen = torch.ones(one.shape[1], keys.shape[1], dtype=torch.bool).tril(keys.shape[1] - one.shape[1])
            scores = (one @ keys.transpose(1, 2) * softmax_scale).masked_fill(~seen, float("-inf"))
            found.append((scores.softmax(-1) @ values).transpose(0, 1))
        return torch.cat(found)


def test_a_kind_of_attention_that_is_wrong_or_fails_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_prefix(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: object, scale: float) -> torch.Tensor:
        result = nn.functional.scaled_dot_product_attention(
            q[None], k[None].repeat_interleave(2, 1), v[None].repeat_interleave(2, 1), is_causal=True, scale=scale
        )
        return result[0].transpose(0, 1)

    def missing(*_: object) -> torch.Tensor:
        raise RuntimeError("no kernel image is available for execution on the device")

    assert not fused.agrees(without_prefix, torch.device("cpu"), torch.float32)
    assert not fused.agrees(missing, torch.device("cpu"), torch.float32)
