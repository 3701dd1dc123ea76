"""Adapters of PEFT that begin from a published one; see `ragft.finetune.start`."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune.fast.adapter import WEIGHTS
from ragft.finetune.start import adapter_in, check_layers, other_form

_SETTINGS = {"r": "rank", "lora_alpha": "alpha", "num_virtual_tokens": "virtual_tokens"}
"""Fields of PEFT's configurations, and the keys of `finetune` that decide them; others are decided by `method`."""

_DECIDE_NOTHING = frozenset(
    # Where an adapter comes from, and what only its training read.
    {"base_model_name_or_path", "revision", "peft_version", "auto_mapping", "inference_mode", "lora_dropout"}
    # Which layers it changes is told by its tensors: the names here may be patterns.
) | {"target_modules", "exclude_modules", "feedforward_modules", "layers_to_transform", "layers_pattern"}
"""Fields of PEFT's configurations in which an adapter may differ from the one that goes on from it."""


def load_start(model: nn.Module, settings: FinetuneSection) -> None:
    """Gives a fresh adapter of PEFT the values that training begins from, in place.

    Raises:
        RagftError: the adapter has another form than the fresh one, or its files do not hold all that was trained.
    """
    if settings.start_from is None:
        return
    adapter = adapter_in(settings.start_from)
    try:
        config = PeftConfig.from_pretrained(str(adapter)).to_dict()
        values = load_file(adapter / WEIGHTS)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RagftError(f"The adapter in {adapter} cannot be read: {reason}") from error
    own = model.peft_config["default"].to_dict()
    # What the others follow from comes first, so that the sentence names the cause.
    for key in ("peft_type", "r", *sorted(config.keys() | own.keys())):
        before, now = config.get(key), own.get(key)
        if key not in _DECIDE_NOTHING and (before or None) != (now or None):
            raise other_form(adapter, _difference(key, before, now))
    fresh = get_peft_model_state_dict(model, save_embedding_layers=False)
    check_layers(adapter, set(values), set(fresh))
    for name, value in values.items():
        if value.shape != fresh[name].shape:
            shapes = f"{name!r} is {tuple(value.shape)}, and here {tuple(fresh[name].shape)}"
            raise other_form(adapter, f"{shapes}: use the base model and the settings that it was trained with")
        if not value.isfinite().all():
            raise RagftError(f"The adapter in {adapter} is damaged: {name!r} holds values that are not finite.")
    set_peft_model_state_dict(model, values)
    now_there = get_peft_model_state_dict(model, save_embedding_layers=False)
    if not all(torch.equal(value, now_there[name].to(value)) for name, value in values.items()):
        raise other_form(
            adapter, f"its files do not hold all that finetune.method = {settings.method} trains: begin from another"
        )


def _difference(key: str, before: Any, now: Any) -> str:
    setting = _SETTINGS.get(key)
    if setting is None:
        told = f"its {key} is {_plain(before)}, and that of finetune.method is {_plain(now)}"
        return f"{told}: set finetune.method to the one that trained it"
    return f"its {setting} is {before}, and here it would be {now}: set finetune.{setting} to {before}"


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)
