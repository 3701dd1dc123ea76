"""Short trainings of tiny models: their settings, and a random Llama in float32, whose merges are not rounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ragft.config import FinetuneSection

END = 2
"""The token that ends an answer of these models."""


def settings_maker(**defaults: Any) -> Callable[..., FinetuneSection]:
    """Makes settings of short runs, with these defaults."""
    common = {"rank": 4, "batch_size": 4, "token_budget": 128, "patience": 9}

    def make(**changes: object) -> FinetuneSection:
        return FinetuneSection.model_validate({**common, **defaults, **changes})

    return make


def save_llama(folder: Path, **changes: Any) -> Path:
    """Saves a seeded random Llama in float32, with these values in its configuration, and returns the folder."""
    torch.manual_seed(7)
    config = LlamaConfig(
        hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, bos_token_id=1,
        eos_token_id=END, pad_token_id=END, **changes,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
