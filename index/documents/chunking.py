"""Splits documents into chunks that fit the encoder's window.

Knows documents and a tokenizer, nothing of vectors. Three promises hold for every text: a chunk is a slice of its
document, no passage is longer than the window, and no visible character is left out.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from blake3 import blake3

from index.documents.document import Document, Metadata
from index.documents.markdown import headings

CHUNKER_VERSION = 1
"""Increased whenever documents are split differently; a refresh splits documents of another version again."""

SMALLEST_WINDOW = 32
"""Smallest `max_tokens`; in fewer, a heading path and one long word may not fit together."""

PATH_SEPARATOR = " > "
_ELLIPSIS = "…"

_BOUNDARIES = (
    re.compile(r"\n[ \t]*\n\s*"),  # paragraph
    re.compile(r"\n(?=[ \t]*(?:[-*+]|\d+[.)])[ \t])"),  # list item
    re.compile(r"\n+"),  # line, including table rows
    re.compile(r"[.!?…]['\")\]]*\s+|[。！？]"),  # sentence
    re.compile(r"\s+"),  # word
)
"""Where a section may be split, the best kinds first."""


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """How documents are split; part of what identifies a snapshot.

    Attributes:
        max_tokens: longest passage in tokens, including special tokens and the heading path.
        overlap: tokens that consecutive chunks of a section share.
    """

    max_tokens: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < SMALLEST_WINDOW:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be at least {SMALLEST_WINDOW}")
        if not 0 <= self.overlap <= self.max_tokens // 4:
            raise ValueError(
                f"overlap is {self.overlap}; it must lie between 0 and a quarter of max_tokens ({self.max_tokens // 4})"
            )


@dataclass(frozen=True, slots=True)
class Chunk:
    """A slice of a document, `document.text[start:end]`, with the headings above it.

    Attributes:
        heading_path: the title and the headings down to the chunk's own; shortened if they are very long.
        hash: blake3 of the passage, in hex; equal passages have equal vectors.
        page: number of the page on which it begins, from 1; None if the document has no pages.
        labels: callers that hold any of these may see it; empty: everybody may.
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

    @property
    def id(self) -> str:
        """Identifies the chunk; changes only when the chunk moves in its document."""
        return f"{self.document_id}#{self.start}-{self.end}"

    @property
    def passage(self) -> str:
        """The text that is encoded, searched and shown to a model: the heading path, then the text below it."""
        return _passage(self.heading_path, self.text)


@dataclass(frozen=True, slots=True)
class _Section:
    """The text under one heading, including the heading line: `text[start:end]`."""

    path: tuple[str, ...]
    start: int
    end: int


def chunk_document(
    document: Document, tokenizer: Any, max_tokens: int, overlap: int = 0, fitting: Set[str] = frozenset()
) -> list[Chunk]:
    """Split a document at its headings, and sections that are longer than the window further; in the text's order.

    Args:
        tokenizer: fast tokenizer of transformers (one that returns offsets).
        max_tokens, overlap: see `ChunkSettings`.
        fitting: hashes of passages known to fit into `max_tokens`; they are not measured again.

    Raises:
        ValueError: `max_tokens` or `overlap` is out of range, or a character takes more tokens than the window has.
    """
    settings = ChunkSettings(max_tokens, overlap)
    sections = _with_short_paths(_sections(document), tokenizer, max_tokens // 4)
    # Most sections fit whole. Measuring all of them in one call, and computing token offsets only if a section must be
    # split, keeps the tokenizer's cost per call off the common path.
    whole = [_chunk(document, section.path, section.start, section.end) for section in sections]
    new = [chunk for chunk in whole if chunk.hash not in fitting]
    lengths = _count_tokens([chunk.passage for chunk in new], tokenizer)
    long = {chunk.start for chunk, length in zip(new, lengths, strict=True) if length > max_tokens}
    if not long:
        return whole
    starts = [start for start, _ in _token_offsets(document.text, tokenizer)]
    chunks: list[Chunk] = []
    for section, chunk in zip(sections, whole, strict=True):
        if chunk.start in long:
            chunks.extend(_split_section(document, section, starts, tokenizer, settings))
        else:
            chunks.append(chunk)
    return chunks


def section_headings(document: Document) -> list[str]:
    """The heading of each section in reading order, or the document's title for a section without its own."""
    return [section.path[-1] for section in _sections(document)]


@lru_cache(maxsize=4096)
def _passage(path: tuple[str, ...], text: str) -> str:
    """See `Chunk.passage`. Cached, because a refresh asks for it four times: to measure, hash, encode and index it."""
    body = text[_leading_headings(text, path) :].strip()
    return PATH_SEPARATOR.join(path) + ("\n" + body if body else "")


def _leading_headings(text: str, path: Sequence[str]) -> int:
    """Number of characters at the start of a text that only repeat headings of the path."""
    end = 0
    # Possessive, so that a long first line is not backtracked through for every hit of every search.
    if not text.lstrip().startswith("#") and not re.match(r"\s*[^\n]++\n {0,3}[=-]{2}", text):
        return end
    for heading in headings(text):
        if heading.text not in path or text[end : heading.start].strip():
            break
        end = heading.end
    return end


def _token_offsets(text: str, tokenizer: Any) -> list[tuple[int, int]]:
    """Start and end of each token."""
    encoded = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, padding=False, verbose=False
    )
    offsets: list[tuple[int, int]] = encoded["offset_mapping"]
    return offsets


