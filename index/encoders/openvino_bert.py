"""The forward pass of BERT sentence encoders in OpenVINO, an optional extra (`pip install ragft[openvino]`).

Knows the weights of `index.encoders.bert` and token ids, nothing of texts. The graph is exported here, pooling inside,
so that no exporter is needed that asks for older versions of transformers.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from torch.nn import functional

from index.durable import publish_folder
from index.encoders.bert import BertWeights, Ids, Vectors
from index.errors import IndexFault

EXPORT = 1
"""Raised when the same weights would give another graph: it is part of the cached folder's name."""

_HIDDEN_SCORE = -1e4


class OpenVinoBert:
    """A BERT sentence encoder compiled by OpenVINO; safe to call from several threads."""

    def __init__(self, weights: BertWeights, dtype: str, threads: int, identity: str, cache: Path | None) -> None:
        """Export the graph, or read it from the cache, and compile it.

        Args:
            weights: In float32.
            dtype: `float32` or `bfloat16`, the precision that products run in.
            threads: How many calls may run at once, each on one thread.
            identity: Names the weights in the cache.
            cache: Folder for exported graphs; None to keep none.

        Raises:
            IndexFault: OpenVINO is not installed.
        """
        try:
            import openvino
        except ImportError as error:
            raise IndexFault(
                "index.backend is openvino, but OpenVINO is not installed; run `pip install ragft[openvino]`, "
                "or set index.backend to torch."
            ) from error
        core = openvino.Core()
        graph = _graph(openvino, core, weights, identity, cache)
        precision = {"float32": "f32", "bfloat16": "bf16"}[dtype]
        self._compiled = core.compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "NUM_STREAMS": str(threads),
                "INFERENCE_NUM_THREADS": str(threads),
            },
        )
        self._own = threading.local()

    def __call__(self, texts: Sequence[Ids]) -> Vectors:
        """As `index.encoders.bert.BertForward`."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        longest = max(map(len, texts))
        ids = np.zeros((len(texts), longest), dtype=np.int64)
        mask = np.zeros((len(texts), longest), dtype=np.float32)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        vectors: Vectors = next(iter(self._own.request.infer([ids, mask]).values())).copy()
        return vectors


class _Padded(torch.nn.Module):
    """The forward pass on a padded batch, in operations that every exporter knows."""

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
            qkv, qkv_bias, out, out_bias, norm, norm_bias, up, up_bias, down, down_bias, last, last_bias = layer
            split = functional.linear(hidden, qkv, qkv_bias).view(
                ids.shape[0], ids.shape[1], 3, weights.heads, width // weights.heads
            )
            query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
            mixed = torch.softmax(query @ key.transpose(-1, -2) + hide, -1) @ value
            mixed = mixed.transpose(1, 2).reshape(ids.shape[0], ids.shape[1], width)
            hidden = functional.layer_norm(
                functional.linear(mixed, out, out_bias) + hidden, (width,), norm, norm_bias, weights.epsilon
            )
            spread = functional.gelu(functional.linear(hidden, up, up_bias))
            hidden = functional.layer_norm(
                functional.linear(spread, down, down_bias) + hidden, (width,), last, last_bias, weights.epsilon
            )
        if weights.pooling == "cls":
            return hidden[:, 0]
        seen = mask[:, :, None]
        return (hidden * seen).sum(1) / seen.sum(1)


def _graph(openvino: Any, core: Any, weights: BertWeights, identity: str, cache: Path | None) -> Any:
    if cache is None:
        return _exported(openvino, weights)
    name = blake3(f"{identity} {openvino.__version__} {EXPORT}".encode()).hexdigest()[:24]
    final = cache / "openvino" / name
    if not final.is_dir():
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=final.parent))
        try:
            openvino.save_model(_exported(openvino, weights), str(temporary / "graph.xml"), compress_to_fp16=False)
            temporary.chmod(0o755)  # mkdtemp lets only the owner in
            if not final.is_dir():  # another process may have been quicker
                publish_folder(temporary, final)
        except OSError:
            if not final.is_dir():
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return core.read_model(str(final / "graph.xml"))


def _exported(openvino: Any, weights: BertWeights) -> Any:
    example = (torch.ones(2, 8, dtype=torch.int64), torch.ones(2, 8))
    with torch.no_grad():
        return openvino.convert_model(
            _Padded(weights).eval(), example_input=example, input=[openvino.PartialShape([-1, -1])] * 2
        )
