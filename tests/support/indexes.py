"""An encoder small enough for tests that build hundreds of indexes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from blake3 import blake3

from index.documents.document import Document
from index.encoders.encoder import Progress, TextEncoder, Vectors
from index.refresh.refresh import refresh
from index.store.snapshot import Snapshot

Write = Callable[[dict[str, str]], Path]
"""Makes the folder of documents hold exactly these files, and returns it."""


class WordTokenizer:
    """Words and marks as tokens: enough for chunking, without loading a real tokenizer."""

    def __call__(self, text: str | list[str], return_offsets_mapping: bool = False, **_: Any) -> dict[str, Any]:
        if isinstance(text, list):
            return {"input_ids": [_TOKEN.findall(item) for item in text]}
        return {
            "input_ids": _TOKEN.findall(text),
            "offset_mapping": [match.span() for match in _TOKEN.finditer(text)],
        }


_TOKEN = re.compile(r"\w+|[^\w\s]")


class HashEncoder:
    """Makes deterministic vectors from hashed words: texts that share words are near each other.

    Counts what it encodes, so that tests can say what a refresh must not do again.
    """

    dimension = 32
    max_tokens = 64

    def __init__(self, tokenizer: Any, seed: str = "") -> None:
        self.tokenizer = tokenizer
        self.source = f"hash-encoder{seed}"
        self.fingerprint = blake3(self.source.encode()).hexdigest()
        self.encoded: list[str] = []

    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        self.encoded.extend(texts)
        if progress:
            progress(len(texts), len(texts))
        return self._vectors(texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._vectors(texts)

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        vectors = np.stack([self._vector(text) for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def _vector(self, text: str) -> Vectors:
        total = np.full(self.dimension, 1e-3, dtype=np.float32)
        for word in text.lower().split():
            total += _direction(self.source + word, self.dimension)
        return total


@cache
def _direction(word: str, dimension: int) -> Vectors:
    seed = int.from_bytes(blake3(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(dimension, dtype=np.float32)


def index_of(root: Path, *states: Sequence[Document], encoder: TextEncoder) -> Snapshot:
    """An index of the last of these states of a collection, after it held the earlier ones one by one."""
    for documents in states:
        # Documents are passed past the readers, so that they can have any labels and metadata.
        with patch("index.refresh.refresh.read_documents", lambda *_, documents=documents, **__: (list(documents), [])):
            refresh(root, root, encoder)
    return Snapshot.open(root)


WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] red fox owl support ends node cats purr the a".split()  # noqa: SIM905


def make_cross_encoder(folder: Path, scores: int = 1) -> Path:
    """A random BERT of two layers that reads 64 tokens and gives this number of scores for a pair."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, num_labels=scores, initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder
