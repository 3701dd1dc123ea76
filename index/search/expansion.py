"""Passages of hits together with what stands around them.

Knows hits and the chunks around them, nothing of snapshots or of the room in a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from index.documents.chunking import Chunk, passage_of
from index.search.search import Hit
from index.search.surroundings import Numbered


def additions(hits: Sequence[Hit]) -> list[Numbered]:
    """The chunks around hits of one search, each once: those of the best hit first, the nearest to each hit first.

    Any number of the first ones, together with the hits' own chunks, leave no gap in a passage.
    """
    taken = {hit.around[0].number for hit in hits if hit.around}
    added = []
    for other in (other for hit in hits for other in hit.around[1:]):
        if other.number not in taken:
            taken.add(other.number)
            added.append(other)
    return added


def expanded(hits: Sequence[Hit], added: Sequence[Numbered]) -> tuple[Hit, ...]:
    """The passages that hits of one search become with the first of their `additions`, best first.

    Slices of one document that overlap or touch become one passage, with the scores and at the place of the best hit
    in it. At the border of two sections, slices that touch are joined only if both sides stand around one hit; each
    section keeps a passage, and a citation, of its own otherwise. Nothing stands around what is returned.
    """
    ranks = {hit.around[0].number: rank for rank, hit in enumerate(hits) if hit.around}
    chunks = dict([*added, *(hit.around[0] for hit in hits if hit.around)])
    bridged = {number for hit in hits for number in sorted(other.number for other in hit.around)[:-1]}
    runs: list[list[int]] = []
    for number in sorted(chunks):
        before = chunks.get(number - 1)
        if before is not None and (number - 1 in bridged or _same_section(before, chunks[number])):
            runs[-1].append(number)
        else:
            runs.append([number])
    found = {min(ranks[number] for number in run if number in ranks): run for run in runs}
    return tuple(
        _joined(hit, [chunks[number] for number in found[rank]]) if rank in found else hit
        for rank, hit in enumerate(hits)
        if rank in found or not hit.around
    )


def _same_section(one: Chunk, other: Chunk) -> bool:
    return (one.document_id, one.heading_path) == (other.document_id, other.heading_path)


def _joined(hit: Hit, chunks: Sequence[Chunk]) -> Hit:
    """The hit over consecutive chunks of its document."""
    if len(chunks) == 1:
        return replace(hit, around=())
    first = chunks[0]
    text, end = first.text, first.end
    for chunk in chunks[1:]:
        # Between two chunks is nothing but white space; as many newlines keep offsets those of the document.
        text += "\n" * (chunk.start - end) + chunk.text[max(0, end - chunk.start) :]
        end = max(end, chunk.end)
    paths = list(dict.fromkeys(chunk.heading_path for chunk in chunks))
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*paths, strict=False))
    return replace(
        hit,
        chunk_id=replace(first, end=end).id,
        start=first.start,
        end=end,
        text=text,
        # The headings of further sections stand in the text; those above its beginning do not.
        passage=passage_of(first.heading_path, first.lead, text),
        heading_path=tuple(level[0] for level in shared) or (hit.title,),
        page=first.page,
        sections=tuple(path[-1] for path in paths) if len(paths) > 1 else (),
        around=(),
    )
