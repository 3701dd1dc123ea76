"""The forward pass of BERT sentence encoders on a CPU, without padding.

Knows tensors and token ids, nothing of texts. Covers the architecture of MiniLM, BGE, E5 and GTE encoders: `BertModel`
with absolute positions and mean or first-token pooling. All tokens of a batch are rows of one matrix, so that no
padding is multiplied; only the attention treats each text separately. Matrix products run in the encoder's dtype,
the sums of layer norms and pooling in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

_POOLINGS = ("mean", "cls")
_ROWS_MULTIPLE = 64
"""Batches are filled up to a multiple of this many rows: oneDNN generates code for every new shape of a product."""

_SCORES_AT_ONCE = 1 << 19
"""Attention scores that are computed before they are used: 1 MiB in bfloat16, which stays in a core's cache."""

_MEMORY_KEPT = 31 << 20
"""Bytes of one block; glibc adapts its threshold only to blocks below 32 MiB."""

_Product = TypeVar("_Product")


class Affine(NamedTuple):
    """Weight and bias of a linear layer or of a layer norm."""

    weight: Any
    bias: Any


class Layer(NamedTuple, Generic[_Product]):
    """Attention from `qkv` to `out`, then a feed-forward network from `up` to `down`.

    A layer norm follows each of the two and its residual. The queries in `qkv` are scaled already.
    """

    qkv: _Product
    out: _Product
    out_norm: Affine
    up: _Product
    down: _Product
    down_norm: Affine


@dataclass(frozen=True)
class BertWeights:
    """The weights of a BERT sentence encoder in float32, most of them shared with the model they were taken from.

    Attributes:
        words: (vocabulary, hidden).
        positions: (longest text, hidden), with the embedding of token type 0 added.
        norm: layer norm of the embeddings.
        epsilon: added to the variance in layer norms.
        pooling: `mean` or `cls`.
    """

    words: Any
    positions: Any
    norm: Affine
    layers: tuple[Layer[Affine], ...]
    heads: int
    epsilon: float
    pooling: str


def uncovered(model: Any) -> str:
    """Why this module cannot run a sentence-transformers model, as a clause; empty if it can."""
    kinds = [type(module).__name__ for module in model]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        return f"it consists of {', '.join(kinds)}"
    bert: Any = getattr(model[0], "auto_model", None)
    pooling = model[1]
    if type(bert).__name__ != "BertModel":
        return f"its transformer is a {type(bert).__name__}"
    config = bert.config
    if getattr(config, "position_embedding_type", "absolute") != "absolute" or config.is_decoder:
        return "its attention is not BERT's own"
    if config.hidden_act != "gelu":
        return f"its activation is {config.hidden_act}"
    if pooling.pooling_mode not in _POOLINGS:
        return f"its pooling is {pooling.pooling_mode}"
    if model.tokenizer.padding_side != "right":
        return "it pads on the left"
    return ""


def weights_of(model: Any) -> BertWeights:
    """The weights of a covered sentence-transformers model that was loaded in float32."""
    bert, config = model[0].auto_model, model[0].auto_model.config
    embeddings = bert.embeddings
    scale = (config.hidden_size // config.num_attention_heads) ** -0.5
    return BertWeights(
        embeddings.word_embeddings.weight.detach(),
        (embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]).detach(),
        _affine(embeddings.LayerNorm),
        tuple(_layer(layer, scale) for layer in bert.encoder.layer),
        config.num_attention_heads,
        config.layer_norm_eps,
        model[1].pooling_mode,
    )


def _layer(layer: Any, scale: float) -> Layer[Affine]:
    query, key, value = (_affine(getattr(layer.attention.self, name)) for name in ("query", "key", "value"))
    # The queries are scaled instead of the scores: one pass less over the largest matrix.
    weight = torch.cat([query.weight * scale, key.weight, value.weight])
    bias = torch.cat([query.bias * scale, key.bias, value.bias])
    return Layer(
        qkv=Affine(weight, bias),
        out=_affine(layer.attention.output.dense),
        out_norm=_affine(layer.attention.output.LayerNorm),
        up=_affine(layer.intermediate.dense),
        down=_affine(layer.output.dense),
        down_norm=_affine(layer.output.LayerNorm),
    )


def _affine(module: Any) -> Affine:
    return Affine(module.weight.detach(), module.bias.detach())


class _Products:
    """`x @ W.T + b` with the weights packed in oneDNN's own order, where torch offers that.

    5 to 10 % faster than `linear`, and the activation or the residual is applied while the result is still in
    registers. The operators are those that torch's own compiler emits; where they are missing, or refuse the
    number format, `linear` computes the same.
    """

    def __init__(self, affine: Affine, rows: int) -> None:
        self._weight, self._bias = affine
        self._packed = None
        if self._weight.dtype == torch.bfloat16:
            try:
                packed = torch.ops.mkldnn._reorder_linear_weight(self._weight, rows)
                probe = torch.zeros(1, self._weight.shape[1], dtype=torch.bfloat16)
                torch.ops.mkldnn._linear_pointwise(probe, packed, self._bias, "gelu", [], "none")
            except (AttributeError, RuntimeError):
                return
            self._packed, self._weight = packed, None

    def plain(self, rows: Any) -> Any:
        if self._packed is None:
            return functional.linear(rows, self._weight, self._bias)
        return torch.ops.mkldnn._linear_pointwise(rows, self._packed, self._bias, "none", [], "")

    def gelu(self, rows: Any) -> Any:
        if self._packed is None:
            return functional.gelu(functional.linear(rows, self._weight, self._bias))
        return torch.ops.mkldnn._linear_pointwise(rows, self._packed, self._bias, "gelu", [], "none")

    def added(self, rows: Any, residual: Any) -> Any:
        if self._packed is None:
            return functional.linear(rows, self._weight, self._bias) + residual
        return torch.ops.mkldnn._linear_pointwise.binary(rows, residual, self._packed, self._bias, "add")


