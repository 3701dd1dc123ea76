"""The back end that trains is chosen by method, keys and model, and what is decided is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import GraniteConfig, GraniteForCausalLM

from ragft.config import FinetuneSection
from ragft.finetune.training import train, trainer_for
from ragft.prompts import Rendered


@pytest.mark.parametrize(
    ("settings", "backend"),
    [
        ({"method": "lora"}, "fast"),
        ({}, "fast"),
        ({"method": "dora"}, "peft_backend"),
        ({"method": "lora", "dropout": 0.1}, "peft_backend"),
        ({"method": "qlora", "layers": [0]}, "peft_backend"),
        ({"target_modules": ["q_proj"]}, "peft_backend"),
        ({"neftune_alpha": 5.0}, "peft_backend"),
        ({"gradient_checkpointing": True}, "fast"),
    ],
)
def test_the_back_end_follows_the_method_and_the_keys(settings: dict[str, object], backend: str) -> None:
    assert trainer_for(FinetuneSection.model_validate(settings)) == f"ragft.finetune.{backend}.trainer"


@pytest.fixture
def granite(tmp_path: Path) -> Path:
    """A model that scales its logits, which the fast loop does not know."""
    config = GraniteConfig(
        vocab_size=256, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, logits_scaling=4.0, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    GraniteForCausalLM(config).save_pretrained(tmp_path / "granite")
    return tmp_path / "granite"


@pytest.mark.medium
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_model_that_the_fast_loop_cannot_train_is_trained_through_peft(
    granite: Path, make_rows: Callable[..., list[Rendered]], tmp_path: Path, method: str
) -> None:
    settings, said = FinetuneSection(method=method, rank=4, max_seq_length=64), list[str]()
    report = train(
        granite, make_rows(8), make_rows(2, seed=1), settings, seed=0, folder=tmp_path / "run",
        say=said.append,
    )  # fmt: skip
    assert report.backend == "peft"
    (sentence,) = said
    assert sentence.startswith("Training through PEFT") and "granite" in sentence


def test_keys_that_the_method_does_not_use_are_named(
    llama_folder: Path, make_rows: Callable[..., list[Rendered]], tmp_path: Path
) -> None:
    said: list[str] = []
    settings = FinetuneSection(method="layers", rank=8, alpha=4.0, max_seq_length=64)
    report = train(
        llama_folder, make_rows(4), make_rows(2, seed=1), settings, seed=0, folder=tmp_path / "run", say=said.append
    )
    assert report.backend == "peft"
    assert said == [
        "finetune.method = layers does not use finetune.alpha, finetune.rank: what is set there changes nothing."
    ]


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_what_the_back_end_says_is_heard(
    llama_folder: Path, make_rows: Callable[..., list[Rendered]], tmp_path: Path, method: str
) -> None:
    settings, said = FinetuneSection(method=method, rank=4, max_seq_length=64), list[str]()
    rows = [*make_rows(4), Rendered(tuple(range(3, 68)), (False,) * 60 + (True,) * 5)]
    train(llama_folder, rows, [], settings, seed=0, folder=tmp_path / "run", say=said.append)
    assert said == [
        "1 of 5 training rows are left out: 1 longer than finetune.max_seq_length = 64 tokens.",
        "No validation rows are left: the last adapter is kept, and nothing tells whether an earlier one is better.",
    ]


def test_back_end_that_is_tried_second_does_not_repeat_what_the_first_one_said(
    granite: Path, make_rows: Callable[..., list[Rendered]], tmp_path: Path
) -> None:
    settings, said = FinetuneSection(method="lora", rank=4, max_seq_length=64), list[str]()
    train(granite, make_rows(8), [], settings, seed=0, folder=tmp_path / "run", say=said.append)
    assert [sentence.split(" ")[0] for sentence in said] == ["No", "Training"]
