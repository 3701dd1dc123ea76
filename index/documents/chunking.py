"""Cuts documents into chunks that an encoder reads whole.

Knows documents and a tokenizer, nothing of vectors. Three promises hold for every text: a chunk is a slice
of its document, no passage is longer than the window, and no visible character is left out.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from blake3 import blake3

from index.documents.folder import Document, Metadata
from index.documents.markdown import headings

CHUNKER_VERSION = 1
"""Raised whenever the same document would be cut otherwise: snapshots of another version are cut anew."""

SMALLEST_WINDOW = 32
"""Below this a heading path and one long word no longer fit together."""

PATH_SEPARATOR = " > "
_ELLIPSIS = "…"

_BOUNDARIES = (
    re.compile(r"\n[ \t]*\n\s*"),  # paragraph
    re.compile(r"\n(?=[ \t]*(?:[-*+]|\d+[.)])[ \t])"),  # list item
    re.compile(r"\n+"),  # line, and with it a table row
    re.compile(r"[.!?…]['\")\]]*\s+|[。！？]"),  # sentence
    re.compile(r"\s+"),  # word
)


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """How documents are cut; part of what identifies a snapshot.

    Attributes:
        max_tokens: Longest passage in tokens, the special ones and the heading path included.
        overlap: Tokens that a chunk repeats from the one before it, inside one section.
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
    """A slice of a document, with the headings that it stands under.

    Attributes:
        document_id: Where it comes from.
        title: The document's title.
        heading_path: The title and the headings down to the chunk's own; shortened where they are very long.
        start: First character in the document.
        end: One past the last character.
        text: `document.text[start:end]`.
        hash: blake3 of the passage, in hex; equal passages have equal vectors.
        page: The page that it begins on, from 1; None where the document has no pages.
        metadata: Of the document.
        labels: Who may see it: callers that hold any of them; empty for everybody.
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
        """Stable name of the chunk: it changes only when the chunk moves in its document."""
        return f"{self.document_id}#{self.start}-{self.end}"

    @property
    def passage(self) -> str:
        """What is embedded, searched and shown to a model: the heading path, then the text below it."""
        return _passage(self.heading_path, self.text)


@dataclass(frozen=True, slots=True)
class _Section:
    """What stands under one heading, its line included: `text[start:end]`."""

    path: tuple[str, ...]
    start: int
    end: int


def chunk_document(
    document: Document, tokenizer: Any, max_tokens: int, overlap: int = 0, fitting: Set[str] = frozenset()
) -> list[Chunk]:
    """Cut a document at its headings and, where a section is longer than the window, inside them.

    Args:
        document: What to cut.
        tokenizer: A fast tokenizer of transformers (one that returns offsets).
        max_tokens: See `ChunkSettings`.
        overlap: See `ChunkSettings`.
        fitting: Hashes of passages that are known to be no longer than `max_tokens`, and are not measured again.

    Returns:
        Chunks in the order of the text.

    Raises:
        ValueError: the settings make no sense together.
    """
    settings = ChunkSettings(max_tokens, overlap)
    sections = _with_short_paths(_sections(document), tokenizer, max_tokens // 4)
    # Most sections fit whole. Measuring all of them in one call, and finding token offsets only where a
    # section must be cut, keeps the tokenizer's cost per call off the common path.
    whole = [_chunk(document, section.path, section.start, section.end) for section in sections]
    new = [chunk for chunk in whole if chunk.hash not in fitting]
    lengths = _count_tokens([chunk.passage for chunk in new], tokenizer)
    long = {chunk.start for chunk, length in zip(new, lengths, strict=True) if length > max_tokens}
    if not long:
        return whole
    starts, _ = _token_offsets(document.text, tokenizer)
    chunks: list[Chunk] = []
    for section, chunk in zip(sections, whole, strict=True):
        if chunk.start in long:
            chunks.extend(_cut_section(document, section, starts, tokenizer, settings))
        else:
            chunks.append(chunk)
    return chunks


def section_headings(document: Document) -> list[str]:
    """The heading of every section in reading order; the document's title where a section has none of its own."""
    return [section.path[-1] for section in _sections(document)]


@lru_cache(maxsize=4096)
def _passage(path: tuple[str, ...], text: str) -> str:
    """See `Chunk.passage`; a refresh asks for it four times: to measure, hash, encode and index it."""
    body = text[_leading_headings(text, path) :].strip()
    return PATH_SEPARATOR.join(path) + ("\n" + body if body else "")


