"""The passages that the sources of examples and questions name: training and evaluation look them up alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from index.documents.chunking import PATH_SEPARATOR, Chunk
from index.search.search import Hit
from index.search.surroundings import Numbered
from index.store.snapshot import Snapshot
from ragft.data.answers import text_of
from ragft.data.examples import Example
from ragft.data.questions import Place, Question
from ragft.data.sources import Source, sections_meant
from ragft.errors import UsageError
from ragft.tokens import contains_tokens

Gold = tuple[tuple[Hit, ...], ...]
"""For each source of an example the passages that it consists of."""


def gold_passages(
    examples: Sequence[Example], snapshot: Snapshot, around: Callable[[int], tuple[Numbered, ...]] = lambda _: ()
) -> dict[str, Gold]:
    """The passages of every source of every example, by example id; arguments and errors as of `source_passages`."""
    hits = source_passages(examples, snapshot, around)
    return {example.id: tuple(hits[source] for source in example.sources) for example in examples}


def source_passages(
    examples: Iterable[Example], snapshot: Snapshot, around: Callable[[int], tuple[Numbered, ...]] = lambda _: ()
) -> dict[Source, tuple[Hit, ...]]:
    """The passages of every source that examples name.

    Args:
        examples: are read once.
        around: what may be shown around the chunk with a number in the snapshot's order; see `surroundings`.

    Raises:
        UsageError: a source matches no passage, or passages under different headings; the message names the first
            example with it, and the source.
    """
    first = dict[Source, str]()
    for example in examples:
        for source in example.sources:
            first.setdefault(source, example.id)
    found = _matching(first, enumerate(snapshot.chunks()))
    hits = dict[Source, tuple[Hit, ...]]()
    for source, example_id in first.items():
        chunks = _one_section(example_id, source, found[source])
        hits[source] = tuple(Hit.of(chunk, around=around(number)) for number, chunk in chunks)
    return hits


@dataclass(frozen=True)
class Located:
    """Questions whose sources were looked up in an index.

    Attributes:
        questions: with `Question.places`.
        passages: by question id, for each of its sources the passages that it consists of.
        absent: by question id the sources that the index does not hold; questions without such are left out.
        unclear: sources that may mean several sections, with how to write each of them.
    """

    questions: tuple[Question, ...]
    passages: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    absent: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    unclear: Mapping[Source, Sequence[str]] = field(default_factory=dict)


def located(questions: Sequence[Question], chunks: Iterable[Chunk]) -> Located:
    """Looks up where the sources of questions stand.

    Args:
        chunks: all that the index holds.
    """
    found = _matching([source for question in questions for source in question.sources], enumerate(chunks))
    meant = {source: _meant(source, [_place(chunk) for _, chunk in chunks]) for source, chunks in found.items()}
    texts = {
        source: tuple(
            chunk.passage for _, chunk in chunks if _is_in(chunk.document_id, chunk.heading_path, meant[source])
        )
        for source, chunks in found.items()
    }
    absent = {one.id: tuple(source for source in one.sources if not meant[source]) for one in questions}
    return Located(
        tuple(replace(one, places=tuple(meant[source] for source in one.sources)) for one in questions),
        {one.id: tuple(texts[source] for source in one.sources) for one in questions},
        {name: sources for name, sources in absent.items() if sources},
        {source: _written(places) for source, places in meant.items() if len(places) > 1},
    )


def source_hits(questions: Sequence[Question], chunks: Iterable[Chunk]) -> dict[str, tuple[Hit, ...]]:
    """By question id the passages of its sources: those that hold an answer first, source by source in turn."""
    found = _matching([source for question in questions for source in question.sources], enumerate(chunks))
    hits: dict[str, tuple[Hit, ...]] = {}
    for question in questions:
        runs = [text_of(answer).run for answer in question.answers]
        columns = []
        for source in question.sources:
            meant = _meant(source, [_place(chunk) for _, chunk in found[source]])
            own = [chunk for _, chunk in found[source] if _is_in(chunk.document_id, chunk.heading_path, meant)]
            holding = [c for c in own if any(contains_tokens(text_of(c.passage).run, run) for run in runs)]
            columns.append([*holding, *(chunk for chunk in own if chunk not in holding)])
        in_turn = (chunk for row in zip_longest(*columns) for chunk in row if chunk is not None)
        hits[question.id] = tuple(Hit.of(chunk) for chunk in {chunk.id: chunk for chunk in in_turn}.values())
    return hits


def ambiguous(source: Source, places: Sequence[tuple[str, tuple[str, ...], str]]) -> list[str]:
    """How to write each of the sections that a source may mean; empty where it means one.

    Args:
        places: document, path of headings and title of the passages that it matches.
    """
    meant = _meant(source, places)
    return _written(meant) if len(meant) > 1 else []


def _written(places: Iterable[Place]) -> list[str]:
    return [f"{document}#{PATH_SEPARATOR.join(path)}" for document, path in places]


def _place(chunk: Chunk) -> tuple[str, tuple[str, ...], str]:
    return chunk.document_id, chunk.heading_path, chunk.title


def _meant(source: Source, places: Sequence[tuple[str, tuple[str, ...], str]]) -> tuple[Place, ...]:
    """The sections that a source may mean, of those that it matches: a path in full before longer ones."""
    titles = {document: title for document, _, title in places}
    return tuple(
        (document, path)
        for document, title in titles.items()
        for path in sections_meant(source, document, dict.fromkeys(p for d, p, _ in places if d == document), title)
    )


def _is_in(document: str, path: tuple[str, ...], places: Iterable[Place]) -> bool:
    return any(document == other and section in ((), path) for other, section in places)


def _matching(sources: Iterable[Source], chunks: Iterable[tuple[int, Chunk]]) -> dict[Source, list[tuple[int, Chunk]]]:
    """For each source the numbered chunks that it matches."""
    found: dict[Source, list[tuple[int, Chunk]]] = {source: [] for source in sources}
    by_document: dict[str, list[Source]] = {}
    for source in found:
        for document in source.documents:
            by_document.setdefault(document, []).append(source)
    for number, chunk in chunks:
        for source in by_document.get(chunk.document_id, ()):
            if source.matches(chunk.document_id, chunk.heading_path, chunk.title):
                found[source].append((number, chunk))
    return found


def _one_section(example_id: str, source: Source, found: list[tuple[int, Chunk]]) -> list[tuple[int, Chunk]]:
    """The passages of the one section that a source means."""
    if not found:
        raise UsageError(
            f"Example {example_id!r} names the source {source!r}, which the index does not hold: correct the source, "
            "or index the documents that the examples were written from."
        )
    meant = _meant(source, [_place(chunk) for _, chunk in found])
    if len(meant) > 1:
        raise UsageError(
            f"Example {example_id!r} names the source {source!r}, which may mean {_listed(_written(meant))}: write the "
            "headings above it, too."
        )
    return [(number, chunk) for number, chunk in found if _is_in(chunk.document_id, chunk.heading_path, meant)]


def _listed(candidates: Sequence[str]) -> str:
    shown = [repr(candidate) for candidate in candidates[:5]]
    more = [f"{len(candidates) - 5} more"] if len(candidates) > 5 else []
    return " or ".join([*shown, *more])
