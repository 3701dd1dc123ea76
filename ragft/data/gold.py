"""The passages that the sources of examples name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from index.documents.chunking import PATH_SEPARATOR, Chunk
from index.search.search import Hit
from index.search.surroundings import Numbered
from index.store.snapshot import Snapshot
from ragft.data.examples import Example
from ragft.data.sources import Source, sections_meant
from ragft.errors import UsageError

Gold = tuple[tuple[Hit, ...], ...]
"""For each source of an example the passages that it consists of."""


def gold_passages(
    examples: Sequence[Example], snapshot: Snapshot, around: Callable[[int], tuple[Numbered, ...]] = lambda _: ()
) -> dict[str, Gold]:
    """The passages of every source of every example, by example id.

    Args:
        around: what may be shown around the chunk with a number in the snapshot's order; see `surroundings`.

    Raises:
        UsageError: a source matches no passage, or passages under different headings; the message names the example and
            the source.
    """
    found: dict[Source, list[tuple[int, Chunk]]] = {source: [] for example in examples for source in example.sources}
    by_document: dict[str, list[Source]] = {}
    for source in found:
        for document in source.documents:
            by_document.setdefault(document, []).append(source)
    for number, chunk in enumerate(snapshot.chunks()):
        for source in by_document.get(chunk.document_id, ()):
            if source.matches(chunk.document_id, chunk.heading_path, chunk.title):
                found[source].append((number, chunk))
    hits: dict[Source, tuple[Hit, ...]] = {}
    for example in examples:
        for source in example.sources:
            if source not in hits:
                chunks = _one_section(example, source, found[source])
                hits[source] = tuple(Hit.of(chunk, around=around(number)) for number, chunk in chunks)
    return {example.id: tuple(hits[source] for source in example.sources) for example in examples}


def ambiguous(source: Source, places: Sequence[tuple[str, tuple[str, ...], str]]) -> list[str]:
    """How to write each of the sections that a source may mean; empty where it means one.

    Args:
        places: document, path of headings and title of the passages that it matches.
    """
    titles = {document: title for document, _, title in places}
    meant = [
        (document, path)
        for document, title in titles.items()
        for path in sections_meant(source, document, dict.fromkeys(p for d, p, _ in places if d == document), title)
    ]
    return [f"{document}#{PATH_SEPARATOR.join(path)}" for document, path in meant] if len(meant) > 1 else []


def _one_section(example: Example, source: Source, found: list[tuple[int, Chunk]]) -> list[tuple[int, Chunk]]:
    """The passages of the one section that a source means."""
    if not found:
        raise UsageError(
            f"Example {example.id!r} names the source {source!r}, which the index does not hold: correct the source, "
            "or index the documents that the examples were written from."
        )
    candidates = ambiguous(source, [(chunk.document_id, chunk.heading_path, chunk.title) for _, chunk in found])
    if candidates:
        raise UsageError(
            f"Example {example.id!r} names the source {source!r}, which may mean {_listed(candidates)}: write the "
            "headings above it, too."
        )
    # A path that is named in full is preferred to longer ones that end in the same way.
    one = found[0][1]
    (path,) = sections_meant(source, one.document_id, {chunk.heading_path: None for _, chunk in found}, one.title)
    return [(number, chunk) for number, chunk in found if not path or chunk.heading_path == path]


def _listed(candidates: Sequence[str]) -> str:
    shown = [repr(candidate) for candidate in candidates[:5]]
    more = [f"{len(candidates) - 5} more"] if len(candidates) > 5 else []
    return " or ".join([*shown, *more])