def _leading_headings(text: str, path: Sequence[str]) -> int:
    """How many characters at the start of a text only repeat headings of the path."""
    end = 0
    # Possessive: a text of one long line is not gone through backwards, for every hit of every search.
    if not text.lstrip().startswith("#") and not re.match(r"\s*[^\n]++\n {0,3}[=-]{2}", text):
        return end
    for heading in headings(text):
        if heading.text not in path or text[end : heading.start].strip():
            break
        end = heading.end
    return end


def _token_offsets(text: str, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Where every token starts and ends in the text."""
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        return_offsets_mapping=True,
        truncation=False,
        padding=False,
        verbose=False,
    )
    offsets = encoded["offset_mapping"]
    return [start for start, _ in offsets], [end for _, end in offsets]


def _count_tokens(texts: Sequence[str], tokenizer: Any) -> list[int]:
    """Length of each text in tokens, the special ones included."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), truncation=False, padding=False, verbose=False)
    return [len(ids) for ids in encoded["input_ids"]]


def _sections(document: Document) -> list[_Section]:
    """The document split at its headings; sections without a body lend their heading line to a neighbour."""
    text = document.text
    sections: list[_Section] = []
    stack: list[tuple[int, str]] = []
    start = body = 0
    found = headings(text) if document.is_markdown else []
    for heading in found:
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
    """Drop headings from the middle, then words from the ends of the rest, until the path fits."""

    def fits(parts: Sequence[str]) -> bool:
        return _count_tokens([PATH_SEPARATOR.join(parts)], tokenizer)[0] <= limit

    while len(path) > 2 and not fits(path):
        path = (path[0], *path[2:])
    room = limit
    while not fits(path):
        if room == 1:  # one endless word in many tokens
            return (_ELLIPSIS,)
        room = room * 3 // 4
        path = tuple(_first_tokens(part, tokenizer, max(1, room // len(path))) for part in path)
    return path


def _first_tokens(text: str, tokenizer: Any, count: int) -> str:
    _, ends = _token_offsets(text, tokenizer)
    if len(ends) <= count:
        return text
    return text[: ends[count - 1]].rstrip(_ELLIPSIS + " ") + _ELLIPSIS


def _cut_section(
    document: Document, section: _Section, starts: list[int], tokenizer: Any, settings: ChunkSettings
) -> list[Chunk]:
    """The chunks of a section that is longer than the window.

    Tokens are counted once for the whole document. A slice may come out a little longer when it is
    tokenised on its own (a word cut in two), so the passages are measured as they will be encoded, and the
    section is cut again with less room if one does not fit.

    Raises:
        ValueError: a single character takes more tokens than the window has.
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
        f"{document.id} cannot be cut to {settings.max_tokens} tokens at character {section.start}; raise max_tokens"
    )


def _chunk(document: Document, path: tuple[str, ...], start: int, end: int) -> Chunk:
    """The chunk of a slice, without the white space at its ends."""
    piece = document.text[start:end]
    text = piece.strip()
    start += len(piece) - len(piece.lstrip())
    digest = blake3(_passage(path, text).encode()).hexdigest()
    return Chunk(
        document.id,
        document.title,
        path,
        start,
        start + len(text),
        text,
        digest,
        document.page_at(start),
        document.metadata,
        document.labels,
    )


def _spans(text: str, section: _Section, starts: list[int], room: int, overlap: int) -> list[tuple[int, int]]:
    """Slices of at most `room` tokens that cover the section; none is blank.

    The heading lines at the start, which the passage does not repeat, go with the first slice and take no
    room.
    """
    start = section.start + _leading_headings(text[section.start : section.end], section.path)
    cuts = [[start + match.end() for match in kind.finditer(text[start : section.end])] for kind in _BOUNDARIES]
    spans: list[tuple[int, int]] = []
    end = start
    while True:
        first = bisect_left(starts, start)
        # Tokens may share a character (bytes of an emoji), so the window is moved on until it holds one.
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
    """Where the slice after `end` starts: at a word, up to `overlap` tokens and half a slice earlier."""
    beyond = bisect_left(starts, end)
    back = min(overlap, (beyond - first) // 2)
    if not back:
        return end
    place = bisect_left(words, starts[beyond - back])
    return min(words[place], end) if place < len(words) else end


def _best_cut(cuts: list[list[int]], start: int, done: int, limit: int) -> int:
    """The last boundary of the best kind beyond `done` that still fills half of the window; else its end."""
    least = max(done, start + (limit - start) // 2)
    for positions in cuts:
        place = bisect_right(positions, limit) - 1
        if place >= 0 and positions[place] > least:
            return positions[place]
    return limit
