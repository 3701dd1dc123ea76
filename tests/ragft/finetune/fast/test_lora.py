"""Adapted layers: the gradients are those of PEFT, and the frozen weights stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from ragft.finetune.fast import decoder
from ragft.finetune.fast.adapter import load_adapter
from ragft.finetune.fast.batching import Layout, pack
from ragft.finetune.fast.lora import adapted, attach, initial_adapter, matrices, target_linears
from ragft.finetune.fast.probe import load_for_training
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]
Adapt = Callable[..., nn.Module]


def _logits(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids).logits


def test_gradients_are_those_of_peft(model_folder: Path, peft_model: Adapt, make_rows: Rows, tmp_path: Path) -> None:
    peft = peft_model(model_folder)
    peft.save_pretrained(tmp_path)
    ours = load_for_training(model_folder, torch.float32, max_seq_length=512)
    load_adapter(ours, tmp_path, quantise=False)
    for row in make_rows(2):
        logits = peft(input_ids=torch.tensor([row.ids])).logits[0, :-1]
        kept = torch.tensor(row.trained[1:])
        functional.cross_entropy(logits[kept], torch.tensor(row.ids[1:])[kept], reduction="sum").backward()
    decoder.summed_loss(ours, pack(make_rows(2))).backward()
    theirs = {n: p.grad for n, p in peft.named_parameters() if p.grad is not None}
    assert len(matrices(ours)) == len(theirs) == 2 * 2 * 7
    for name, own in matrices(ours).items():
        layer, _, letter = name.rpartition(".")
        expected = theirs[f"base_model.model.{layer}.lora_{letter}.default.weight"]
        tolerance = 1e-5 * expected.abs().max().item()
        torch.testing.assert_close(own.grad, expected, rtol=1e-4, atol=tolerance)


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
        attach(model, initial_adapter(model, 4, 8.0, seed=seed), quantise=False)
        torch.testing.assert_close(_logits(model, ids), before, rtol=1e-5, atol=1e-5)
        models.append(torch.cat([matrix.flatten() for name, matrix in matrices(model).items() if name.endswith(".A")]))
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])


def test_an_evaluation_between_two_steps_changes_no_gradient(llama_folder: Path, adapt: Adapt, make_rows: Rows) -> None:
    # bitsandbytes' Linear4bit repacks its weight in an evaluation and drops gradients afterwards.
    dtype = decoder.compute_dtype()
    model = adapt(load_for_training(llama_folder, dtype, max_seq_length=512), quantise=True)
    batch = pack(make_rows(4))

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        decoder.summed_loss(model, batch).backward()
        return [matrix.grad.clone() for matrix in matrices(model).values()]

    before = gradients()
    model.eval()
    with torch.no_grad():
        decoder.summed_loss(model, pack(make_rows(1)))
        # One token, as in decoding: this is what bitsandbytes repacks for.
        model.get_decoder()(input_ids=batch.ids[:, :1], use_cache=False, layout=Layout(0, (1,)))
    model.train()
    after = gradients()
    assert all(torch.equal(one, two) and one.abs().sum() > 0 for one, two in zip(before, after, strict=True))


def test_an_adapter_of_some_layers_leaves_the_others_as_qlora_froze_them(llama_folder: Path) -> None:
    model = decoder.load(llama_folder, torch.float32, attention_name="eager")
    adapter = initial_adapter(model, 4, 8.0, seed=1)
    some = {name: delta for name, delta in adapter.items() if name.endswith("q_proj")}
    attach(model, some, quantise=True)
    whole = decoder.load(llama_folder, torch.float32, attention_name="eager")
    attach(whole, adapter, quantise=True)
    assert {name for name, _ in adapted(model)} == set(some)
    ids = torch.arange(3, 43)[None]
    # B is zero in both, so that only the frozen weights decide.
    torch.testing.assert_close(_logits(model, ids), _logits(whole, ids), rtol=1e-5, atol=1e-5)
