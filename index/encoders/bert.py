"""The forward pass of BERT sentence encoders on a CPU, without padding.

Knows tensors and token ids, nothing of texts. Covers what MiniLM, BGE, E5 and GTE encoders are: `BertModel` with
absolute positions and mean or first-token pooling. The tokens of a batch lie one after another in one matrix, so
that nothing is multiplied that is not a token; only the attention looks at each text alone. Matrix products run in
bfloat16 where the processor has it, sums of layer norms and pooling in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

_POOLINGS = ("mean", "cls")
_ROWS_MULTIPLE = 64
"""Rows of a batch are filled up to a multiple: oneDNN generates code for every new shape of a product."""

_SCORES_AT_ONCE = 1 << 19
"""Attention scores that are computed before they are used: 1 MiB in bfloat16, which stays in a core's cache."""

_MEMORY_KEPT = 31 << 20
"""Bytes, below the 32 MiB that is the most that glibc learns from."""


@dataclass(frozen=True)
class BertWeights:
    """What a BERT sentence encoder consists of, in float32; layers share the tensors of the model they come from.

    Attributes:
        words: (vocabulary, hidden).
        positions: (longest text, hidden), the type of every token added.
        norm: Weight and bias of the first layer norm.
        layers: For each layer the tensors of `LAYER`, in that order.
        heads: Attention heads.
        epsilon: Of the layer norms.
        pooling: `mean` or `cls`.
    """

    words: Any
    positions: Any
    norm: tuple[Any, Any]
    layers: tuple[tuple[Any, ...], ...]
    heads: int
    epsilon: float
    pooling: str


LAYER = ("attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense")


def uncovered(model: Any) -> str:
    """Why this module cannot run a sentence-transformers model; empty if it can."""
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
    layers = []
    for layer in bert.encoder.layer:
        attention = layer.attention.self
        # The scale of the scores is put into the queries: one pass less over the largest matrix.
        projections = ((attention.query, scale), (attention.key, 1.0), (attention.value, 1.0))
        packed = (
            torch.cat([linear.weight * factor for linear, factor in projections]),
            torch.cat([linear.bias * factor for linear, factor in projections]),
        )
        parts = [layer.get_submodule(name) for name in (*LAYER, "output.LayerNorm")]
        layers.append((*packed, *(tensor for part in parts for tensor in (part.weight, part.bias))))
    return BertWeights(
        embeddings.word_embeddings.weight.detach(),
        (embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]).detach(),
        (embeddings.LayerNorm.weight.detach(), embeddings.LayerNorm.bias.detach()),
        tuple(tuple(tensor.detach() for tensor in layer) for layer in layers),
        config.num_attention_heads,
        config.layer_norm_eps,
        model[1].pooling_mode,
    )


class _Products:
    """`x @ W.T + b` with the weights in the order that oneDNN multiplies them in, where torch offers that.

    5 to 10 % faster than `linear`, and the activation and the residual are added while the result is still in
    registers. The operators are those that torch's own compiler emits; where they are missing, or refuse the
    number format, `linear` computes the same.
    """

    def __init__(self, weight: Any, bias: Any, rows: int) -> None:
        self._bias = bias
        self._weight = weight
        self._packed = None
        if weight.dtype == torch.bfloat16:
            try:
                packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
                probe = torch.zeros(1, weight.shape[1], dtype=weight.dtype)
                torch.ops.mkldnn._linear_pointwise(probe, packed, bias, "gelu", [], "none")
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
        """Pack the weights.

        Args:
            weights: In float32.
            dtype: `float32` or `bfloat16`.
            rows: Tokens in a usual batch; decides only about speed.
        """
        self._weights = weights
        self._dtype = getattr(torch, dtype)
        self._layers = []
        for layer in weights.layers:
            qkv, qkv_bias, out, out_bias, norm, norm_bias, up, up_bias, down, down_bias, last, last_bias = (
                tensor.to(self._dtype) for tensor in layer
            )
            products = [
                _Products(weight, bias, rows)
                for weight, bias in ((qkv, qkv_bias), (out, out_bias), (up, up_bias), (down, down_bias))
            ]
            self._layers.append((products, (norm, norm_bias), (last, last_bias)))
        # glibc hands large blocks back to the system until it has seen a larger one freed. Without this every batch
        # has its activations mapped and zeroed anew, which took a fifth of the time (600,000 page faults for 256
        # texts).
        torch.empty(_MEMORY_KEPT, dtype=torch.uint8)

    def __call__(self, texts: Sequence[Ids]) -> Vectors:
        """Embed texts.

        Args:
            texts: Token ids of each, special ones included; next to each other if of one length.

        Returns:
            (n, hidden) float32, pooled, not yet of unit length.
        """
        lengths = [len(ids) for ids in texts]
        with torch.inference_mode():
            hidden = self._embedded(texts)
            blocks = [(length, len(list(same))) for length, same in groupby(lengths)]
            for products, norm, last in self._layers:
                qkv, out, up, down = products
                mixed = self._attend(qkv.plain(hidden), blocks)
                hidden = self._normalised(out.added(mixed, hidden), norm)
                hidden = self._normalised(down.added(up.gelu(hidden), hidden), last)
            return self._pooled(hidden, lengths)

    def _embedded(self, texts: Sequence[Ids]) -> Any:
        """(rows, hidden): one row for each token, then rows that nobody reads."""
        count = sum(map(len, texts))
        spare = -count % _ROWS_MULTIPLE
        ids = torch.from_numpy(np.concatenate([*texts, np.zeros(spare, dtype=np.int32)]))
        places = torch.from_numpy(np.concatenate([*(np.arange(len(ids)) for ids in texts), np.zeros(spare, np.int64)]))
        weights = self._weights
        total = functional.embedding(ids, weights.words) + functional.embedding(places, weights.positions)
        return functional.layer_norm(total, total.shape[-1:], *weights.norm, weights.epsilon).to(self._dtype)

    def _normalised(self, rows: Any, norm: tuple[Any, Any]) -> Any:
        return functional.layer_norm(rows, rows.shape[-1:], *norm, self._weights.epsilon)

    def _attend(self, qkv: Any, blocks: Sequence[tuple[int, int]]) -> Any:
        """(rows, hidden): for every token the values of its own text, weighted."""
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
    """Attention of texts of one length, the scale being in the queries: (count, heads, length, width)."""
    if query.dtype == torch.float32:
        return functional.scaled_dot_product_attention(query, key, value, scale=1.0)
    scores = torch.matmul(query, key.transpose(-1, -2))
    return torch.matmul(_softmax(scores), value)


def _softmax(scores: Any) -> Any:
    """Softmax of bfloat16 scores over their last axis.

    oneDNN's took 0.2 ms where torch's own took 0.3 to 0.65 (12 heads, 190 tokens).
    """
    return torch.softmax(scores.to_mkldnn(), -1).to_dense() if _onednn_has_softmax() else torch.softmax(scores, -1)


@cache
def _onednn_has_softmax() -> bool:
    """Whether oneDNN computes a bfloat16 softmax here; on processors that emulate bfloat16 it refuses."""
    try:
        torch.softmax(torch.zeros(1, 1, dtype=torch.bfloat16).to_mkldnn(), -1)
    except RuntimeError:
        return False
    return True
