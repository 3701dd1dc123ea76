"""Opens models of sentence-transformers from a folder.

Nothing is fetched, none of a model's code is run, and weights are read as safetensors alone. Knows files, not what a
model is for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blake3 import blake3

_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


def load(kind: str, folder: Path, device: str, dtype: str) -> Any:
    """The model in a folder, ready to use.

    Args:
        kind: Its class in sentence-transformers: `SentenceTransformer` or `CrossEncoder`.
        folder: Where it lies.
        device: Where it runs, in torch's words.
        dtype: Number format of its weights, in torch's words.

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
    """blake3 of weights, tokenizer and configurations by their path in the folder, sorted by it."""
    files = sorted({path for pattern in _MODEL_FILES for path in folder.rglob(pattern)})
    return {
        path.relative_to(folder).as_posix(): blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()
        for path in files
    }
