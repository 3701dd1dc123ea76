"""Tiny random models with a byte-level tokenizer and a chat template, as complete folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

ROWS = 320
"""Of the embedding: more than the tokenizer has tokens."""

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_SIZES = {
    "vocab_size": ROWS, "hidden_size": 128, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {"tie_word_embeddings": False, "sliding_window": None},
    "qwen2": {"tie_word_embeddings": False},
    "qwen3": {"tie_word_embeddings": True, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64},
}
"""One of each family that GGUF is written for; Qwen 3's heads are not the hidden size divided by their number."""


def tiny_tokenizer(split: Any = None) -> PreTrainedTokenizerFast:
    """Byte-level BPE with ChatML's tokens at 1 and 2; `split` cuts texts before merges."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = split or pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [
        "When does Node.js 22 end? It ends on 2027-04-30.",
        "The latest version of MySQL is 8.0.36. I do not know.",
    ]
    bpe.train_from_iterator(texts * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def tiny_model(folder: Path, kind: str = "llama", **changes: Any) -> Path:
    """Writes a random model whose weights are large enough that every part of it matters to its answers."""
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, **{**_SIZES, **SHAPES.get(kind, {}), **changes})
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.1)
    model.to(torch.bfloat16).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
