"""Settings of short runs, a base whose merges are not rounded, and rows of preferences and rewards."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ragft.config import FinetuneSection
from ragft.messages import Preferred, Rendered, Rewarded

END = 2


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., FinetuneSection]:
    def make(**changes: object) -> FinetuneSection:
        values: dict[str, object] = {
            "rank": 4, "epochs": 2, "batch_size": 4, "token_budget": 128, "max_seq_length": 48, "eval_count": 2,
            "patience": 9, "learning_rate": 1e-2, "generations": 8,
        }  # fmt: skip
        return FinetuneSection.model_validate({**values, **changes})

    return make


@pytest.fixture(scope="session")
def float_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of few words as a float32 folder."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=END, pad_token_id=END,
        initializer_range=0.1,  # of smaller weights, an output head could prefer no token by much
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("llama-float32")
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def _rendered(prompt: Sequence[int], answer: Sequence[int]) -> Rendered:
    ids = (*prompt, *answer, END)
    return Rendered(ids, tuple(len(prompt) <= place for place in range(len(ids))))


@pytest.fixture(scope="session")
def preferences() -> Callable[..., list[Preferred]]:
    """Better answers that begin with 10, worse ones that begin with 20, some rows without."""

    def make(count: int, *, seed: int = 0, unpaired: int = 0) -> list[Preferred]:
        draw, rows = random.Random(seed), []
        for number in range(count):
            prompt = [draw.randrange(30, 64) for _ in range(draw.randint(4, 16))]
            better = _rendered(prompt, [10, 11, prompt[0]])
            worse = None if number < unpaired else _rendered(prompt, [20, 21, 22, prompt[1]])
            rows.append(Preferred(better.ids, better.trained, worse))
        return rows

    return make


def earned(ids: Sequence[int]) -> float:
    """What an answer earns in these tests: the share of its tokens below 32."""
    return sum(token < 32 for token in ids) / len(ids)


@pytest.fixture(scope="session")
def rewarded(preferences: Callable[..., list[Preferred]]) -> Callable[..., list[Rewarded]]:
    def make(count: int, *, seed: int = 0) -> list[Rewarded]:
        return [Rewarded(row.ids, row.trained, earned) for row in preferences(count, seed=seed)]

    return make
