"""The forward pass of BERT sentence encoders in OpenVINO, an optional extra (`pip install ragft[openvino]`).

Knows the weights of `index.encoders.bert` and token ids, nothing of texts. Exports the graph itself, pooling included,
because exporter packages require older versions of transformers.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from torch.nn import functional

from index.encoders.bert import BertWeights, Ids, Vectors
from index.encoders.loading import converted_once
from index.errors import IndexFault

EXPORT = 1
"""Version of the exported graph, part of the cached folder's name: raise it when `_Padded` changes."""

_HIDDEN_SCORE = -1e4


class OpenVinoBert:
    """A BERT sentence encoder compiled by OpenVINO; safe to call from several threads."""

    def __init__(self, weights: BertWeights, dtype: str, threads: int, identity: str, cache: Path | None) -> None:
        """Export the graph, or read it from the cache, and compile it.

        Args:
            weights: in float32.
            dtype: precision of the products, `float32` or `bfloat16`.
            threads: how many calls may run at once, each on one thread.
            identity: names the weights in the cache.
            cache: folder for exported graphs; None keeps none.

        Raises:
            IndexFault: OpenVINO is not installed.
        """
        try:
            import openvino
        except ImportError as error:
            raise IndexFault(
                "index.encoder.backend is openvino, but OpenVINO is not installed; run `pip install ragft[openvino]`, "
                "or set index.encoder.backend to torch."
            ) from error
        core = openvino.Core()
        graph = _graph(openvino, core, weights, identity, cache)
        precision = {"float32": "f32", "bfloat16": "bf16"}[dtype]
        self._compiled = core.compile_model(
            graph,
            "CPU",
            {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": str(threads), "INFERENCE_NUM_THREADS": str(threads)},
        )
        self._of_thread = threading.local()

    def __call__(self, texts: Sequence[Ids]) -> Vectors:
        """Embed texts; arguments and result as for `index.encoders.bert.BertForward`."""
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        longest = max(map(len, texts))
        ids = np.zeros((len(texts), longest), dtype=np.int64)
        mask = np.zeros((len(texts), longest), dtype=np.float32)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        vectors: Vectors = next(iter(self._of_thread.request.infer([ids, mask]).values())).copy()
        return vectors


class _Padded(torch.nn.Module):
    """The forward pass on a padded batch, in operations that OpenVINO converts."""

    def __init__(self, weights: BertWeights) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, ids: Any, mask: Any) -> Any:
        weights = self.weights
        width = weights.words.shape[1]
        hidden = functional.embedding(ids, weights.words) + weights.positions[: ids.shape[1]]
        hidden = functional.layer_norm(hidden, (width,), *weights.norm, weights.epsilon)
        hide = (1.0 - mask)[:, None, None, :] * _HIDDEN_SCORE
        for layer in weights.layers:
            split = functional.linear(hidden, *layer.qkv).view(
                ids.shape[0], ids.shape[1], 3, weights.heads, width // weights.heads
            )
            query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
            mixed = torch.softmax(query @ key.transpose(-1, -2) + hide, -1) @ value
            mixed = mixed.transpose(1, 2).reshape(ids.shape[0], ids.shape[1], width)
            added = functional.linear(mixed, *layer.out) + hidden
            hidden = functional.layer_norm(added, (width,), *layer.out_norm, weights.epsilon)
            added = functional.linear(functional.gelu(functional.linear(hidden, *layer.up)), *layer.down) + hidden
            hidden = functional.layer_norm(added, (width,), *layer.down_norm, weights.epsilon)
        if weights.pooling == "cls":
            return hidden[:, 0]
        seen = mask[:, :, None]
        return (hidden * seen).sum(1) / seen.sum(1)


def _graph(openvino: Any, core: Any, weights: BertWeights, identity: str, cache: Path | None) -> Any:
    if cache is None:
        return _exported(openvino, weights)
    name = blake3(f"{identity} {openvino.__version__} {EXPORT}".encode()).hexdigest()[:24]

    def export(folder: Path) -> None:
        openvino.save_model(_exported(openvino, weights), str(folder / "graph.xml"), compress_to_fp16=False)

    return core.read_model(str(converted_once(cache / "openvino" / name, export) / "graph.xml"))


def _exported(openvino: Any, weights: BertWeights) -> Any:
    example = (torch.ones(2, 8, dtype=torch.int64), torch.ones(2, 8))
    with torch.no_grad():
        return openvino.convert_model(
            _Padded(weights).eval(), example_input=example, input=[openvino.PartialShape([-1, -1])] * 2
        )
