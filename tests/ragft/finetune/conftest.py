"""Tiny random decoders and rows: everything but the model's quality is as in a real run."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

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
