"""The sizes that a passage is bounded in: tokens of the encoder, characters, and tokens of the model that reads it.

Each measure says how long a text is, and where in a text its units begin, so that the text can be cut by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

LETTERS_PER_TOKEN = 4
"""An unknown word counts one token for so many of its characters, about as many as a token of a known word has."""

_WHOLE: dict[str, Any] = {"truncation": False, "padding": False, "verbose": False}


class Measure(Protocol):
    """One way to measure texts."""

    @property
    def limit(self) -> int:
        """The longest passage."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """The length of each text."""

    def excess(self, texts: Sequence[str], limit: int) -> list[int]:
        """By how much each text is longer than a limit; at most 0 if it is not."""

    def starts(self, text: str) -> Sequence[int]:
        """Where each unit of a text begins."""


@dataclass(frozen=True, slots=True)
class Characters:
    """Measures in characters: a word that no tokenizer takes apart is bounded, too."""

    limit: int

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def excess(self, texts: Sequence[str], limit: int) -> list[int]:
        return [len(text) - limit for text in texts]

    def starts(self, text: str) -> Sequence[int]:
        return range(len(text))


@dataclass(frozen=True, slots=True)
class EncoderLength:
    """Length of a text in tokens of the encoder, special tokens included; how many of them are unknown words."""

    tokens: int
    unknown: int = 0

    @property
    def is_mostly_unknown(self) -> bool:
        return self.unknown * 2 > self.tokens


@dataclass(frozen=True)
class EncoderTokens:
    """Measures in the encoder's tokens. What it does not know is one token to it, however long, and counts by length.

    Attributes:
        tokenizer: a fast tokenizer of transformers (one that returns offsets).
    """

    tokenizer: Any
    limit: int

    def count(self, texts: Sequence[str]) -> list[int]:
        return [length.tokens for length in self.lengths(texts)]

    def excess(self, texts: Sequence[str], limit: int) -> list[int]:
        return [length - limit for length in self.count(texts)]

    def lengths(self, texts: Sequence[str]) -> list[EncoderLength]:
        if not texts:
            return []
        ids = self.tokenizer(list(texts), **_WHOLE)["input_ids"]
        found = [EncoderLength(len(tokens)) for tokens in ids]
        unknown = [number for number, tokens in enumerate(ids) if self._unknown in tokens]
        if unknown:
            encoded = self.tokenizer([texts[number] for number in unknown], return_offsets_mapping=True, **_WHOLE)
            for number, tokens, offsets in zip(unknown, encoded["input_ids"], encoded["offset_mapping"], strict=True):
                found[number] = self._length(tokens, offsets)
        return found

    def starts(self, text: str) -> Sequence[int]:
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, **_WHOLE)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        if self._unknown not in ids:
            return [start for start, _ in offsets]
        return [
            place
            for token, (start, end) in zip(ids, offsets, strict=True)
            for place in (range(start, end, LETTERS_PER_TOKEN) if token == self._unknown else (start,))
        ]

    @cached_property
    def _unknown(self) -> int | None:
        """Id of the token that stands for any unknown word; None if the tokenizer has none."""
        return getattr(self.tokenizer, "unk_token_id", None)

    def _length(self, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> EncoderLength:
        spans = [end - start for token, (start, end) in zip(ids, offsets, strict=True) if token == self._unknown]
        units = sum(-(-span // LETTERS_PER_TOKEN) for span in spans)
        return EncoderLength(len(ids) - len(spans) + units, units)


@dataclass(frozen=True)
class ModelTokenizer:
    """The tokenizer of the model that reads the passages.

    Attributes:
        fingerprint: identifies it, and thereby how it counts.
        load: gives the fast tokenizer of transformers; called when the first text must be counted.
    """

    fingerprint: str
    load: Callable[[], Any]


@dataclass(frozen=True)
class ModelTokens:
    """Measures in tokens of the model that reads the passages."""

    model: ModelTokenizer
    limit: int

    def count(self, texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        return [len(ids) for ids in self._tokenizer(list(texts), add_special_tokens=False, **_WHOLE)["input_ids"]]

    def excess(self, texts: Sequence[str], limit: int) -> list[int]:
        """See `Measure`. Only texts of more bytes than the limit are counted: no model makes more tokens of a text."""
        found = [len(text.encode()) - limit for text in texts]
        long = [number for number, excess in enumerate(found) if excess > 0]
        for number, length in zip(long, self.count([texts[number] for number in long]), strict=True):
            found[number] = length - limit
        return found

    def starts(self, text: str) -> Sequence[int]:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, **_WHOLE)
        return [start for start, _ in encoded["offset_mapping"]]

    @cached_property
    def _tokenizer(self) -> Any:
        return self.model.load()
