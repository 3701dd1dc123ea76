"""Every decoder architecture of transformers, built small: trained as transformers and PEFT train it, or refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from support import tiny_decoders
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM

from ragft.errors import RagftError
from ragft.finetune.fast import decoder
from ragft.finetune.fast.adapter import load_adapter
from ragft.finetune.fast.batching import micro_batches
from ragft.finetune.fast.lora import matrices, target_linears
from ragft.finetune.fast.probe import load_for_training
from ragft.prompts import Rendered

_EVERY_DAY = (
    "llama",
    "qwen3",
    "mistral",
    "gemma3",
    "phi3",
    "olmo2",
    "mixtral",
    "lfm2",
    "qwen3_5_text",
    "gpt2",
    "bloom",
)
"""Those that the fast tests go over."""

_TRAINED = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma3", "gemma3_text", "phi", "phi3", "olmo2", "olmo3",
            "smollm3", "ministral3", "granite", "starcoder2", "gpt_neox")  # fmt: skip
"""Those that must not be refused, as the probe would otherwise pass this test by refusing everything."""

_NOT_BUILT = {
    "blt": "its parts size each other, and the smallest table of hashed bytes has 96 million parameters",
    "cohere_compass_text": "its configuration has no rotary parameters of its own",
    "dbrx": "its rotary parameters are of a sub-configuration that does not build alone",
    "deepseek_v4": "its parts size each other",
    "gemma3n": "needs timm",
    "gemma4_assistant": "drafts tokens beside another model",
    "gemma4_unified_assistant": "drafts tokens beside another model",
    "musicgen": "generates audio",
    "musicgen_melody": "generates audio",
    "qwen4_exp": "its configuration does not build without values of a checkpoint",
    "qwen4_exp_text": "its configuration does not build without values of a checkpoint",
    "xlm": "an encoder whose width cannot be set",
}


def _rows() -> list[Rendered]:
    """Rows of 3 to 30 tokens, some behind a shared prefix, with an untrained question."""
    source = random.Random(3)
    shared = [source.randrange(10, tiny_decoders.VOCABULARY) for _ in range(6)]
    rows = []
    for number, length in enumerate((3, 30, 11, 24, 7)):
        ids = (
            *(shared if number % 2 else ()),
            *(source.randrange(10, tiny_decoders.VOCABULARY) for _ in range(length)),
        )
        question = (len(ids) + 1) // 2
        rows.append(Rendered(ids, (False,) * question + (True,) * (len(ids) - question)))
    return rows


def _by_peft(folder: Path, names: list[str], adapter: Path) -> tuple[float, dict[str, torch.Tensor]]:
    """Summed loss of the rows and the gradients of an adapter on the named layers, written into `adapter`."""
    from peft import LoraConfig, get_peft_model

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=names, task_type="CAUSAL_LM")
    peft = get_peft_model(model, config).eval()
    for name, parameter in peft.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    peft.save_pretrained(adapter)
    total = 0.0
    for row in _rows():
        logits = peft(input_ids=torch.tensor([row.ids])).logits[0, :-1]
        kept = torch.tensor(row.trained[1:])
        loss = functional.cross_entropy(logits[kept], torch.tensor(row.ids[1:])[kept], reduction="sum")
        loss.backward()
        total += loss.item()
    found = {name: p.grad for name, p in peft.named_parameters() if p.grad is not None}
    return total, {
        name.removeprefix("base_model.model.").replace(".lora_", ".").removesuffix(".default.weight"): gradient
        for name, gradient in found.items()
    }


@pytest.mark.medium
@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=() if name in _EVERY_DAY else pytest.mark.slow) for name in tiny_decoders.ARCHITECTURES],
)
def test_an_architecture_is_trained_as_peft_trains_it_or_refused(architecture: str, tmp_path: Path) -> None:
    if architecture in _NOT_BUILT:
        pytest.skip(f"not built small: {_NOT_BUILT[architecture]}")
    tiny_decoders.build(tiny_decoders.config(architecture)).save_pretrained(tmp_path)
    try:
        model = load_for_training(tmp_path, torch.float32, max_seq_length=64)
    except RagftError as refusal:
        assert architecture not in _TRAINED, refusal
        assert str(refusal).endswith(".")
        return
    loss, gradients = _by_peft(tmp_path, list(target_linears(model)), tmp_path / "adapter")
    load_adapter(model, tmp_path / "adapter", quantise=False)
    total = 0.0
    for batch in micro_batches(_rows(), 50):
        own = decoder.summed_loss(model, batch)
        own.backward()
        total += own.item()
    assert total == pytest.approx(loss, rel=1e-5)
    assert matrices(model).keys() == gradients.keys()
    largest = max(gradient.abs().max().item() for gradient in gradients.values())
    for name, matrix in matrices(model).items():
        torch.testing.assert_close(matrix.grad, gradients[name], rtol=1e-3, atol=1e-5 * largest)
