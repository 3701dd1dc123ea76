"""Training rows: examples mixed with passages of the index.

A row with passages holds the gold passages and mined distractors in seeded random positions, or, for a declared share
of the rows, distractors alone with the declared refusal as the answer. A declared share of the rows has no passages at
all, so that the tuned model has practised what the fine-tuned setup asks of it (after RAFT, arXiv 2403.10131, whose
shares and shuffling these are; refusing instead of answering from memory is ours).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from index.search.search import Hit
from index.search.surroundings import Numbered
from index.store.snapshot import Snapshot
from ragft.citations import in_plain_words, with_citations
from ragft.config import MixSection
from ragft.data.examples import Example
from ragft.data.sources import Source
from ragft.errors import UsageError
from ragft.fitting import expanded_to_fit
from ragft.prompts import Message, conversation, turn

Kind = Literal["gold", "refusal", "closed-book", "general"]

Search = Callable[[Sequence[str]], Sequence[Sequence[Hit]]]
"""Finds hits for questions, best first, more than a prompt holds: distractors are mined from them."""


@dataclass(frozen=True)
class Row:
    """One training conversation, ready for the renderer.

    Attributes:
        kind: `gold`: the passages hold the answer; `refusal`: they do not, and the answer says so; `closed-book`: there
            are no passages; `general`: an instruction from elsewhere.
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


Gold = tuple[tuple[Hit, ...], ...]
"""For each source of an example the passages that it consists of."""


@dataclass(frozen=True)
class Expansion:
    """How the passages of a row are expanded, as those of a prompt are.

    Attributes:
        around: what may be shown around the chunk with a number in the snapshot's order; see `surroundings`.
        fits: whether a row is short enough to be trained on.
    """

    around: Callable[[int], tuple[Numbered, ...]]
    fits: Callable[[Sequence[Message]], bool]


def mix(
    examples: Sequence[Example], general: Sequence[Example], snapshot: Snapshot, search: Search, settings: MixSection,
    *, system: str, refusal: str, seed: int, expansion: Expansion | None = None,
) -> tuple[Row, ...]:  # fmt: skip
    """Mixes every example with passages, `settings.repeats` times.

    Args:
        general: instructions of any domain, used for `settings.general_share` of all rows.
        expansion: what passages bring along from around them, as the hits of `search` do; None: nothing.

    Raises:
        UsageError: an example names a source that the index does not hold, or more sources than a row has passages.
    """
    _refuse_too_many_sources(examples, settings.passages)
    gold = gold_passages(examples, snapshot, expansion.around if expansion else lambda _: ())
    hits = search([example.question for example in examples])
    draw = random.Random(seed)
    mixer = _Mixer(settings, system, refusal, draw, expansion)
    rows: list[Row] = []
    for repeat in range(settings.repeats):
        kinds = _kinds(examples, settings, draw)
        for example, found, kind in zip(examples, hits, kinds, strict=True):
            rows.append(mixer.row(example, kind, gold[example.id], found, repeat))
    rows += _general_rows(general, len(rows), settings, draw)
    draw.shuffle(rows)
    return tuple(rows)


def _refuse_too_many_sources(examples: Sequence[Example], passages: int) -> None:
    for example in examples:
        if len(example.sources) > passages:
            raise UsageError(
                f"Example {example.id!r} names {len(example.sources)} sources, but a training prompt holds "
                f"data.mix.passages = {passages}: raise it (and index.search.top_k), or leave the example out."
            )


def gold_passages(
    examples: Sequence[Example], snapshot: Snapshot, around: Callable[[int], tuple[Numbered, ...]] = lambda _: ()
) -> dict[str, Gold]:
    """The passages of every source of every example, by example id; `around` as in `Expansion`.

    Raises:
        UsageError: a source matches no passage; the message names the example and the source.
    """
    found: dict[Source, list[Hit]] = {source: [] for example in examples for source in example.sources}
    by_document: dict[str, list[Source]] = {}
    for source in found:
        for document in source.documents:
            by_document.setdefault(document, []).append(source)
    for number, chunk in enumerate(snapshot.chunks()):
        for source in by_document.get(chunk.document_id, ()):
            if source.matches(chunk.document_id, chunk.heading_path[-1], chunk.title):
                found[source].append(Hit.of(chunk, around=around(number)))
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


