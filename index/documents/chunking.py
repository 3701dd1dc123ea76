"""Splits documents into chunks that fit the encoder's window, and a prompt of the model that reads them.

Knows documents and tokenizers, nothing of vectors. Three promises hold for every text: a chunk is a slice of its
document, no passage is longer than any of the measures allows, and no visible character is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

from blake3 import blake3

from index.documents.document import Document, Metadata
from index.documents.lengths import (
    Characters,
    EncoderLength,
    EncoderTokens,
    Measure,
    ModelTokenizer,
    ModelTokens,
)
from index.documents.markdown import headings
from index.documents.sections import RULES, Section, Surroundings, has_body, section_headings, sections
from index.documents.windows import Ruler, Windows

__all__ = [
    "CHUNKER_VERSION",
    "Chunk",
    "ChunkSettings",
    "Chunker",
    "Cut",
    "chunk_document",
    "passage_of",
    "section_headings",
]

CHUNKER_VERSION = 2
"""Increased whenever documents are split differently; a refresh splits documents of another version again."""

SMALLEST_WINDOW = 32
"""Smallest `max_tokens`; in fewer, a heading path and one long word may not fit together."""

CHARACTERS_PER_TOKEN = 16
"""Characters that a passage may have for each of its `max_tokens`: several times what known words take."""

MODEL_TOKENS_PER_TOKEN = 2
"""Tokens of the model that a passage may have for each of its `max_tokens`, unless the settings say otherwise."""

PATH_SEPARATOR = " > "
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """How documents are split; part of what identifies a snapshot.

    Attributes:
        max_tokens: longest passage in tokens of the encoder, including special tokens and the heading path.
        overlap: tokens that consecutive chunks of a section share.
        max_characters: longest passage in characters; None: `CHARACTERS_PER_TOKEN` for each of `max_tokens`.
        max_model_tokens: longest passage in tokens of the model that reads it; None: its tokens are not counted.
        model_tokenizer: fingerprint of the tokenizer that counts them.
    """

    max_tokens: int
    overlap: int = 0
    max_characters: int | None = None
    max_model_tokens: int | None = None
    model_tokenizer: str = ""

    def __post_init__(self) -> None:
        if self.max_tokens < SMALLEST_WINDOW:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be at least {SMALLEST_WINDOW}")
        if not 0 <= self.overlap <= self.max_tokens // 4:
            raise ValueError(
                f"overlap is {self.overlap}; it must lie between 0 and a quarter of max_tokens ({self.max_tokens // 4})"
            )
        for name in ("max_characters", "max_model_tokens"):
            value = getattr(self, name)
            if value is not None and value < self.max_tokens:
                raise ValueError(f"{name} is {value}; it must be at least max_tokens ({self.max_tokens})")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A slice of a document, `document.text[start:end]`, with the headings above it.

    Attributes:
        heading_path: the title and the headings down to the chunk's own; shortened if they are very long.
        hash: blake3 of the passage, in hex; equal passages have equal vectors.
        page: number of the page on which it begins, from 1; None if the document has no pages.
        labels: callers that hold any of these may see it; empty: everybody may.
        lead: what the passage repeats from above the slice: the column names of a table that was split, or the list
            items above a nested one; empty if there is nothing to repeat.
    """

    document_id: str
    title: str
    heading_path: tuple[str, ...]
    start: int
    end: int
    text: str
    hash: str
    page: int | None = None
    metadata: Metadata = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    lead: str = ""

    @property
    def id(self) -> str:
        """Identifies the chunk; changes only when the chunk moves in its document."""
        return f"{self.document_id}#{self.start}-{self.end}"

    @property
    def passage(self) -> str:
        """The text that is encoded, searched and shown to a model: heading path, lead, and the text below them."""
        return _passage(self.heading_path, self.lead, self.text)


@dataclass(frozen=True, slots=True)
class Cut:
    """A document as it was split.

    Attributes:
        chunks: in the text's order.
        unknown: number of the measured passages that consist mostly of words which the encoder does not know.
    """

    chunks: list[Chunk]
    unknown: int = 0


def chunk_document(
    document: Document, tokenizer: Any, max_tokens: int, overlap: int = 0, fitting: Set[str] = frozenset()
) -> list[Chunk]:
    """Split a document by the encoder's tokens and by characters; see `Chunker.cut`.

    Args:
        tokenizer: fast tokenizer of transformers (one that returns offsets).
        max_tokens, overlap: see `ChunkSettings`.

    Raises:
        ValueError: as `ChunkSettings` and `Chunker.cut`.
    """
    return Chunker(tokenizer, ChunkSettings(max_tokens, overlap)).cut(document, fitting).chunks


