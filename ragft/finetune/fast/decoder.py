"""A causal language model of transformers, loaded for packed training: hidden states in, no logits out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from index.encoders.precision import native_format
from ragft.errors import RagftError
from ragft.finetune.fast import attention
from ragft.finetune.fast.batching import MicroBatch
from ragft.finetune.fast.loss import cross_entropy_sum


def compute_dtype() -> torch.dtype:
    """The format that products run in, here and in vLLM: bfloat16 where this processor multiplies it, else float32."""
    return torch.bfloat16 if native_format() == "bfloat16" else torch.float32


def load(folder: Path, dtype: torch.dtype, *, attention_name: str) -> nn.Module:
    """The model in `folder`, in evaluation mode (dropout off) and `dtype`; nothing is fetched, no remote code
    runs."""
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype,
            attn_implementation=attention_name,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        raise RagftError(f"The model in {folder} cannot be loaded: {' '.join(str(error).split())}") from None
    finally:
        if bars:
            logging.enable_progress_bar()
    return model.eval()


def load_for_training(folder: Path, dtype: torch.dtype, *, max_length: int) -> nn.Module:
    """`load` with packed attention, after checking that `summed_loss` computes what the model would.

    Raises:
        RagftError: the model scales or caps its logits, or slides its attention over less than `max_length`
            tokens.
    """
    model = load(folder, dtype, attention_name=attention.NAME)
    config = model.config
    for key in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(config, key, None) not in (None, 1, 1.0):
            raise RagftError(
                f"{config.model_type} changes its logits ({key}), which the fast back end's loss does not know; choose "
                "a Llama-like base model."
            )
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    if window is not None and window < max_length:
        raise RagftError(
            f"{config.model_type} attends to {window} tokens back, fewer than finetune.max_length = {max_length}, and "
            f"the fast back end has no sliding window; set finetune.max_length to {window} or less."
        )
    return model


def hidden_states(model: nn.Module, batch: MicroBatch) -> torch.Tensor:
    """Final hidden states of a packed micro-batch: (T, width) in the model's dtype."""
    decoded = model.get_decoder()(
        input_ids=batch.ids, position_ids=batch.positions, use_cache=False, layout=batch.layout
    )
    return decoded.last_hidden_state[0]


def summed_loss(model: nn.Module, batch: MicroBatch) -> torch.Tensor:
    """Summed loss in nats over the trained tokens of a packed micro-batch: a float32 scalar."""
    head = model.get_output_embeddings()
    hidden = hidden_states(model, batch)[batch.predicting]
    return cross_entropy_sum(hidden, head.weight, batch.targets, bias=head.bias)
