"""Two real engines for the session: one over the packaged model, and one over a random model that takes adapters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support.engines import SETTINGS, EngineThread, shared_engine, start_engine
from support.templates import CHATML, with_template

from ragft.templates import Template, TemplateOptions

OPTIONS = TemplateOptions({"mood": "calm"}, date(2001, 2, 3))
TEXT = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('No system.') }}{% endif %}"
    "{{ strftime_now('%Y-%m-%d') }} {{ mood }}\n" + CHATML
)


@pytest.fixture(scope="session")
def vllm_engine(request: pytest.FixtureRequest) -> EngineThread:
    return shared_engine(request.config)


@pytest.fixture(scope="session")
def template(chat_tokenizer: Any) -> Template:
    """Texts end with `</s>`, turns with `<|im_end|>`."""
    tokenizer = with_template(chat_tokenizer, TEXT, ["</s>"])
    tokenizer.eos_token = "</s>"
    return Template(tokenizer, OPTIONS)


@pytest.fixture(scope="session")
def small_model(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model, which names no end of a turn."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder: Path = tmp_path_factory.mktemp("model")
    config = LlamaConfig(
        vocab_size=len(template.tokenizer), hidden_size=128, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True,
        eos_token_id=template.tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    template.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_engine(small_model: Path) -> Iterator[EngineThread]:
    """An engine over the random model, in float32, with room for adapters of rank 8."""
    settings = SETTINGS.model_copy(update={"dtype": "float32"})
    thread = start_engine(small_model, settings, template=OPTIONS, adapter_rank=8)
    yield thread
    thread.close()
