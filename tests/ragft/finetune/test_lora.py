"""Adapters: the gradients of PEFT, the format of PEFT, and NF4 without bitsandbytes' trap."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoModelForCausalLM

from ragft.errors import RagftError
from ragft.finetune.fast import decoder
from ragft.finetune.fast.adapter import load_adapter, save_adapter
from ragft.finetune.fast.batching import Layout, pack
from ragft.finetune.fast.lora import adapted, attach, target_linears
from ragft.finetune.fast.loss import cross_entropy_sum
from ragft.finetune.fast.nf4 import Nf4Weight, round_trip
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]


def _peft(folder: Path, **settings: object) -> torch.nn.Module:
    from peft import LoraConfig, get_peft_model

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **settings)
    wrapped = get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return wrapped


def _logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids).logits


def test_gradients_are_those_of_peft(model_folder: Path, make_rows: Rows, tmp_path: Path) -> None:
    peft = _peft(model_folder)
    peft.save_pretrained(tmp_path)
    ours = decoder.load_for_training(model_folder, torch.float32, max_length=512)
    load_adapter(ours, tmp_path, quantise=False)
    for row in make_rows(2):
        logits = peft(input_ids=torch.tensor([row.ids])).logits[0, :-1]
        kept = torch.tensor(row.trained[1:])
        functional.cross_entropy(logits[kept], torch.tensor(row.ids[1:])[kept], reduction="sum").backward()
    decoder.summed_loss(ours, pack(make_rows(2))).backward()
    theirs = {n: p.grad for n, p in peft.named_parameters() if p.grad is not None}
    compared = 0
    for name, layer in adapted(ours):
        for letter, own in (("A", layer.A), ("B", layer.B)):
            expected = theirs[f"base_model.model.{name}.lora_{letter}.default.weight"]
            tolerance = 1e-5 * expected.abs().max().item()
            torch.testing.assert_close(own.grad, expected, rtol=1e-4, atol=tolerance)
            compared += 1
    assert compared == len(theirs) == 2 * 2 * 7


def test_an_adapter_written_here_answers_the_same_in_peft(model_folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    ours = decoder.load(model_folder, torch.float32, attention_name="eager")
    attach(ours, 4, 8.0, quantise=False, seed=1)
    for _, layer in adapted(ours):
        torch.nn.init.normal_(layer.B, std=0.2)
    save_adapter(ours, tmp_path / "adapter", "base", rank=4, alpha=8.0)
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
    ids = torch.arange(3, 43)[None]
    before = _logits(base, ids)
    theirs = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    torch.testing.assert_close(_logits(ours, ids), _logits(theirs, ids), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before, _logits(ours, ids), atol=1e-2)


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}}])
def test_an_adapter_that_peft_wrote_answers_the_same_here(
    llama_folder: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    peft = _peft(llama_folder, **settings)
    peft.save_pretrained(tmp_path)
    ours = decoder.load(llama_folder, torch.float32, attention_name="eager")
    load_adapter(ours, tmp_path, quantise=False)
    ids = torch.arange(3, 43)[None]
    torch.testing.assert_close(_logits(ours, ids), _logits(peft, ids), rtol=1e-4, atol=1e-4)


def test_dora_is_refused_in_a_sentence(llama_folder: Path, tmp_path: Path) -> None:
    _peft(llama_folder, use_dora=True).save_pretrained(tmp_path)
    model = decoder.load(llama_folder, torch.float32, attention_name="eager")
    with pytest.raises(RagftError, match="use_dora"):
        load_adapter(model, tmp_path, quantise=False)


def test_an_adapter_of_another_shape_is_refused_with_both_shapes(llama_folder: Path, tmp_path: Path) -> None:
    _peft(llama_folder).save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    key = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"
    tensors[key] = tensors[key][:, :-1].contiguous()
    save_file(tensors, path)
    model = decoder.load(llama_folder, torch.float32, attention_name="eager")
    with pytest.raises(RagftError, match=r"down_proj' as \(64, 95\), which is \(64, 96\) here"):
        load_adapter(model, tmp_path, quantise=False)


def test_what_is_no_adapter_is_refused(llama_folder: Path, tmp_path: Path) -> None:
    model = decoder.load(llama_folder, torch.float32, attention_name="eager")
    with pytest.raises(RagftError, match="holds no adapter"):
        load_adapter(model, tmp_path, quantise=False)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    with pytest.raises(RagftError, match="kind 'IA3'"):
        load_adapter(model, tmp_path, quantise=False)


def test_the_output_head_is_neither_adapted_nor_quantised(model_folder: Path) -> None:
    model = decoder.load(model_folder, torch.float32, attention_name="eager")
    assert len(target_linears(model)) == 2 * 7
    assert not any(name.endswith("lm_head") for name in target_linears(model))


def test_initial_adapters_depend_on_the_seed_only_and_change_nothing(llama_folder: Path) -> None:
    ids = torch.arange(3, 43)[None]
    models = []
    for seed in (1, 1, 2):
        model = decoder.load(llama_folder, torch.float32, attention_name="eager")
        before = _logits(model, ids)
        attach(model, 4, 8.0, quantise=False, seed=seed)
        torch.testing.assert_close(_logits(model, ids), before, rtol=1e-5, atol=1e-5)
        models.append(torch.cat([layer.A.flatten() for _, layer in adapted(model)]))
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])


@pytest.mark.parametrize("shape", [(576, 192), (50, 33)])
def test_nf4_is_that_of_bitsandbytes_linear_layers(shape: tuple[int, int]) -> None:
    import bitsandbytes as bnb

    torch.manual_seed(0)
    weight = torch.randn(shape).to(torch.bfloat16)
    layer = bnb.nn.Linear4bit(shape[1], shape[0], bias=False, quant_type="nf4", compress_statistics=True)
    layer.weight = bnb.nn.Params4bit(weight.clone(), requires_grad=False, quant_type="nf4", compress_statistics=True)
    layer = layer.to("cpu")
    reference = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(torch.bfloat16)
    assert torch.equal(Nf4Weight(weight).dequantize(torch.bfloat16), reference.view(shape))
    assert torch.equal(round_trip(weight), reference.view(shape))
    error = (reference.view(shape) - weight).float().norm() / weight.float().norm()
    assert 0.05 < error < 0.12


def test_an_evaluation_between_two_steps_changes_no_gradient(llama_folder: Path, make_rows: Rows) -> None:
    # bitsandbytes' Linear4bit repacks its weight in an evaluation and drops gradients afterwards.
    dtype = decoder.compute_dtype()
    model = decoder.load_for_training(llama_folder, dtype, max_length=512)
    parameters = attach(model, 4, 8.0, quantise=True, seed=1)
    for _, layer in adapted(model):
        torch.nn.init.normal_(layer.B, std=0.2)
    batch = pack(make_rows(4))

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        decoder.summed_loss(model, batch).backward()
        return [parameter.grad.clone() for parameter in parameters]

    before = gradients()
    model.eval()
    with torch.no_grad():
        decoder.summed_loss(model, pack(make_rows(1)))
        # One token, as in decoding: this is what bitsandbytes repacks for.
        model.get_decoder()(input_ids=batch.ids[:, :1], use_cache=False, layout=Layout(0, (1,)))
    model.train()
    after = gradients()
    assert all(torch.equal(one, two) and one.abs().sum() > 0 for one, two in zip(before, after, strict=True))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunked_loss_is_cross_entropy(bias: bool, chunk: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(23, 16, requires_grad=True)
    head, targets = torch.randn(50, 16), torch.randint(0, 50, (23,))
    offset = torch.randn(50) if bias else None
    expected = functional.cross_entropy(functional.linear(hidden, head, offset), targets, reduction="sum")
    (wanted,) = torch.autograd.grad(expected / 5, hidden)
    loss = cross_entropy_sum(hidden, head, targets, bias=offset, chunk=chunk)
    (found,) = torch.autograd.grad(loss / 5, hidden)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
