"""`/v1/embeddings`: vectors of the deployed index's encoder."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from litestar import MediaType, Request, Response, post
from msgspec import Meta

from index.encoders.encoder import TextEncoder, Vectors
from index.search.long_queries import encode_queries
from serving.api.bodies import read_body
from serving.deployment import Deployed, Ready
from serving.errors import ApiError
from serving.limits import until_disconnect

MAX_INPUTS = 2048
_AT_ONCE = 32
"""Texts until the next client has its turn, and until it is seen that one has gone: a thread cannot be stopped."""

Text = Annotated[str, Meta(min_length=1)]


class EmbeddingsBody(msgspec.Struct, forbid_unknown_fields=True):
    """A request to `/v1/embeddings`.

    Attributes:
        model: the encoder's name, as configured; `domain/name` where the server has several domains.
        input: a text or several; token ids would be those of another tokenizer and are refused.
        dimensions: keep so many leading dimensions, scaled to unit length again; only encoders that were trained for
            it lose little.
        input_type: which of the encoder's prefixes is put before the texts. Only passages have a longest length.
    """

    model: str
    input: Text | Annotated[list[Text], Meta(min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None
    input_type: Literal["passage", "query"] = "passage"


@post("/v1/embeddings", opt={"scope": "retrieve", "body": EmbeddingsBody}, status_code=200)
async def embeddings(request: Request[Any, Any, Any], deployment: Deployed, pipeline: Ready) -> Response[bytes]:
    """Vectors of texts, of unit length, from the encoder that the index is searched with."""
    asked = await read_body(request, EmbeddingsBody)
    if pipeline.retriever is None:
        raise ApiError(404, "No deployed setup retrieves, so there is no encoder.")
    encoder = pipeline.retriever.encoder
    configured = deployment.app.config.index.encoder.model
    name = f"{deployment.prefix}{Path(configured).name}"
    if asked.model not in (name, f"{deployment.prefix}{configured}"):
        raise ApiError(404, f"The model {asked.model[:80]!r} is no encoder here; there is {name}.", "model")
    if asked.dimensions is not None and asked.dimensions > encoder.dimension:
        raise ApiError(400, f"The encoder has {encoder.dimension} dimensions and no more.", "dimensions")
    texts = [asked.input] if isinstance(asked.input, str) else asked.input

    async def embed() -> tuple[list[Vectors], int]:
        found, tokens = [], 0
        for first in range(0, len(texts), _AT_ONCE):
            some = texts[first : first + _AT_ONCE]
            async with deployment.shared.embedding_turn:
                vectors, count = await asyncio.to_thread(_embed, encoder, some, first, asked.input_type)
            found.append(vectors)
            tokens += count
        return found, tokens

    found, tokens = await until_disconnect(request, embed)
    vectors = _leading(np.concatenate(found), asked.dimensions)
    body = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": number, "embedding": _written(vector, asked.encoding_format)}
            for number, vector in enumerate(vectors)
        ],
        "model": name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Response(msgspec.json.encode(body), media_type=MediaType.JSON, status_code=200)


def _embed(encoder: TextEncoder, texts: Sequence[str], first: int, kind: str) -> tuple[Vectors, int]:
    """Vectors of texts, and how many tokens they have; `first` is the number of the first one in the request.

    Raises:
        ApiError: 400: a passage is longer than the encoder reads.
    """
    ids = encoder.tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
    lengths = [len(own) for own in ids]
    if kind == "query":
        return encode_queries(encoder, texts), sum(lengths)
    for number, length in enumerate(lengths, start=first):
        if length > encoder.max_tokens:
            raise ApiError(
                400, f"The text has {length} tokens, and the encoder reads {encoder.max_tokens}: send it in parts.",
                f"input.{number}",
            )  # fmt: skip
    return encoder.encode_passages(texts), sum(lengths)


def _leading(vectors: Vectors, dimensions: int | None) -> Vectors:
    """The leading dimensions of vectors, scaled to unit length; (n, dimensions) float32."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    leading = vectors[:, :dimensions]
    unit: Vectors = leading / np.maximum(np.linalg.norm(leading, axis=1, keepdims=True), 1e-12)
    return unit


def _written(vector: Vectors, form: str) -> str | list[float]:
    """A vector as a list, or as the base64 of its little-endian float32 values."""
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    values: list[float] = vector.tolist()
    return values
