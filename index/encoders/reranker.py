"""Reads a question and a passage together and says how well the one answers the other.

A cross-encoder is far slower than a comparison of vectors and far more exact: it orders the few best candidates of a
search anew. Knows one model and how to run it; nothing of indexes. Whatever changes the scores changes the fingerprint.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from index.encoders.batching import batches_of_equal_cost
from index.encoders.loading import file_hashes, load
from index.errors import IndexFault

RerankScores = npt.NDArray[np.float64]

_WINDOW = 512
"""Tokens of question and passage together where a model does not say what it reads."""
_UNLIMITED = 1_000_000
"""Tokenizers without a limit name a number far above this."""


class Reranker(Protocol):
    """What a search needs of it."""

    @property
    def source(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    def scores(self, query: str, passages: Sequence[str]) -> RerankScores: ...


class CrossEncoderReranker:
    """A cross-encoder of sentence-transformers with one score; safe to call from several threads."""

    def __init__(self, source: str | Path, device: str = "cpu", dtype: str = "float32") -> None:
        """Load the model; nothing is fetched and no code of the model's is run.

        Args:
            source: A folder with weights in safetensors.
            device: Where it runs, in torch's words.
            dtype: Number format, in torch's words.

        Raises:
            IndexFault: the folder holds no such model, or one that gives several scores.
        """
        import torch

        folder = Path(source)
        self.source = str(source)
        self.device = device
        self.dtype = dtype
        self._model = _load(folder, device, dtype)
        self._tokenizer = self._model.tokenizer
        limit = self._model.max_seq_length
        self._window = int(limit) if limit and limit < _UNLIMITED else _WINDOW
        # Fast tokenizers keep truncation and padding as state of their own.
        self._tokenizing = threading.Lock()
        self._workers = (
            ThreadPoolExecutor(torch.get_num_threads(), "rerank", torch.set_num_threads, (1,))
            if device == "cpu"
            else None
        )
        self.fingerprint = self._fingerprint(folder)

    def scores(self, query: str, passages: Sequence[str]) -> RerankScores:
        """How well each passage answers the query: (passages,) float64, the larger the better.

        The passages of one query are scored by themselves, so that its scores do not depend on what else is asked.
        """
        import torch

        scores = np.empty(len(passages), dtype=np.float64)
        batches = self._batches(query, passages)

        def score(rows: list[int]) -> RerankScores:
            return self._forward([(query, passages[row]) for row in rows])

        run = self._workers.map if self._workers else map
        for rows, found in zip(batches, run(score, batches), strict=True):
            scores[rows] = found
        if self._workers:
            # As in the encoder: a worker's choice of one thread reaches a setting that the process shares.
            torch.set_num_threads(torch.get_num_threads())
        return scores

    def _batches(self, query: str, passages: Sequence[str]) -> list[list[int]]:
        """Row numbers, longest pair first, in batches of about equal cost."""
        if len(passages) < 2:
            return [[row] for row in range(len(passages))]
        with self._tokenizing:
            encoded = self._tokenizer(
                [query] * len(passages), list(passages), truncation=False, padding=False, verbose=False
            )["input_ids"]
        lengths = [min(len(ids), self._window) for ids in encoded]
        return batches_of_equal_cost(self.device, lengths)

    def _forward(self, pairs: list[tuple[str, str]]) -> RerankScores:
        import torch

        with self._tokenizing:
            features = self._tokenizer(
                [query for query, _ in pairs], [passage for _, passage in pairs], truncation=True,
                max_length=self._window, padding=True, return_tensors="pt", verbose=False,
            )  # fmt: skip
        moved = {key: value.to(self.device) for key, value in features.items()}
        with torch.inference_mode():
            logits = self._model.model(**moved).logits.squeeze(-1)
            # In float64, because a sigmoid in float32 makes one number of all good scores.
            found: RerankScores = self._model.activation_fn(logits.double()).cpu().numpy()
        return found

    def _fingerprint(self, folder: Path) -> str:
        """blake3 over everything that decides about the scores, wherever the folder lies."""
        parts = {
            "files": file_hashes(folder),
            "dtype": self.dtype,
            "window": self._window,
        }
        return blake3(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _load(folder: Path, device: str, dtype: str) -> Any:
    fault = (
        f"The reranker in {folder} cannot be used ({{}}); name a cross-encoder of sentence-transformers that gives one "
        "score, with weights in safetensors."
    )
    if not (folder / "config.json").is_file():
        raise IndexFault(fault.format("config.json is missing"))
    if not any(folder.glob("*.safetensors")):
        raise IndexFault(fault.format("it has no *.safetensors weights, and other formats can run code"))
    try:
        model = load("CrossEncoder", folder, device, dtype)
    except ValueError as error:
        raise IndexFault(fault.format(error)) from error
    if model.num_labels != 1 or model.model is None:
        raise IndexFault(fault.format(f"it gives {model.num_labels} scores for a pair"))
    return model
