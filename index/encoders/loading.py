"""Finds models on the Hugging Face hub, opens those of sentence-transformers, and keeps converted ones.

None of a model's code is run, and weights are fetched and read as safetensors only, because other formats can run code
when they are loaded. Knows files, not what a model is used for.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blake3 import blake3

from index.durable import publish_folder

_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


def from_hub(name: str, say: Callable[[str], None] = lambda _: None) -> Path:
    """Folder of a model of the Hugging Face hub; what the local hub cache lacks is fetched, after a line to `say`.

    Raises:
        ValueError: the model cannot be fetched; the message is the name of the error.
    """
    from huggingface_hub import snapshot_download

    wanted = [*_MODEL_FILES, "*.jinja"]
    try:
        try:
            return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
        except FileNotFoundError:
            say(f"Fetching {name} from the model hub")
            return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # whatever the library's HTTP client raises, too
        raise ValueError(type(error).__name__) from error


def load(kind: str, folder: Path, device: str, dtype: str) -> Any:
    """The model in a folder, ready to use; touches no network.

    Args:
        kind: its class in sentence-transformers: `SentenceTransformer` or `CrossEncoder`.
        dtype: number format of its weights, by its name in torch.

    Raises:
        ValueError: the folder holds no such model in safetensors; the message is the library's.
    """
    import sentence_transformers
    import torch

    try:
        return getattr(sentence_transformers, kind)(
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": getattr(torch, dtype), "use_safetensors": True},
        ).eval()
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ValueError(str(error)) from error


def file_hashes(folder: Path) -> dict[str, str]:
    """blake3 of weights, tokenizer and configuration files by their path in the folder, sorted by path."""
    hashes = {}
    for path in sorted({path for pattern in _MODEL_FILES for path in folder.rglob(pattern)}):
        hashes[path.relative_to(folder).as_posix()] = blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()
    return hashes


def converted_once(folder: Path, convert: Callable[[Path], None]) -> Path:
    """A folder of a cache, written on first use and published atomically; several processes may ask for it at once.

    Args:
        folder: the result; its name must change whenever its content would.
        convert: writes the content into the empty folder that it is given.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        convert(temporary)
        temporary.chmod(0o755)  # mkdtemp lets only the owner in
        if not folder.is_dir():  # another process may have been quicker
            publish_folder(temporary, folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