@dataclass(frozen=True)
class Chunker:
    """Splits documents.

    Attributes:
        tokenizer: the encoder's: a fast tokenizer of transformers (one that returns offsets).
        model: the tokenizer that counts `settings.max_model_tokens`; None if they are not counted.
    """

    tokenizer: Any
    settings: ChunkSettings
    model: ModelTokenizer | None = None

    def cut(self, document: Document, fitting: Set[str] = frozenset()) -> Cut:
        """Split a document at its headings, and sections that are longer than the window further.

        Args:
            fitting: hashes of passages known to fit; they are not measured again.

        Raises:
            ValueError: a character takes more tokens than the window has.
        """
        parts = _with_short_paths(sections(document), self._measures)
        # Most sections fit whole. Measuring all of them in one call, and computing token offsets only if a section must
        # be split, keeps the tokenizer's cost per call off the common path.
        whole = [_chunk(document, part.path, part.start, part.end) for part in parts]
        new = [chunk for chunk in whole if chunk.hash not in fitting]
        lengths = self._encoder.lengths([chunk.passage for chunk in new])
        long = self._too_long(new, lengths)
        unknown = sum(
            length.is_mostly_unknown for chunk, length in zip(new, lengths, strict=True) if chunk.start not in long
        )
        if not long:
            return Cut(whole, unknown)
        splitter = _Splitter(document, self.settings.overlap, self._encoder, self._measures)
        chunks: list[Chunk] = []
        for part, chunk in zip(parts, whole, strict=True):
            if chunk.start in long:
                found = splitter.split(part)
                unknown += found.unknown
                chunks.extend(found.chunks)
            else:
                chunks.append(chunk)
        return Cut(chunks, unknown)

    def _too_long(self, chunks: Sequence[Chunk], lengths: Sequence[EncoderLength]) -> set[int]:
        """The starts of the chunks that do not fit; `lengths` are those of their passages."""
        encoder, *others = self._measures
        long = {chunk.start for chunk, length in zip(chunks, lengths, strict=True) if length.tokens > encoder.limit}
        for measure in others:
            rest = [chunk for chunk in chunks if chunk.start not in long]
            found = measure.excess([chunk.passage for chunk in rest], measure.limit)
            long |= {chunk.start for chunk, excess in zip(rest, found, strict=True) if excess > 0}
        return long

    @cached_property
    def _encoder(self) -> EncoderTokens:
        return EncoderTokens(self.tokenizer, self.settings.max_tokens)

    @cached_property
    def _measures(self) -> list[Measure]:
        """All that a passage must fit, the encoder first."""
        settings = self.settings
        found: list[Measure] = [
            self._encoder, Characters(settings.max_characters or CHARACTERS_PER_TOKEN * settings.max_tokens)
        ]  # fmt: skip
        if self.model is not None and settings.max_model_tokens is not None:
            found.append(ModelTokens(self.model, settings.max_model_tokens))
        return found


def passage_of(path: tuple[str, ...], lead: str, text: str) -> str:
    """The passage of a slice: its heading path, its lead, and its text without the headings that the path holds."""
    body = text[_leading_headings(text, path) :].strip()
    return "\n".join(part for part in (PATH_SEPARATOR.join(path), lead, body) if part)


_passage = lru_cache(maxsize=4096)(passage_of)
"""Cached, because a refresh asks for a passage four times: to measure, hash, encode and index it."""


def _leading_headings(text: str, path: Sequence[str]) -> int:
    """Number of characters at the start of a text that only repeat headings of the path."""
    end = 0
    # Possessive, so that a long first line is not backtracked through for every hit of every search.
    if not text.lstrip().lstrip(RULES).startswith("#") and not re.match(r"\s*[^\n]++\n {0,3}[=-]{2}", text):
        return end
    for heading in headings(text):
        if heading.text not in path or has_body(text[end : heading.start]):
            break
        end = heading.end
    return end


