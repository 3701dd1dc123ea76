"""Encodes queries, also those that are longer than the encoder's window.

An encoder drops what is beyond its window without a word. A longer query is cut in parts that fit, and its vector is
the mean of theirs, so that its end counts as much as its beginning. Lexical search takes every query whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from index.encoders.encoder import TextEncoder, Vectors

_SPECIAL_TOKENS = 8
"""More than any encoder puts around a text."""

_MOST_CHARACTERS = 20_000
"""Of a longer query, only the two ends are encoded, so that one request cannot keep a server busy for long: this takes
about 20 windows of 256 tokens."""


def encode_queries(encoder: TextEncoder, queries: Sequence[str]) -> Vectors:
    """Vectors of queries of any length: (n, dimension) float32, rows of unit length."""
    parts = [parts_of_query(encoder, query) for query in queries]
    vectors = encoder.encode_queries([part for own in parts for part in own])
    if len(vectors) == len(queries):
        return vectors
    firsts = np.cumsum([0, *(len(own) for own in parts[:-1])])
    sums = np.add.reduceat(vectors, firsts, axis=0)
    mean: Vectors = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return mean


def parts_of_query(encoder: TextEncoder, query: str) -> list[str]:
    """The query in parts that the encoder reads whole, about equally long; one for nearly all queries."""
    prefix = str(getattr(encoder, "query_prefix", ""))
    window = encoder.max_tokens
    if len(f"{prefix}{query}".encode()) + _SPECIAL_TOKENS <= window:  # a token has at least one byte
        return [query]
    if len(query) > _MOST_CHARACTERS:
        query = f"{query[: _MOST_CHARACTERS // 2]} {query[-_MOST_CHARACTERS // 2 :]}"
    return _halved(encoder, query, window - len(encoder.tokenizer(prefix)["input_ids"]))


def note_on_length(encoder: TextEncoder, query: str) -> str | None:
    """What to tell whoever asked a query that is longer than the encoder's window; None if it is not."""
    parts = len(parts_of_query(encoder, query))
    if parts == 1:
        return None
    return (
        f"The query is longer than the {encoder.max_tokens} tokens that the encoder reads at once, so it was encoded "
        f"in {parts} parts; a shorter query finds more exactly."
    )


def _halved(encoder: TextEncoder, query: str, room: int) -> list[str]:
    """The query, cut in two until every part has at most `room` tokens."""
    offsets = encoder.tokenizer(
        query, add_special_tokens=False, return_offsets_mapping=True, truncation=False, padding=False, verbose=False
    )["offset_mapping"]
    if len(offsets) <= max(room, 1):
        return [query]
    middle = _between_words(query, int(offsets[len(offsets) // 2][0]))
    if not 0 < middle < len(query):
        return [query]
    return [*_halved(encoder, query[:middle], room), *_halved(encoder, query[middle:], room)]


def _between_words(text: str, place: int) -> int:
    """The start of the word at this place; the place itself if nothing parts words in the half of the text before."""
    before = text[place // 2 : place]
    if before[-1:].isspace():
        return place
    words = before.rsplit(maxsplit=1)
    return place - len(words[1]) if len(words) == 2 else place
