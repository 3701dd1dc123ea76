"""What stands around a chunk in its document, as far as a caller may see it.

The text of a document is kept in its chunks alone. The live rows of a document are all in one segment, in the order of
position, so the chunk before another one is the row before it, and only white space lies between the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from index.documents.chunking import Chunk
from index.search.settings import NEIGHBOURS, SECTION
from index.store.snapshot import Snapshot
from index.store.view import View

REACH = {NEIGHBOURS: 1, SECTION: 16}
"""Chunks on either side that are looked at. A text without headings is one section of any length, and a prompt seldom
has room for more of it."""


class Numbered(NamedTuple):
    """A chunk with its row in the snapshot: of one document, chunks with consecutive numbers follow each other."""

    number: int
    chunk: Chunk


def surroundings(snapshot: Snapshot, view: View, row: int, expand: str) -> tuple[Numbered, ...]:
    """The chunk at a row, then those around it that the view holds: the nearest first, the later one of two.

    Args:
        row: a visible row, counted over all segments.
        expand: `neighbours`: one chunk on either side; `section`: those on either side under the same headings.
    """
    number, local = snapshot.locate(row)
    segment, mask = snapshot.segments[number], view.masks[number]
    visible = segment.live if mask is None else mask
    own = segment.reader.chunk(local)

    def side(step: int) -> Iterator[Numbered]:
        for distance in range(step, step * (REACH[expand] + 1), step):
            if not 0 <= local + distance < len(visible) or not visible[local + distance]:
                return
            chunk = segment.reader.chunk(local + distance)
            if chunk.document_id != own.document_id or (expand == SECTION and chunk.heading_path != own.heading_path):
                return
            yield Numbered(row + distance, chunk)

    around = sorted([*side(1), *side(-1)], key=lambda other: abs(other.number - row))
    return (Numbered(row, own), *around)
