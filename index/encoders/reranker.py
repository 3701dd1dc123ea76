"""Reads a question and a passage together and scores how well the passage answers the question.

A cross-encoder is far slower than a comparison of vectors and far more exact, so it reranks only the best candidates of
a search. Knows one model and how to run it; nothing of indexes. Whatever changes the scores changes the fingerprint.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from index.encoders.batching import batches_of_equal_cost
from index.encoders.loading import file_hashes, load
from index.encoders.parallel import OneThreadWorkers
from index.errors import IndexFault

RerankScores = npt.NDArray[np.float64]

_WINDOW = 512
"""Tokens of question and passage together, where a model does not name its limit."""
_UNLIMITED = 1_000_000
"""A tokenizer without a limit names a number far above this."""


class Reranker(Protocol):
    """What a search needs from it."""

    @property
    def source(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    def scores(self, query: str, passages: Sequence[str]) -> RerankScores: ...


class CrossEncoderReranker:
    """A cross-encoder of sentence-transformers with one score; safe to call from several threads."""

    def __init__(self, source: str | Path, device: str = "cpu", dtype: str = "float32") -> None:
        """Load the model from a folder; nothing is fetched, and none of the model's code is run.

        Raises:
            IndexFault: the folder holds no such model in safetensors, or one that gives several scores.
        """
        import torch

        folder = Path(source)
        self.source = str(source)
        self.device = device
        self._model = _load(folder, device, dtype)
        self._tokenizer = self._model.tokenizer
        limit = self._model.max_seq_length
        self._window = int(limit) if limit and limit < _UNLIMITED else _WINDOW
        # Every call sets the tokenizer's truncation and padding, which a fast tokenizer refuses while another thread
        # encodes.
        self._tokenizing = threading.Lock()
        self._workers = OneThreadWorkers(torch.get_num_threads() if device == "cpu" else 0)
        parts = {"files": file_hashes(folder), "dtype": dtype, "window": self._window}
        self.fingerprint = blake3(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def scores(self, query: str, passages: Sequence[str]) -> RerankScores:
        """How well each passage answers the query: (passages,) float64, larger is better.

        Each query is scored separately, so that its scores do not depend on what else is asked.
        """
        scores = np.empty(len(passages), dtype=np.float64)
        batches = self._batches(query, passages)

        def score(rows: list[int]) -> RerankScores:
            return self._forward([(query, passages[row]) for row in rows])

        for rows, found in zip(batches, self._workers.map(score, batches), strict=True):
            scores[rows] = found
        return scores

    def _batches(self, query: str, passages: Sequence[str]) -> list[list[int]]:
        """Row numbers, longest pair first, in batches of about equal cost."""
        if len(passages) < 2:
            return [[row] for row in range(len(passages))]
        with self._tokenizing:
            encoded = self._tokenizer(
                [query] * len(passages), list(passages), truncation=False, padding=False, verbose=False
            )["input_ids"]
        return batches_of_equal_cost(self.device, [min(len(ids), self._window) for ids in encoded])

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
            # In float64, because a sigmoid in float32 rounds all good scores to the same number.
            found: RerankScores = self._model.activation_fn(logits.double()).cpu().numpy()
        return found


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
