"""Causal language models of transformers: loaded from local files, and their hidden states and loss of packed rows."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from index.encoders.precision import native_format
from ragft.finetune import base, devices
from ragft.finetune.fast.batching import MicroBatch
from ragft.finetune.fast.lora import compute_in
from ragft.finetune.fast.loss import cross_entropy_sum


def compute_dtype(device: torch.device = devices.CPU) -> torch.dtype:
    """The dtype of products, here and in vLLM: bfloat16 where this processor or card multiplies it, else float32."""
    return torch.bfloat16 if native_format(str(device)) == "bfloat16" else torch.float32


def load(
    folder: Path, dtype: torch.dtype | None, *, attention_name: str, device: torch.device = devices.CPU
) -> nn.Module:
    """Loads a model, see `ragft.finetune.base.load`, to compute in `dtype`; None: in the dtype of its files.

    What is to be quantised is loaded in the dtype of its files, and told afterwards what to `lora.compute_in`.
    """
    model = base.load(folder, attention_name=attention_name)
    if dtype is not None:
        compute_in(model, dtype)
    return model.to(device)


def hidden_states(model: nn.Module, batch: MicroBatch) -> torch.Tensor:
    """Final hidden states at the positions that predict a trained token: (K, width) in the model's dtype."""
    decoder = model.get_decoder()
    batch = batch.to(devices.of(model))
    decoded = decoder(input_ids=batch.ids, position_ids=batch.positions, use_cache=False, layout=batch.layout)
    return decoded.last_hidden_state[0][batch.predicting]


def summed_loss(model: nn.Module, batch: MicroBatch) -> torch.Tensor:
    """Summed loss in nats over the trained tokens of a packed micro-batch: a float32 scalar."""
    head = model.get_output_embeddings()
    targets = batch.targets.to(head.weight.device)
    return cross_entropy_sum(hidden_states(model, batch), head.weight, targets, bias=head.bias)
