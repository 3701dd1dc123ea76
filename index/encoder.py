"""Turns texts into vectors with a sentence-transformers model.

Knows one model and how to run it fast; nothing of documents or indexes. Whatever changes the vectors changes
the encoder's fingerprint, so that vectors of two encoders are never compared.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from index.errors import IndexFault

Vectors = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with the number of texts done and the number in all."""

DTYPES = ("auto", "float32", "bfloat16", "float16")

# Small batches keep the activations in the cache of a CPU: 8 rows of 128 tokens were 20 to 30 % faster than
# 32 rows. A GPU wants work in bulk.
_TOKENS_PER_BATCH = {"cpu": 1024}
_TOKENS_PER_BATCH_ELSEWHERE = 32_768

_DOWNLOADED = ["*.json", "*.txt", "*.model", "*.safetensors"]
_FINGERPRINTED = ("*.safetensors", "*.json", "*.txt", "*.model")
_WITHOUT_EFFECT = frozenset({"config_sentence_transformers.json", "data_config.json", "README.txt", "LICENSE.txt"})


class TextEncoder(Protocol):
    """What the index needs of an encoder."""

    @property
    def source(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def tokenizer(self) -> Any: ...
    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors: ...
    def encode_queries(self, texts: Sequence[str]) -> Vectors: ...


class Encoder:
    """A sentence-transformers model, ready to encode; safe to call from several threads."""

    def __init__(
        self,
        source: str | Path,
        device: str = "cpu",
        dtype: str = "auto",
        query_prefix: str = "",
        passage_prefix: str = "",
    ) -> None:
        """Load the model.

        Args:
            source: A folder, or a model id of the Hugging Face hub. A folder touches no network.
            device: Where it runs, in torch's words.
            dtype: `auto` is bfloat16 where the processor multiplies it in hardware, else float32.
            query_prefix: Put before every query (E5 and BGE models want one).
            passage_prefix: Put before every passage.

        Raises:
            IndexFault: the source is missing or not a sentence-transformers model in safetensors.
        """
        if dtype not in DTYPES:
            raise IndexFault(f"The encoder's dtype is {dtype!r}; choose one of {', '.join(DTYPES)}.")
        import torch

        folder = _resolve(str(source))
        self.source = str(source)
        self.device = device
        self.dtype = _native_dtype(device) if dtype == "auto" else dtype
        self.query_prefix = query_prefix
        self.passage_prefix = passage_prefix
        self._model = _load(folder, device, self.dtype)
        # Every call switches the truncation of the model's own tokenizer on or off, which fast tokenizers
        # refuse while another thread encodes: hence the lock, and a copy for those who only count tokens.
        self._tokenizing = threading.Lock()
        self.tokenizer = copy.deepcopy(self._model.tokenizer)
        # One thread per batch and several batches at once: the products of a small encoder are over before
        # the threads of one product find together (20 times slower on two busy cores).
        self._workers = (
            ThreadPoolExecutor(torch.get_num_threads(), "encoder", torch.set_num_threads, (1,))
            if device == "cpu"
            else None
        )
        window = self._model.max_seq_length
        self._window = int(window) if window else int(self.tokenizer.model_max_length)
        self.dimension = int(self._model.get_embedding_dimension())
        self.fingerprint = self._fingerprint(folder)

    @property
    def max_tokens(self) -> int:
        """Longest passage that is read whole, special tokens included and the passage prefix taken off."""
        if not self.passage_prefix:
            return self._window
        return self._window - len(self.tokenizer(self.passage_prefix, add_special_tokens=False)["input_ids"])

    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Vectors of passages: (n, dimension) float32, rows of unit length."""
        return self._encode([self.passage_prefix + text for text in texts], progress)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries: (n, dimension) float32, rows of unit length."""
        return self._encode([self.query_prefix + text for text in texts], None)

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> Vectors:
        import torch

        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        batches = self._batches(texts)
        done = 0

        def embed(rows: list[int]) -> Vectors:
            return self._forward([texts[row] for row in rows])

        run = self._workers.map if self._workers else map
        for rows, unit in zip(batches, run(embed, batches), strict=True):
            vectors[rows] = unit
            done += len(rows)
            if progress:
                progress(done, len(texts))
        if self._workers:
            # A worker's choice of one thread reaches a setting of MKL that the whole process shares.
            torch.set_num_threads(torch.get_num_threads())
        return vectors

    def _forward(self, texts: list[str]) -> Vectors:
        """One batch: (n, dimension) float32, rows of unit length."""
        import torch

        with self._tokenizing:
            features = self._model.preprocess(texts)
        moved = {key: value.to(self.device) if hasattr(value, "to") else value for key, value in features.items()}
        with torch.inference_mode():
            embedded = self._model(moved)["sentence_embedding"].float()
            unit: Vectors = torch.nn.functional.normalize(embedded, dim=1).cpu().numpy()
        return unit

    def _batches(self, texts: Sequence[str]) -> list[list[int]]:
        """Row numbers, longest text first, in batches of about equal cost; padding is next to nothing."""
        if len(texts) < 2:
            return [[row] for row in range(len(texts))]
        with self._tokenizing:
            encoded = self.tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        lengths = [min(len(ids), self._window) for ids in encoded]
        budget = _TOKENS_PER_BATCH.get(self.device, _TOKENS_PER_BATCH_ELSEWHERE)
        batches: list[list[int]] = []
        room = 0
        for row in sorted(range(len(texts)), key=lambda row: (-lengths[row], row)):
            if not batches or len(batches[-1]) >= room:
                room = max(1, budget // max(1, lengths[row]))
                batches.append([])
            batches[-1].append(row)
        return batches

    def _fingerprint(self, folder: Path) -> str:
        """blake3 over everything that decides about the vectors, wherever the folder lies."""
        files = sorted({path for pattern in _FINGERPRINTED for path in folder.rglob(pattern)})
        parts = {
            "files": {
                path.relative_to(folder).as_posix(): blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()
                for path in files
                if path.name not in _WITHOUT_EFFECT
            },
            "dtype": self.dtype,
            "window": self._window,
            "query_prefix": self.query_prefix,
            "passage_prefix": self.passage_prefix,
        }
        return blake3(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _resolve(source: str) -> Path:
    """The folder of the model; a hub id is looked up in the local cache first, then fetched."""
    folder = Path(source)
    if not folder.is_dir():
        folder = _from_hub(source)
    if not (folder / "modules.json").is_file():
        raise IndexFault(
            f"The encoder {source} is not a sentence-transformers model (it has no modules.json); "
            "name one that is, such as sentence-transformers/all-MiniLM-L6-v2."
        )
    return folder


def _from_hub(source: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        try:
            return Path(snapshot_download(source, allow_patterns=_DOWNLOADED, local_files_only=True))
        except FileNotFoundError:
            return Path(snapshot_download(source, allow_patterns=_DOWNLOADED))
    except (OSError, ValueError) as error:
        raise IndexFault(
            f"The encoder {source} is neither a folder nor a model that the Hugging Face hub gives out "
            f"({type(error).__name__}); check the name, or name the folder of a model."
        ) from error


def _load(folder: Path, device: str, dtype: str) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": getattr(torch, dtype), "use_safetensors": True},
        ).eval()
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise IndexFault(
            f"The encoder in {folder} cannot be loaded ({error}); it must be a sentence-transformers model "
            "with weights in safetensors."
        ) from error


def _native_dtype(device: str) -> str:
    """bfloat16 where matrix products in it are faster than in float32, which is in hardware only."""
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        flags = set()
    return "bfloat16" if flags & {"avx512_bf16", "amx_bf16"} else "float32"
