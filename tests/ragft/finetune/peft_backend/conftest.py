"""Settings of short runs, and a base whose merges are not rounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.training import save_llama, settings_maker
from transformers import FalconMambaConfig, FalconMambaForCausalLM, MixtralConfig, MixtralForCausalLM

from ragft.config import FinetuneSection


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., FinetuneSection]:
    return settings_maker(epochs=3, max_seq_length=64, eval_count=4)


@pytest.fixture(scope="session")
def float_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama as a float32 folder, with embeddings that its head shares."""
    folder = tmp_path_factory.mktemp("llama-float32")
    return save_llama(
        folder, vocab_size=256, num_hidden_layers=4, max_position_embeddings=512, tie_word_embeddings=True
    )


@pytest.fixture(scope="session", params=["mixtral", "falcon_mamba"])
def unusual_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of experts, and a model whose state runs along the sequence."""
    torch.manual_seed(7)
    small = {"vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 2, "bos_token_id": 1, "eos_token_id": 2}
    model = (
        MixtralForCausalLM(
            MixtralConfig(
                **small, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, num_local_experts=4
            )
        )
        if request.param == "mixtral"
        else FalconMambaForCausalLM(FalconMambaConfig(**small, state_size=8))
    )
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return folder
