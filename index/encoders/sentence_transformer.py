"""The forward pass of sentence-transformers itself: runs any of its models, and is what faster ones must agree with."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from index.encoders.bert import Ids, Vectors


class SentenceTransformerForward:
    """A loaded `SentenceTransformer` as the library runs it; safe to call from several threads."""

    def __init__(self, model: Any, device: str) -> None:
        self._model = model
        self._device = device
        # Every call switches the tokenizer's truncation, which a fast tokenizer refuses while another thread encodes.
        self._tokenizing = threading.Lock()

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Embed texts: (n, hidden) float32, pooled."""
        import torch

        features = self._features(texts)
        moved = {key: value.to(self._device) if hasattr(value, "to") else value for key, value in features.items()}
        with torch.inference_mode():
            vectors: Vectors = self._model(moved)["sentence_embedding"].float().cpu().numpy()
        return vectors

    def token_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of each text as the model reads them, without padding."""
        features = self._features(texts)
        rows = zip(features["input_ids"], features["attention_mask"], strict=True)
        return [ids[mask.bool()].numpy().astype(np.int32) for ids, mask in rows]

    def _features(self, texts: Sequence[str]) -> dict[str, Any]:
        with self._tokenizing:
            features: dict[str, Any] = self._model.preprocess(list(texts))
        return features
