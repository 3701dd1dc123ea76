"""Tiny random decoders, adapters and rows: everything but the model's quality is as in a real run."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from ragft.finetune.fast import decoder
from ragft.finetune.fast.adapter import save_adapter
from ragft.finetune.fast.lora import attach, initial_adapter, matrices
from ragft.finetune.lineage import LiveModel
from ragft.prompts import Rendered

VOCABULARY = 256


def _llama(dtype: torch.dtype) -> PreTrainedModel:
    # Grouped-query attention and tied embeddings, like the small models that people serve.
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
        pad_token_id=2,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(dtype)


def _qwen2(dtype: torch.dtype) -> PreTrainedModel:
    # Biases on queries, keys and values, and an output head of its own.
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
        pad_token_id=2,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model.to(dtype)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # Two threads that wait for each other beside other work are slower than one on models this small.
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["llama", "qwen2"])
def model_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random decoder as a bfloat16 safetensors folder, once per architecture."""
    torch.manual_seed(7)
    model = {"llama": _llama, "qwen2": _qwen2}[request.param](torch.bfloat16)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama as a bfloat16 safetensors folder."""
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("llama-only")
    _llama(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapt() -> Callable[..., nn.Module]:
    """Attaches an adapter that changes what a model computes: B starts at zero, which would leave A without effect."""

    def adapt(model: nn.Module, *, quantise: bool = False, std: float = 0.2) -> nn.Module:
        attach(model, initial_adapter(model, 4, 8.0, seed=1), quantise=quantise)
        torch.manual_seed(2)
        for name, matrix in matrices(model).items():
            if name.endswith(".B"):
                nn.init.normal_(matrix, std=std)
        return model

    return adapt


@pytest.fixture(scope="session")
def peft_model() -> Callable[..., nn.Module]:
    """The same by PEFT, in float32."""

    def wrap(folder: Path, **settings: object) -> nn.Module:
        from peft import LoraConfig, get_peft_model

        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        torch.manual_seed(3)
        chosen = {"target_modules": "all-linear", **settings}
        config = LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **chosen)
        wrapped = get_peft_model(model, config)
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.2)
        return wrapped

    return wrap


@pytest.fixture
def make_live(adapt: Callable[..., nn.Module], tmp_path: Path) -> Callable[[Path], LiveModel]:
    """A QLoRA adapter on a base model."""

    def make(base: Path) -> LiveModel:
        model = adapt(decoder.load(base, torch.bfloat16, attention_name="eager"), quantise=True, std=0.1)
        save_adapter(matrices(model), tmp_path / "adapter", "base", rank=4, alpha=8.0)
        return LiveModel(base, tmp_path / "adapter", quantised=True)

    return make


@pytest.fixture
def live(model_folder: Path, make_live: Callable[[Path], LiveModel]) -> LiveModel:
    """A QLoRA adapter on each architecture."""
    return make_live(model_folder)


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[Rendered]]:
    """Rows with a shared prefix, a remainder of varying length and a trained answer at the end."""

    def make(count: int, *, seed: int = 0, prefix: int = 12) -> list[Rendered]:
        source = random.Random(seed)
        shared = [source.randrange(3, VOCABULARY) for _ in range(prefix)]
        form = [source.randrange(3, VOCABULARY) for _ in range(5)]
        rows = []
        for _ in range(count):
            question = [source.randrange(3, VOCABULARY) for _ in range(source.randint(2, 20))]
            # An answer of a fixed form, which is learnt quickly, around content that is not.
            answer = [*form[:3], *question[:2], *form[3:], 2]
            rows.append(
                Rendered((*shared, *question, *answer), (False,) * (prefix + len(question)) + (True,) * len(answer))
            )
        return rows

    return make