def _with_short_paths(found: Sequence[Section], measures: Sequence[Measure]) -> list[Section]:
    """The sections, their heading paths shortened to a quarter of what a passage may have."""
    joined = [PATH_SEPARATOR.join(section.path) for section in found]
    long: set[int] = set()
    for measure in measures:
        excess = measure.excess(joined, measure.limit // 4)
        long.update(number for number, length in enumerate(excess) if length > 0)
    return [
        replace(section, path=_shortened(section.path, PATH_SEPARATOR, measures, 4)) if number in long else section
        for number, section in enumerate(found)
    ]


def _shortened(parts: tuple[str, ...], separator: str, measures: Sequence[Measure], share: int) -> tuple[str, ...]:
    """Drop parts from the middle, then the ends of those that remain, until they take one `share`th of a passage."""

    def fit(tried: Sequence[str]) -> bool:
        text = separator.join(tried)
        return all(measure.excess([text], measure.limit // share)[0] <= 0 for measure in measures)

    while len(parts) > 2 and not fit(parts):
        parts = (parts[0], *parts[2:])
    encoder = measures[0]
    room = encoder.limit // share
    while not fit(parts):
        if room == 1:  # a single word of many tokens
            return (_ELLIPSIS,)
        room = room * 3 // 4
        parts = tuple(_beginning(part, encoder, max(1, room // len(parts))) for part in parts)
    return parts


def _beginning(text: str, encoder: Measure, count: int) -> str:
    """The first tokens of a text, and a sign that it goes on."""
    starts = encoder.starts(text)
    return text if len(starts) <= count else text[: starts[count]].rstrip(_ELLIPSIS + " ") + _ELLIPSIS


def _chunk(document: Document, path: tuple[str, ...], start: int, end: int, lead: str = "") -> Chunk:
    """The chunk of a slice, without white space at its ends."""
    piece = document.text[start:end]
    text = piece.strip()
    start += len(piece) - len(piece.lstrip())
    end, page = start + len(text), document.page_at(start)
    digest = blake3(_passage(path, lead, text).encode()).hexdigest()
    return Chunk(
        document.id, document.title, path, start, end, text, digest, page, document.metadata, document.labels, lead
    )


@dataclass(frozen=True)
class _Splitter:
    """Splits the sections of one document that are longer than a passage may be."""

    document: Document
    overlap: int
    encoder: EncoderTokens
    measures: Sequence[Measure]
    starts: dict[int, Sequence[int]] = field(default_factory=dict)
    costs: dict[tuple[str, int], int] = field(default_factory=dict)

    def split(self, section: Section) -> Cut:
        """Split a section by what it is too long in, the model's tokens only where a passage has too many of them.

        A slice may be a few tokens longer when tokenised on its own (where a word is cut in two), so its passage is
        measured as it will be read, and the section is split again with less room if one does not fit.

        Raises:
            ValueError: there is no room left.
        """
        path = PATH_SEPARATOR.join(section.path) + "\n"
        rooms = {number: measure.limit - measure.count([path])[0] for number, measure in enumerate(self.measures[:2])}
        while min(rooms.values()) > 0:
            chunks = self._slices(section, rooms)
            passages = [chunk.passage for chunk in chunks]
            lengths = self.encoder.lengths(passages)
            excess = [max(length.tokens for length in lengths) - self.encoder.limit]
            excess += [max(measure.excess(passages, measure.limit)) for measure in self.measures[1:]]
            if max(excess) <= 0:
                return Cut(chunks, sum(length.is_mostly_unknown for length in lengths))
            for number, (measure, length) in enumerate(zip(self.measures, excess, strict=True)):
                if number not in rooms and length > 0:
                    rooms[number] = measure.limit - measure.count([path])[0]
                elif length > 0:
                    rooms[number] -= length
        raise ValueError(
            f"{self.document.id} cannot be split into passages of {self.encoder.limit} tokens at character "
            f"{section.start}; raise max_tokens"
        )

    def _slices(self, section: Section, rooms: Mapping[int, int]) -> list[Chunk]:
        """The section in slices that have these rooms, by the numbers of their measures.

        The first one includes the heading lines at the start, which take no room: the passage does not repeat them.
        """
        text = self.document.text
        rulers = [Ruler(self._starts_of(number), room) for number, room in rooms.items()]

        def taken(place: int) -> list[int]:
            lead = self._lead(section, place)
            return [self._cost(lead, number) if lead else 0 for number in rooms]

        start = section.start + _leading_headings(text[section.start : section.end], section.path)
        spans = Windows(text, rulers, self.overlap, taken).spans(start, section.end)
        spans[0] = (section.start, spans[0][1])
        return [
            _chunk(self.document, section.path, start, end, self._lead(section, start))
            for start, end in spans
            if text[start:end].strip()
        ]

    def _lead(self, section: Section, place: int) -> str:
        """What a passage from this place on repeats, shortened to half of what a passage may have."""
        text = self.document.text
        while place < section.end and text[place].isspace():
            place += 1
        lead = self._surroundings.lead(section, place)
        return "\n".join(_shortened(lead, "\n", self.measures, 2)) if lead else ""

    @cached_property
    def _surroundings(self) -> Surroundings:
        return Surroundings(self.document)

    def _starts_of(self, number: int) -> Sequence[int]:
        """Where the units of a measure begin in the whole document; computed once."""
        if number not in self.starts:
            self.starts[number] = self.measures[number].starts(self.document.text)
        return self.starts[number]

    def _cost(self, lead: str, number: int) -> int:
        """How much room of a measure a lead takes; counted once."""
        if (lead, number) not in self.costs:
            self.costs[lead, number] = self.measures[number].count([lead + "\n"])[0]
        return self.costs[lead, number]
