"""Trained weights on disk, for methods that change the base model's own: files like an adapter's, beside a base.

Only what was trained is written, in float32, because many of the small steps of full training would round away in 16
bits. PEFT does not read these folders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ragft.errors import RagftError
from ragft.finetune.fast.adapter import WEIGHTS
from ragft.finetune.fast.plain_lora import CONFIG

KIND = "TRAINED_WEIGHTS"
"""Stands where PEFT's configurations name their kind of adapter."""


def save_weights(values: Mapping[str, Tensor], folder: Path, base_name: str) -> None:
    """Writes the trained parameters of a base model by name, over older ones in `folder`."""
    folder.mkdir(exist_ok=True)
    save_file({name: value.detach().contiguous() for name, value in values.items()}, folder / WEIGHTS)
    config = {"peft_type": KIND, "base_model_name_or_path": base_name}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_weights(model: nn.Module, folder: Path) -> None:
    """Puts trained weights into their base model, in place.

    Raises:
        RagftError: they cannot be read, or do not fit the model.
    """
    try:
        values = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise RagftError(f"The trained weights in {folder} have no readable {WEIGHTS}: {error}") from None
    parameters = dict(model.named_parameters())
    for name, value in values.items():
        here = tuple(parameters[name].shape) if name in parameters else "no weight"
        if here != tuple(value.shape):
            raise RagftError(
                f"The trained weights in {folder} do not fit this model: {name!r} is {tuple(value.shape)}, which is "
                f"{here} here; use the base model that they were trained on."
            )
        parameters[name].data.copy_(value)