@dataclass(frozen=True)
class _Mixer:
    """Makes rows of examples; `draw` decides whatever is random, in the order of the rows."""

    settings: MixSection
    system: str
    refusal: str
    draw: random.Random
    expansion: Expansion | None = None

    def row(self, example: Example, kind: Kind, gold: Gold, hits: Sequence[Hit], repeat: int) -> Row:
        """One row of an example that was used `repeat` times before; each time it gets other distractors.

        Args:
            gold: the passages of each source of the example.
            hits: what a search finds for its question, best first.
        """
        if kind == "closed-book":
            # Without passages there is nothing to cite: the citations go, the rest of the form stays.
            return Row(example.id, kind, self._messages(example, None, in_plain_words(example.answer)))
        chosen = self._all_sources(gold) if kind == "gold" else self._some_sources(gold)
        passages = self._shuffled(chosen, gold, hits, repeat)

        def assembled(shown: Sequence[Hit]) -> Row:
            numbers: tuple[int, ...] = ()
            answer = self.refusal if example.sources else example.answer
            if kind == "gold":
                numbers = tuple(_number_of(passage, shown) for passage in chosen)
                answer = _cited(example.answer, numbers)
            messages = self._messages(example, [passage.passage for passage in shown], answer)
            return Row(example.id, kind, messages, tuple(passage.chunk_id for passage in shown), numbers)

        if self.expansion is None:
            return assembled(passages)
        fits = self.expansion.fits
        # A passage that hides the answer must not bring it along, nor a distractor a second place to cite.
        cited = {passage.chunk_id for passage in chosen} if kind == "gold" else set()
        barred = {passage.chunk_id for options in gold for passage in options} - cited
        apart = [one if one.chunk_id in cited else _without(one, barred) for one in passages]
        return assembled(expanded_to_fit(apart, lambda shown: fits(assembled(shown).messages)))

    def _all_sources(self, gold: Gold) -> list[Hit]:
        """One passage of each source: of a section that was cut into several, a search finds one most often."""
        return [self.draw.choice(options) for options in gold]

    def _some_sources(self, gold: Gold) -> list[Hit]:
        """All sources but one for half of the questions over several, as only some may be found; else none."""
        if len(gold) < 2 or self.draw.random() >= 0.5:
            return []
        chosen = [self.draw.choice(options) for options in self.draw.sample(gold, len(gold) - 1)]
        # One passage may hold several sources: what is shown must not hold them all.
        holds_all = all(any(passage in options for passage in chosen) for options in gold)
        return [] if holds_all else chosen

    def _shuffled(self, chosen: Sequence[Hit], gold: Gold, hits: Sequence[Hit], repeat: int) -> list[Hit]:
        """The chosen passages among distractors, as many as a prompt holds, in random order."""
        gold_ids = {passage.chunk_id for options in gold for passage in options}
        shown = list({passage.chunk_id: passage for passage in chosen}.values())
        distractors = [hit for hit in hits if hit.chunk_id not in gold_ids]
        shown += _window(distractors, self.settings.passages - len(shown), repeat)
        self.draw.shuffle(shown)
        return shown

    def _messages(self, example: Example, passages: Sequence[str] | None, answer: str) -> tuple[Message, ...]:
        following = [turn("assistant", answer)]
        return (*conversation(self.system, example.question, passages, history=example.history, following=following),)


def _cited(answer: str, numbers: Sequence[int]) -> str:
    """The answer with its citations, which number the example's sources, numbering the passages of the row."""
    return with_citations(answer, lambda number: numbers[number - 1] if 1 <= number <= len(numbers) else number)


def _number_of(passage: Hit, shown: Sequence[Hit]) -> int:
    """The number of the shown passage that holds another one."""
    return next(
        number
        for number, holder in enumerate(shown, start=1)
        if holder.document_id == passage.document_id and holder.start <= passage.start and passage.end <= holder.end
    )


def _without(passage: Hit, barred: Set[str]) -> Hit:
    """The passage with what is around it on either side only up to a barred chunk."""
    own, *others = passage.around
    kept, closed = [own], set()
    for other in others:  # the nearest first
        is_later = other.number > own.number
        if other.chunk.id in barred:
            closed.add(is_later)
        elif is_later not in closed:
            kept.append(other)
    return replace(passage, around=tuple(kept))


def _window(distractors: Sequence[Hit], wanted: int, repeat: int) -> list[Hit]:
    """The best distractors for a first row, the next best for each further row of the same example."""
    if len(distractors) <= wanted:
        return list(distractors)
    return [distractors[(repeat * wanted + place) % len(distractors)] for place in range(wanted)]


def _general_rows(general: Sequence[Example], rows: int, settings: MixSection, draw: random.Random) -> list[Row]:
    """As many general rows as make up their share of the whole; their prompts have no system turn of ours."""
    if not general or settings.general_share == 0:
        return []
    wanted = round(rows * settings.general_share / (1 - settings.general_share))
    chosen = [example for _ in range(wanted // len(general)) for example in general]
    chosen += draw.sample(list(general), wanted % len(general))
    return [
        Row(one.id, "general", (*one.history, turn("user", one.question), turn("assistant", one.answer)))
        for one in chosen
    ]
