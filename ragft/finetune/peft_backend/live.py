"""What the PEFT back end trained, loaded: the live model that answers, and the merged one that is served."""

from __future__ import annotations

import json

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import nn

from ragft.errors import RagftError
from ragft.finetune import devices
from ragft.finetune.fast import decoder
from ragft.finetune.fast.adapter import WEIGHTS
from ragft.finetune.fast.plain_lora import CONFIG
from ragft.finetune.lineage import LiveModel
from ragft.finetune.peft_backend.attach import quantise
from ragft.finetune.peft_backend.weights import KIND, load_weights


def load_live(live: LiveModel, device: torch.device = devices.CPU) -> nn.Module:
    """The base model in float32 with its adapter, or its trained weights, in evaluation mode.

    Raises:
        RagftError: the adapter is damaged, or does not fit the base.
    """
    model = decoder.load(live.base, torch.float32, attention_name="eager", device=device)
    if live.quantised:
        quantise(model)
    try:
        kind = json.loads((live.adapter / CONFIG).read_text(encoding="utf-8"))["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RagftError(f"{live.adapter} holds no adapter in PEFT's format: {CONFIG}: {error!r}") from None
    if kind == KIND:
        load_weights(model, live.adapter)
        return model
    try:
        with safe_open(live.adapter / WEIGHTS, framework="pt") as file:
            stored = set(file.keys())
        wrapped = PeftModel.from_pretrained(model, str(live.adapter), local_files_only=True)
    except (OSError, SafetensorError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RagftError(f"The adapter in {live.adapter} does not fit {live.base}: {reason}") from error
    wanted = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    if wrong := sorted(stored ^ wanted):
        raise RagftError(
            f"The adapter in {live.adapter} is damaged or of another model: {len(wrong)} of its tensors are missing or "
            f"too many, the first is {wrong[0]!r}."
        )
    return wrapped.to(device).eval()


def merged_model(live: LiveModel) -> nn.Module:
    """The base model with what was trained added to its weights, in float32.

    Raises:
        RagftError: as `load_live`, or what was trained is no change of weights.
    """
    model = load_live(live)
    if not isinstance(model, PeftModel):
        return model
    if not hasattr(model.base_model, "merge_and_unload"):
        raise RagftError(
            f"The adapter in {live.adapter} ({model.active_peft_config.peft_type.value}) cannot be merged: it is no "
            "change of weights; train one with lora."
        )
    return model.merge_and_unload(safe_merge=True)