class BertForward:
    """A BERT sentence encoder ready to run; safe to call from several threads."""

    def __init__(self, weights: BertWeights, dtype: str, rows: int) -> None:
        """Convert the weights to `float32` or `bfloat16` and pack them for batches of about so many rows (tokens)."""
        self._weights = weights
        self._dtype = getattr(torch, dtype)
        self._layers = [self._packed(layer, rows) for layer in weights.layers]
        # glibc returns large blocks to the system until it has seen a larger one freed. Without this, the activations
        # of every batch were mapped and zeroed again, which took a fifth of the time (600,000 page faults for 256
        # texts).
        torch.empty(_MEMORY_KEPT, dtype=torch.uint8)

    def _packed(self, layer: Layer[Affine], rows: int) -> Layer[_Products]:
        layer = Layer(*(Affine(*(tensor.to(self._dtype) for tensor in affine)) for affine in layer))
        qkv, out, up, down = (_Products(affine, rows) for affine in (layer.qkv, layer.out, layer.up, layer.down))
        return Layer(qkv, out, layer.out_norm, up, down, layer.down_norm)

    def __call__(self, texts: Sequence[Ids]) -> Vectors:
        """Embed texts, given as token ids with the special ones: (n, hidden) float32, pooled, not yet of unit length.

        Texts of equal length are attended to together where they are neighbours.
        """
        lengths = [len(ids) for ids in texts]
        with torch.inference_mode():
            hidden = self._embedded(texts)
            blocks = [(length, len(list(same))) for length, same in groupby(lengths)]
            for layer in self._layers:
                mixed = self._attend(layer.qkv.plain(hidden), blocks)
                hidden = self._normalised(layer.out.added(mixed, hidden), layer.out_norm)
                hidden = self._normalised(layer.down.added(layer.up.gelu(hidden), hidden), layer.down_norm)
            return self._pooled(hidden, lengths)

    def _embedded(self, texts: Sequence[Ids]) -> Any:
        """(rows, hidden): one row for each token, then unused rows up to `_ROWS_MULTIPLE`."""
        count = sum(map(len, texts))
        spare = -count % _ROWS_MULTIPLE
        ids = torch.from_numpy(np.concatenate([*texts, np.zeros(spare, dtype=np.int32)]))
        places = torch.from_numpy(np.concatenate([*(np.arange(len(ids)) for ids in texts), np.zeros(spare, np.int64)]))
        weights = self._weights
        total = functional.embedding(ids, weights.words) + functional.embedding(places, weights.positions)
        return functional.layer_norm(total, total.shape[-1:], *weights.norm, weights.epsilon).to(self._dtype)

    def _normalised(self, rows: Any, norm: Affine) -> Any:
        return functional.layer_norm(rows, rows.shape[-1:], *norm, self._weights.epsilon)

    def _attend(self, qkv: Any, blocks: Sequence[tuple[int, int]]) -> Any:
        """(rows, hidden): for every token the weighted values of its own text."""
        rows, hidden = qkv.shape[0], qkv.shape[1] // 3
        heads = self._weights.heads
        mixed = torch.zeros(rows, hidden, dtype=qkv.dtype)
        start = 0
        for length, count in blocks:
            at_once = max(1, _SCORES_AT_ONCE // (heads * length * length))
            for first in range(0, count, at_once):
                texts = min(at_once, count - first)
                end = start + length * texts
                part = qkv[start:end].view(texts, length, 3, heads, -1)
                query, key, value = part.permute(2, 0, 3, 1, 4)
                result = _attention(query, key, value).transpose(1, 2)
                mixed[start:end].view(result.shape).copy_(result)
                start = end
        return mixed

    def _pooled(self, hidden: Any, lengths: Sequence[int]) -> Vectors:
        pieces = hidden[: sum(lengths)].split(list(lengths))
        if self._weights.pooling == "cls":
            pooled = torch.stack([piece[0] for piece in pieces]).float()
        else:
            pooled = torch.stack([piece.mean(0, dtype=torch.float32) for piece in pieces])
        vectors: Vectors = pooled.numpy()
        return vectors


def _attention(query: Any, key: Any, value: Any) -> Any:
    """Attention of texts of equal length with scaled queries: (count, heads, length, width)."""
    if query.dtype == torch.float32:
        return functional.scaled_dot_product_attention(query, key, value, scale=1.0)
    scores = torch.matmul(query, key.transpose(-1, -2))
    # oneDNN's softmax takes 0.2 ms, torch's own 0.3 to 0.65 ms (12 heads, 190 tokens).
    shares = torch.softmax(scores.to_mkldnn(), -1).to_dense() if _onednn_has_softmax() else torch.softmax(scores, -1)
    return torch.matmul(shares, value)


@cache
def _onednn_has_softmax() -> bool:
    """Whether oneDNN computes a bfloat16 softmax here; on processors that emulate bfloat16 it refuses."""
    try:
        torch.softmax(torch.zeros(1, 1, dtype=torch.bfloat16).to_mkldnn(), -1)
    except RuntimeError:
        return False
    return True
