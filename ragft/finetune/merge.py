"""Merging: base model and adapter become one model, in the dtype of the base's files, that a server loads.

For QLoRA the merge goes onto the dequantised NF4 weights by default, because the adapter was trained against those.
Merging onto the original weights is the alternative. Quantising a merged model again is not offered: it erased the
adapter where it was measured.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ragft.errors import RagftError
from ragft.finetune import base
from ragft.finetune.fast.adapter import load_adapter
from ragft.finetune.fast.lora import adapted
from ragft.finetune.lineage import LiveModel

Onto = Literal["trained", "original"]

# Weights are written from memory; files of other formats can run code and are not copied.
_NOT_COPIED = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".py"}
_WRITTEN = {"config.json", "model.safetensors.index.json"}


def merge(live: LiveModel, folder: Path, *, onto: Onto = "trained") -> None:
    """Writes the base model with the adapter added as safetensors that vLLM and transformers load.

    Args:
        folder: must be empty or missing. Tokenizer, chat template and licence are copied from the base.
        onto: `trained`: the weights that the adapter was trained against; `original`: the base's own. The same where
            the adapter was trained without quantisation.

    Raises:
        RagftError: the adapter is not plain LoRA or does not fit, or `folder` holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise RagftError(f"{folder} exists already: merge into a new folder, or delete that one.")
    quantise = live.quantised and onto == "trained"
    if live.backend == "peft":
        from ragft.finetune.peft_backend.live import merged_model

        model = merged_model(replace(live, quantised=quantise)).to(base.stored_dtype(live.base))
    else:
        model = base.load(live.base)
        stored = model.dtype
        load_adapter(model, live.adapter, quantise=quantise)
        for name, layer in list(adapted(model)):
            model.set_submodule(name, layer.merged(stored))
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    for path in sorted(live.base.iterdir()):  # tokenizer, template, licence
        if path.is_file() and path.suffix not in _NOT_COPIED and path.name not in _WRITTEN:
            shutil.copyfile(path, folder / path.name)