def _count_tokens(texts: Sequence[str], tokenizer: Any) -> list[int]:
    """Length of each text in tokens, including special tokens."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), truncation=False, padding=False, verbose=False)
    return [len(ids) for ids in encoded["input_ids"]]


def _sections(document: Document) -> list[_Section]:
    """The document split at its headings; the heading line of a section without a body goes to a neighbour."""
    text = document.text
    sections: list[_Section] = []
    stack: list[tuple[int, str]] = []
    start = body = 0
    for heading in headings(text) if document.is_markdown else ():
        if text[body : heading.start].strip():
            sections.append(_Section(_path(document.title, stack), start, heading.start))
            start = heading.start
        while stack and stack[-1][0] >= heading.level:
            stack.pop()
        stack.append((heading.level, heading.text))
        body = heading.end
    if text[body:].strip() or not sections:
        sections.append(_Section(_path(document.title, stack), start, len(text)))
    else:
        sections[-1] = replace(sections[-1], end=len(text))
    return sections


def _path(title: str, stack: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    return (title, *(heading for _, heading in stack if heading != title))


def _with_short_paths(sections: list[_Section], tokenizer: Any, limit: int) -> list[_Section]:
    lengths = _count_tokens([PATH_SEPARATOR.join(section.path) for section in sections], tokenizer)
    return [
        section if length <= limit else replace(section, path=_shorten(section.path, tokenizer, limit))
        for section, length in zip(sections, lengths, strict=True)
    ]


def _shorten(path: tuple[str, ...], tokenizer: Any, limit: int) -> tuple[str, ...]:
    """Drop headings from the middle, then the ends of those that remain, until the path fits."""

    def fits(parts: Sequence[str]) -> bool:
        return _count_tokens([PATH_SEPARATOR.join(parts)], tokenizer)[0] <= limit

    while len(path) > 2 and not fits(path):
        path = (path[0], *path[2:])
    room = limit
    while not fits(path):
        if room == 1:  # a single word of many tokens
            return (_ELLIPSIS,)
        room = room * 3 // 4
        path = tuple(_first_tokens(part, tokenizer, max(1, room // len(path))) for part in path)
    return path


def _first_tokens(text: str, tokenizer: Any, count: int) -> str:
    offsets = _token_offsets(text, tokenizer)
    return text if len(offsets) <= count else text[: offsets[count - 1][1]].rstrip(_ELLIPSIS + " ") + _ELLIPSIS


def _split_section(
    document: Document, section: _Section, starts: list[int], tokenizer: Any, settings: ChunkSettings
) -> list[Chunk]:
    """Split a section that is longer than the window.

    The tokens of the whole document are computed once. A slice may be a few tokens longer when tokenised on its own
    (where a word is cut in two), so its passage is measured as it will be encoded, and the section is split again with
    less room if one does not fit.
    """
    room = settings.max_tokens - _count_tokens([PATH_SEPARATOR.join(section.path)], tokenizer)[0]
    while room > 0:
        spans = _spans(document.text, section, starts, room, settings.overlap)
        chunks = [_chunk(document, section.path, start, end) for start, end in spans]
        excess = max(_count_tokens([chunk.passage for chunk in chunks], tokenizer)) - settings.max_tokens
        if excess <= 0:
            return chunks
        room -= excess
    raise ValueError(
        f"{document.id} cannot be split into passages of {settings.max_tokens} tokens at character {section.start}; "
        "raise max_tokens"
    )


def _chunk(document: Document, path: tuple[str, ...], start: int, end: int) -> Chunk:
    """The chunk of a slice, without white space at its ends."""
    piece = document.text[start:end]
    text = piece.strip()
    start += len(piece) - len(piece.lstrip())
    end, page = start + len(text), document.page_at(start)
    digest = blake3(_passage(path, text).encode()).hexdigest()
    return Chunk(document.id, document.title, path, start, end, text, digest, page, document.metadata, document.labels)


def _spans(text: str, section: _Section, starts: list[int], room: int, overlap: int) -> list[tuple[int, int]]:
    """Slices of at most `room` tokens that together cover the section; none is blank.

    The first one includes the heading lines at the start, which take no room: the passage does not repeat them.
    """
    start = section.start + _leading_headings(text[section.start : section.end], section.path)
    cuts = [[start + match.end() for match in kind.finditer(text[start : section.end])] for kind in _BOUNDARIES]
    spans: list[tuple[int, int]] = []
    end = start
    while True:
        first = bisect_left(starts, start)
        # Tokens may share a character (bytes of an emoji), so the window grows until it holds a whole one.
        after = first + room
        while after < len(starts) and starts[after] <= start:
            after += 1
        limit = starts[after] if after < len(starts) else section.end
        if limit >= section.end:
            spans.append((start, section.end))
            break
        end = _best_cut(cuts, start, end, limit)
        spans.append((start, end))
        start = _overlapped(cuts[-1], starts, first, end, overlap)
    spans[0] = (section.start, spans[0][1])
    return [(start, end) for start, end in spans if text[start:end].strip()]


def _overlapped(words: list[int], starts: list[int], first: int, end: int, overlap: int) -> int:
    """Start of the slice after `end`: at a word, at most `overlap` tokens and half a slice before `end`."""
    beyond = bisect_left(starts, end)
    back = min(overlap, (beyond - first) // 2)
    if not back:
        return end
    place = bisect_left(words, starts[beyond - back])
    return min(words[place], end) if place < len(words) else end


def _best_cut(cuts: list[list[int]], start: int, done: int, limit: int) -> int:
    """The last boundary beyond `done` in the second half of the window, of the best kind that has one; else its end."""
    least = max(done, start + (limit - start) // 2)
    for positions in cuts:
        place = bisect_right(positions, limit) - 1
        if place >= 0 and positions[place] > least:
            return positions[place]
    return limit
