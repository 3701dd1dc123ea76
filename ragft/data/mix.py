"""Training rows: examples mixed with passages of the index.

A row with passages holds the gold passages and mined distractors in seeded random positions, or, for a declared share
of the rows, distractors alone with the declared refusal as the answer. A declared share of the rows has no passages at
all, so that the tuned model has practised what the fine-tuned setup asks of it (after RAFT, arXiv 2403.10131, whose
shares and shuffling these are; refusing instead of answering from memory is ours).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from index.search.search import Hit
from index.store.snapshot import Snapshot
from ragft.citations import in_plain_words
from ragft.config import MixSection
from ragft.data.answers import Answer, run_of, text_of
from ragft.data.examples import Example
from ragft.data.fictitious import words_in
from ragft.data.gold import source_passages
from ragft.data.hostile import Order, order_for
from ragft.data.row_maker import Expansion, RowMaker
from ragft.data.rows import Row, WaitingRows
from ragft.data.shares import Kind, kinds_of, rows_with_false, sampled, tasks_of
from ragft.data.sourced import Sourced
from ragft.errors import UsageError
from ragft.patterns import Bounded
from ragft.prompts import turn
from ragft.tokens import contains_tokens

MIX_VERSION = 3
"""Increased whenever the same examples and passages become other rows."""

_KEPT = 16_384  # examples whose passages are read for what they hold once, and not once more for their row
_AT_ONCE = 8_192  # examples that are searched for at a time: what is found for them is in memory

Search = Callable[[Sequence[str]], Sequence[Sequence[Hit]]]
"""Finds hits for questions, best first, more than a prompt holds: distractors are mined from them."""


@dataclass(frozen=True)
class Mixed:
    """Rows, and the examples of which none of the passages was found to hold the answer.

    Attributes:
        undecided: ids of those examples; by `data.mix.undecided` they are among the rows or left out.
    """

    rows: Sequence[Row]
    undecided: tuple[str, ...] = ()


def mix(
    examples: Sequence[Example], general: Sequence[Example], snapshot: Snapshot, search: Search, settings: MixSection,
    *, system: str, refusal: str, seed: int, expansion: Expansion | None = None, value: str | None = None,
    query: Callable[[Example], str] = lambda example: example.question, waiting: Path | None = None,
) -> Mixed:  # fmt: skip
    """Mixes every example with passages, `settings.repeats` times, or as often as `settings.temperature` asks for.

    Args:
        examples: may be read from a file one by one (`LinesOf`): memory holds a few of them at a time.
        general: instructions of any domain, used for `settings.general_share` of all rows.
        expansion: what passages bring along from around them, as the hits of `search` do; None: nothing.
        value: `answer.value`, which finds the value in an answer; None: there is no such rule.
        query: what is searched for an example.
        waiting: file in which rows wait until all are made and can be shuffled; None: they do in memory.

    Raises:
        SlowPattern: `value` does not come to an end.
        UsageError: an example names a source that the index does not hold, or that may mean several sections, or more
            sources than a row has passages; or no example is left.
    """
    _refuse_too_many_sources(examples, settings.passages)
    gold = source_passages(examples, snapshot, expansion.around if expansion else lambda _: ())
    rule = Bounded(value, "answer.value") if value else None

    @lru_cache(maxsize=_KEPT)
    def sourced(place: int) -> Sourced:
        example = examples[place]
        passages = tuple(gold[source] for source in example.sources)
        return Sourced.of(Answer.of_example(example, rule, refusal), passages)

    undecided = {place: examples[place].id for place in range(len(examples)) if sourced(place).is_undecided}
    places = range(len(examples))
    used: Sequence[int] = places
    if settings.undecided == "drop" and undecided:
        used = [place for place in places if place not in undecided]
        if not used:
            raise UsageError(
                f"None of the {len(undecided)} examples has a passage that holds its answer, so data.mix.undecided = "
                "drop leaves nothing: correct the sources or answer.value, or set it to keep."
            )
    hits = _Hits(search, lambda place: query(examples[place]), used)
    draw = random.Random(seed)
    taken = _names_taken(snapshot) if settings.false_share else frozenset[str]()
    maker = RowMaker(settings, system, refusal, draw, expansion, rule, taken)
    # Orders and made-up passages are drawn apart, so that the shares of them change nothing else about the rows.
    values = _values((examples[place] for place in used), rule, refusal) if settings.adversarial_share else []
    hostile = _Hostile(settings.adversarial_share, values, random.Random(f"{seed} orders"))
    false = random.Random(f"{seed} made up")
    tasks = tasks_of(examples, used) if settings.temperature > 1 else {}
    times = Counter[int]()
    made = WaitingRows(waiting)
    for _ in range(settings.repeats):
        drawn = sampled(tasks, settings.temperature, draw) if tasks else used
        kinds = kinds_of([bool(examples[place].sources) for place in drawn], settings, draw)
        orders = hostile.orders(examples, drawn, kinds)
        beside = rows_with_false(kinds, settings.false_share, false)
        for row, (place, near) in enumerate(hits.each(drawn)):
            seeded = f"{seed} {examples[place].id} {times[place]}" if row in beside else None
            made.add(
                maker.row(examples[place], kinds[row], sourced(place), near, times[place], orders.get(row), seeded)
            )
            times[place] += 1
    for one in _general_rows(general, len(made), settings, draw):
        made.add(one)
    return Mixed(made.shuffled(draw), tuple(undecided.values()))


class _Hits:
    """What a search finds for examples: of few, it is kept; of many, it is searched in batches, row after row."""

    def __init__(self, search: Search, query: Callable[[int], str], places: Sequence[int]) -> None:
        self._search, self._query = search, query
        found = search([query(place) for place in places]) if len(places) <= _AT_ONCE else ()
        self._kept = dict(zip(places, found, strict=True)) if found else {}

    def each(self, places: Sequence[int]) -> Iterator[tuple[int, Sequence[Hit]]]:
        """The places, each with its hits."""
        for start in range(0, len(places), _AT_ONCE):
            batch = places[start : start + _AT_ONCE]
            found = [self._kept[at] for at in batch] if self._kept else self._search([self._query(at) for at in batch])
            yield from zip(batch, found, strict=True)


def _names_taken(snapshot: Snapshot) -> Set[str]:
    return words_in(text for chunk in snapshot.chunks() for text in (chunk.title, *chunk.heading_path))


def _refuse_too_many_sources(examples: Sequence[Example], passages: int) -> None:
    for example in examples:
        if len(example.sources) > passages:
            raise UsageError(
                f"Example {example.id!r} names {len(example.sources)} sources, but a training prompt holds "
                f"data.mix.passages = {passages}: raise it (and index.search.top_k), or leave the example out."
            )


def _values(examples: Iterable[Example], rule: Bounded | None, refusal: str) -> list[str]:
    """The values of the examples that are no refusals, each once; without a rule for values the whole answers."""
    found = dict[str, None]()
    for example in examples:
        if example.answer.strip() != refusal.strip():
            match = rule.search(example.answer) if rule else None
            found[in_plain_words((match[1] or "") if match else example.answer).strip()] = None
    return [value for value in found if value]


@dataclass(frozen=True)
class _Hostile:
    """Gives orders to rows: an exact share, at seeded places."""

    share: float
    values: Sequence[str]
    draw: random.Random

    def orders(self, examples: Sequence[Example], drawn: Sequence[int], kinds: Sequence[Kind]) -> dict[int, Order]:
        """The orders by row, for each that gets one; it demands the answer of another example."""
        orders = dict[int, Order]()
        rows = [row for row, kind in enumerate(kinds) if kind != "closed-book"]
        for row in self.draw.sample(rows, round(self.share * len(rows))):
            own = text_of(examples[drawn[row]].answer).run
            wrong = [value for value in self.values if not contains_tokens(own, run_of(value))]
            if wrong:
                orders[row] = order_for(wrong, self.draw)
        return orders


def _general_rows(general: Sequence[Example], rows: int, settings: MixSection, draw: random.Random) -> list[Row]:
    """As many general rows as make up their share of the whole; their prompts have no system turn of ours."""
    if not general or settings.general_share == 0:
        return []
    wanted = round(rows * settings.general_share / (1 - settings.general_share))
    chosen = [example for _ in range(wanted // len(general)) for example in general]
    chosen += draw.sample(list(general), wanted % len(general))
    return [
        Row(
            one.id,
            "general",
            (*one.history, turn("user", one.question), turn("assistant", one.answer)),
            rejected=one.rejected,
        )
        for one in chosen
    ]
