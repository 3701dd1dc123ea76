"""Training rows: examples mixed with passages of the deployed index.

A row with passages holds the gold passages and mined distractors in seeded random positions, or, in a declared share,
distractors alone and the declared refusal as its answer. A declared share of the rows has no passages at all, so that
the tuned model without retrieval is asked for something that it has seen (after RAFT, arXiv 2403.10131, whose shares
and shuffling these are; the refusal instead of an answer from memory is ours).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from index.search.search import Hit
from index.store.snapshot import Snapshot
from ragft.citations import in_plain_words, passage_matches, with_citations
from ragft.config import MixSection
from ragft.data.examples import Example
from ragft.errors import UsageError
from ragft.prompts import Message, user_turn

Kind = Literal["gold", "refusal", "closed-book", "general"]


@dataclass(frozen=True)
class Row:
    """One training conversation, ready for the renderer.

    Attributes:
        kind: `gold`: the passages hold the answer; `refusal`: they do not, and the answer says so; `closed-book`: no
            passages; `general`: an instruction from elsewhere.
        passages: chunk ids, as numbered in the prompt.
        gold: positions (from 1) of the passages that hold the answer.
    """

    example_id: str
    kind: Kind
    messages: tuple[Message, ...]
    passages: tuple[str, ...] = ()
    gold: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        """The row that `to_json` wrote."""
        return cls(**{**values, **{key: tuple(values[key]) for key in ("messages", "passages", "gold")}})


@dataclass(frozen=True)
class Passage:
    """A passage that a row may hold."""

    chunk_id: str
    text: str


def mix(
    examples: Sequence[Example],
    general: Sequence[Example],
    snapshot: Snapshot,
    search: Callable[[Sequence[str]], Sequence[Sequence[Hit]]],
    settings: MixSection,
    *,
    system: str,
    refusal: str,
    seed: int,
) -> tuple[Row, ...]:
    """Mixes every example with passages, `settings.repeats` times.

    Args:
        general: instructions of any domain, used for `settings.general_share` of all rows.
        search: finds hits for questions, best first, deeper than `settings.passages`: distractors are mined from them.

    Raises:
        UsageError: an example names a source that the index does not hold, or more sources than a row has passages.
    """
    _refuse_too_many_sources(examples, settings.passages)
    gold = gold_passages(examples, snapshot)
    hits = search([example.question for example in examples])
    draw = random.Random(seed)
    rows: list[Row] = []
    for repeat in range(settings.repeats):
        kinds = _kinds(examples, settings, draw)
        for example, found, kind in zip(examples, hits, kinds, strict=True):
            rows.append(_row(example, gold[example.id], found, kind, settings.passages, repeat, system, refusal, draw))
    rows += _general_rows(general, len(rows), settings, draw)
    draw.shuffle(rows)
    return tuple(rows)


def _refuse_too_many_sources(examples: Sequence[Example], passages: int) -> None:
    for example in examples:
        if len(example.sources) > passages:
            raise UsageError(
                f"Example {example.id!r} names {len(example.sources)} sources, but a training prompt holds "
                f"data.mix.passages = {passages}: raise it (and index.top_k), or leave the example out."
            )


def gold_passages(examples: Sequence[Example], snapshot: Snapshot) -> dict[str, tuple[tuple[Passage, ...], ...]]:
    """For every example, the passages of each of its sources.

    Raises:
        UsageError: a source matches no passage; the message names the example and the source.
    """
    wanted = {source for example in examples for source in example.sources}
    found: dict[str, list[Passage]] = {source: [] for source in wanted}
    by_document: dict[str, list[str]] = {}
    for source in wanted:
        # A document id may hold '#' itself: every prefix is looked up.
        parts = source.split("#")
        for end in range(1, len(parts) + 1):
            by_document.setdefault("#".join(parts[:end]), []).append(source)
    for chunk in snapshot.chunks():
        for source in by_document.get(chunk.document_id, ()):
            heading = chunk.heading_path[-1] if chunk.heading_path else chunk.title
            if passage_matches(source, chunk.document_id, heading, chunk.title):
                found[source].append(Passage(chunk.id, chunk.passage))
    for example in examples:
        for source in example.sources:
            if not found[source]:
                raise UsageError(
                    f"Example {example.id!r} names the source {source!r}, which the index does not hold: correct the "
                    "source, or index the documents that the examples were written from."
                )
    return {example.id: tuple(tuple(found[source]) for source in example.sources) for example in examples}


def _kinds(examples: Sequence[Example], settings: MixSection, draw: random.Random) -> list[Kind]:
    """Which example becomes which kind of row: exact shares, seeded places."""
    rows = len(examples)
    total = rows / (1 - settings.general_share) if settings.general_share < 1 else rows
    order = draw.sample(range(rows), rows)
    kinds: list[Kind] = ["gold"] * rows
    closed = min(rows, round(settings.closed_book_share * total))
    for place in order[:closed]:
        kinds[place] = "closed-book"
    # An example without sources is a refusal already: the share is counted over the others.
    sourced = [place for place in order[closed:] if examples[place].sources]
    for place in sourced[: round((1 - settings.gold_share) * len(sourced))]:
        kinds[place] = "refusal"
    return [
        "refusal" if kind == "gold" and not example.sources else kind
        for kind, example in zip(kinds, examples, strict=True)
    ]


def _row(
    example: Example,
    gold: tuple[tuple[Passage, ...], ...],
    hits: Sequence[Hit],
    kind: Kind,
    passages: int,
    repeat: int,
    system: str,
    refusal: str,
    draw: random.Random,
) -> Row:
    if kind == "closed-book":
        # Without passages there is nothing to cite: the marks go, the rest of the form stays.
        return Row(example.id, kind, _messages(example, system, None, in_plain_words(example.answer)))
    gold_ids = {passage.chunk_id for options in gold for passage in options}
    chosen: list[Passage] = []
    if kind == "gold":
        # Of a section that was cut into several passages one is shown, as a search would most likely find one.
        chosen = [draw.choice(options) for options in gold]
    elif len(gold) > 1 and draw.random() < 0.5:
        # A question over several passages is refused too when only some of them were found.
        chosen = [draw.choice(options) for options in draw.sample(gold, len(gold) - 1)]
        # One passage may hold several sources: what is shown must not hold them all.
        if all(any(passage in options for passage in chosen) for options in gold):
            chosen = []
    shown = [(passage.chunk_id, passage.text) for passage in dict.fromkeys(chosen)]
    distractors = [hit for hit in hits if hit.chunk_id not in gold_ids]
    shown += [(hit.chunk_id, hit.passage) for hit in _window(distractors, passages - len(shown), repeat)]
    draw.shuffle(shown)
    places = {chunk_id: number for number, (chunk_id, _) in enumerate(shown, start=1)}
    if kind == "refusal":
        answer = refusal if example.sources else example.answer
        numbers: tuple[int, ...] = ()
    else:
        numbers = tuple(places[passage.chunk_id] for passage in chosen)
        answer = with_citations(example.answer, lambda n: numbers[n - 1] if 1 <= n <= len(numbers) else n)
    messages = _messages(example, system, [text for _, text in shown], answer)
    return Row(example.id, kind, messages, tuple(places), numbers)


def _window(distractors: Sequence[Hit], wanted: int, repeat: int) -> list[Hit]:
    """The best distractors for a first row, the next best for each further row of the same example."""
    if len(distractors) <= wanted:
        return list(distractors)
    return [distractors[(repeat * wanted + place) % len(distractors)] for place in range(wanted)]


def _messages(example: Example, system: str, passages: Sequence[str] | None, answer: str) -> tuple[Message, ...]:
    history = example.history
    opening: tuple[Message, ...] = (
        () if history and history[0]["role"] == "system" else ({"role": "system", "content": system},)
    )
    turn: Message = {"role": "user", "content": user_turn(example.question, passages)}
    return (*opening, *history, turn, {"role": "assistant", "content": answer})


def _general_rows(general: Sequence[Example], rows: int, settings: MixSection, draw: random.Random) -> list[Row]:
    """So many general rows that they make up their share of the whole; their prompts carry no system turn of ours."""
    if not general or settings.general_share == 0:
        return []
    wanted = round(rows * settings.general_share / (1 - settings.general_share))
    chosen = [example for _ in range(wanted // len(general)) for example in general]
    chosen += draw.sample(list(general), wanted % len(general))
    return [
        Row(
            example.id,
            "general",
            (
                *example.history,
                {"role": "user", "content": example.question},
                {"role": "assistant", "content": example.answer},
            ),
        )
        for example in chosen
    ]
