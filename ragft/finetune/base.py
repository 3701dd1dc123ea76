"""Base models from local files: every weight accounted for, and read in the dtype that it is stored in.

Training, merging and the proof all read a base here, so that they see the same weights on every machine: what is
quantised is the stored weight, never one that was rounded to the dtype of some processor's products first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoModelForCausalLM

from ragft.errors import RagftError

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def load(folder: Path, *, attention_name: str = "eager") -> nn.Module:
    """Loads a causal language model in evaluation mode (dropout off), in its stored dtype and without remote code.

    Raises:
        RagftError: the base is quantised or writes no text, a file is damaged, files and architecture hold different
            weights, or a weight is not finite.
    """
    dtype = stored_dtype(folder)
    check_writes(folder)
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=dtype, attn_implementation=attention_name, local_files_only=True, use_safetensors=True,
            trust_remote_code=False, ignore_mismatched_sizes=True, output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # what a broken configuration raises is anything
        raise RagftError(f"The model in {folder} cannot be loaded: {_one_line(error)}") from error
    _check_complete(folder, model, found)
    _check_finite(folder, model)
    return model.eval()


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype that most weights of a base are stored in; the few others are rounded to it when they are read.

    Raises:
        RagftError: the base is quantised, or a file of weights is missing or damaged.
    """
    check_not_quantised(folder)
    counts: Counter[str] = Counter()
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    values = tensors.get_slice(name)
                    counts[values.get_dtype()] += torch.Size(values.get_shape()).numel()
        except (OSError, SafetensorError) as error:
            raise RagftError(
                f"{path} is missing, truncated or damaged ({_one_line(error)}): copy or download it again."
            ) from None
    narrow = next((name for name in counts if name.startswith(("F8", "F4", "F6"))), None)
    if narrow is not None:
        raise _quantised(folder, narrow)
    floating = [(count, name) for name, count in counts.items() if name in _DTYPES]
    if not floating:
        raise RagftError(f"The weights in {folder} hold no floating-point tensors: they are of no model, or quantised.")
    return _DTYPES[max(floating)[1]]


def check_not_quantised(folder: Path) -> None:
    """Refuses a base whose configuration says that its weights are quantised (GPTQ, AWQ, bitsandbytes, FP8, ...)."""
    config = _config(folder)
    for part in (config, config.get("text_config")):
        if isinstance(part, dict) and part.get("quantization_config"):
            settings = part["quantization_config"]
            method = settings.get("quant_method") if isinstance(settings, dict) else None
            raise _quantised(folder, method or "quantization_config in config.json")


def check_writes(folder: Path) -> None:
    """Refuses a model of another kind than those that continue a text: with an encoder, or without a head for tokens.

    transformers would load the decoder of some and the trunk of others, and leave the rest of their weights out.
    """
    import transformers

    config = _config(folder)
    names = [name for name in config.get("architectures") or () if isinstance(name, str)]
    classes: list[Any] = [getattr(transformers, name, None) for name in names]
    known = [found for found in classes if hasattr(found, "can_generate")]
    told, advice = ", ".join(names) or config.get("model_type"), "set model.base to a causal, instruction-tuned model."
    if config.get("is_encoder_decoder"):
        raise RagftError(
            f"The model in {folder} is an encoder-decoder ({told}), which reads a question in an encoder of its own; "
            f"what is trained here, and served by vLLM as a chat endpoint, continues one sequence of tokens: {advice}"
        )
    if known and not any(found.can_generate() for found in known):
        raise RagftError(
            f"The model in {folder} is a {told}, which has no head that predicts the next token, so it writes no "
            f"answers that could be trained, or served by vLLM as a chat endpoint: {advice}"
        )


def check_positions(model: nn.Module, max_seq_length: int, *, virtual_tokens: int = 0) -> None:
    """Refuses rows that may be longer than the model has positions, with so many virtual tokens in front of them."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if isinstance(limit, int) and 0 < limit < max_seq_length + virtual_tokens:
        beside = f" and {virtual_tokens} virtual tokens" if virtual_tokens else ""
        raise RagftError(
            f"{model.config.model_type} has positions for {limit} tokens, fewer than finetune.max_seq_length = "
            f"{max_seq_length}{beside} (max_position_embeddings): set finetune.max_seq_length to "
            f"{limit - virtual_tokens} or less."
        )


def check_ids(model: nn.Module, rows: Collection[Collection[int]]) -> None:
    """Refuses rows with a token that the embedding has no row for: one that was added to the tokenizer alone."""
    known = model.get_input_embeddings().weight.shape[0]
    beyond = max((max(ids, default=0) for ids in rows), default=0)
    if beyond >= known:
        raise RagftError(
            f"The rows hold token {beyond}, and the model's embedding has {known} rows: tokens were added to the "
            "tokenizer alone; resize the embedding of the base model (resize_token_embeddings), or restore its "
            "tokenizer and chat template."
        )


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        raise ValueError("it holds no mapping")
    except (OSError, ValueError) as error:
        raise RagftError(f"The model in {folder} has no readable config.json: {_one_line(error)}") from None


def _weight_files(folder: Path) -> list[Path]:
    """The files that transformers reads: those of the index, or the only one."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file() or not index.is_file():
        return [folder / "model.safetensors"]
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(names))]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise RagftError(f"{index} is damaged ({_one_line(error)}): copy or download it again.") from None


def _check_complete(folder: Path, model: nn.Module, found: dict[str, Any]) -> None:
    """Refuses a load that left a weight of the model at random, or a weight of the files unused."""
    mismatched = [f"{name} {tuple(file)} for {tuple(here)}" for name, file, here in found["mismatched_keys"]]
    for names, what in (
        (mismatched, "have another shape in the files than in the architecture"),
        (found["missing_keys"], "are missing in the files"),
        (found["unexpected_keys"], "are in the files but not in the architecture"),
    ):
        if names:
            raise RagftError(
                f"The model in {folder} is not the {type(model).__name__} that its config.json describes: {len(names)} "
                f"weights {what} ({_some(sorted(names))}); use a complete copy of the base model."
            )
    config = model.config.get_text_config()
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    tied = getattr(config, "tie_word_embeddings", False) and getattr(model, "_tied_weights_keys", None)
    if tied and head is not None and getattr(head, "weight", None) is not getattr(embedding, "weight", None):
        raise RagftError(
            f"The config.json in {folder} ties the output head to the embedding, and the files hold two different "
            "matrices, of which a server would load one: set tie_word_embeddings to false in it."
        )


def _check_finite(folder: Path, model: nn.Module) -> None:
    """Refuses NaN and infinity, which quantisation would hide in part."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise RagftError(
                f"The base model in {folder} holds values that are not finite, in {name}: restore its files."
            )


def _quantised(folder: Path, how: str) -> RagftError:
    return RagftError(
        f"The model in {folder} is quantised ({how}), and training and merging need its original weights: set "
        "model.base to the unquantised base model."
    )


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
