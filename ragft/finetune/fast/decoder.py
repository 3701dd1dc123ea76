"""Causal language models of transformers: loaded from local files, and their hidden states and loss of packed rows."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from index.encoders.precision import native_format
from ragft.errors import RagftError
from ragft.finetune.fast import attention
from ragft.finetune.fast.batching import MicroBatch
from ragft.finetune.fast.loss import cross_entropy_sum
from ragft.finetune.fast.probe import NotFast


def compute_dtype() -> torch.dtype:
    """The dtype of products, here and in vLLM: bfloat16 where this processor multiplies it, else float32."""
    return torch.bfloat16 if native_format() == "bfloat16" else torch.float32


def load(folder: Path, dtype: torch.dtype, *, attention_name: str) -> nn.Module:
    """Loads a model in evaluation mode (dropout off), from local safetensors files alone and without remote code."""
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=dtype, attn_implementation=attention_name,
            local_files_only=True, use_safetensors=True, trust_remote_code=False,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise RagftError(f"The model in {folder} cannot be loaded: {' '.join(str(error).split())}") from None
    return model.eval()


def load_for_training(folder: Path, dtype: torch.dtype, *, max_seq_length: int) -> nn.Module:
    """Loads a model with packed attention, after checking that `summed_loss` computes what the model would.

    Raises:
        NotFast: the model scales or caps its logits, or its sliding window is shorter than `max_seq_length` tokens.
    """
    model = load(folder, dtype, attention_name=attention.PACKED)
    config = model.config
    for key in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(config, key, None) not in (None, 1, 1.0):
            raise NotFast(
                f"{config.model_type} scales or caps its logits ({key}), which the fast back end does not support; "
                "choose a Llama-like base model."
            )
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    if window is not None and window < max_seq_length:
        raise NotFast(
            f"{config.model_type} has a sliding window of {window} tokens, fewer than finetune.max_seq_length = "
            f"{max_seq_length}, and the fast back end supports none; set finetune.max_seq_length to {window} or less."
        )
    return model


def hidden_states(model: nn.Module, batch: MicroBatch) -> torch.Tensor:
    """Final hidden states at the positions that predict a trained token: (K, width) in the model's dtype."""
    decoder = model.get_decoder()
    decoded = decoder(input_ids=batch.ids, position_ids=batch.positions, use_cache=False, layout=batch.layout)
    return decoded.last_hidden_state[0][batch.predicting]


def summed_loss(model: nn.Module, batch: MicroBatch) -> torch.Tensor:
    """Summed loss in nats over the trained tokens of a packed micro-batch: a float32 scalar."""
    head = model.get_output_embeddings()
    return cross_entropy_sum(hidden_states(model, batch), head.weight, batch.targets, bias=head.bias)
