"""Training rows: examples mixed with passages of the index.

A row with passages holds the gold passages and mined distractors in seeded random positions, or, for a declared share
of the rows, distractors alone with the declared refusal as the answer. A declared share of the rows has no passages at
all, so that the tuned model has practised what the fine-tuned setup asks of it (after RAFT, arXiv 2403.10131, whose
shares and shuffling these are; refusing instead of answering from memory is ours).

Which passages hold an answer is told by what they say (`ragft.data.answers`), not by the section that they are from.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from index.search.search import Hit
from index.search.surroundings import Numbered
from index.store.snapshot import Snapshot
from ragft.citations import in_plain_words, with_citations
from ragft.config import MixSection
from ragft.data.answers import Answer, Evidence, run_of, text_of
from ragft.data.examples import Example
from ragft.data.fictitious import MARK, figures_in, neighbour, words_in
from ragft.data.gold import Gold, source_passages
from ragft.data.hostile import Order, order_for
from ragft.data.jsonl import LinesOf, to_lines
from ragft.data.shares import Kind, kinds_of, passages_of_row, rows_with_false, sampled, tasks_of
from ragft.errors import UsageError
from ragft.fitting import expanded_to_fit
from ragft.patterns import Bounded
from ragft.prompts import Message, conversation, turn
from ragft.tokens import contains_tokens

MIX_VERSION = 3
"""Increased whenever the same examples and passages become other rows."""

_KEPT = 16_384  # examples whose passages are read for what they hold once, and not once more for their row
_AT_ONCE = 8_192  # examples that are searched for at a time: what is found for them is in memory

Search = Callable[[Sequence[str]], Sequence[Sequence[Hit]]]
"""Finds hits for questions, best first, more than a prompt holds: distractors are mined from them."""


@dataclass(frozen=True)
class Row:
    """One training conversation, ready for the renderer.

    Attributes:
        kind: `gold`: the passages hold the answer; `refusal`: they do not, and the answer says so; `closed-book`: there
            are no passages; `general`: an instruction from elsewhere.
        passages: chunk ids, as numbered in the prompt.
        gold: positions (from 1) of the passages that hold the answer: of each source the one that is cited, then those
            that say the same elsewhere.
        rejected: a worse answer, whose citations are numbered as those of the answer; empty where there is none.
        adversarial: one of the passages gives an order, which the answer does not follow.
        made_up: positions (from 1) of the passages about something that does not exist; see `ragft.data.fictitious`.
    """

    example_id: str
    kind: Kind
    messages: tuple[Message, ...]
    passages: tuple[str, ...] = ()
    gold: tuple[int, ...] = ()
    rejected: str = ""
    adversarial: bool = False
    made_up: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        """The row that `to_json` wrote."""
        lists = ("messages", "passages", "gold", "made_up")
        return cls(**{**values, **{key: tuple(values.get(key, ())) for key in lists}})


@dataclass(frozen=True)
class Mixed:
    """Rows, and the examples of which none of the passages was found to hold the answer.

    Attributes:
        undecided: ids of those examples; by `data.mix.undecided` they are among the rows or left out.
    """

    rows: Sequence[Row]
    undecided: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Sourced:
    """Where the answer of an example stands, source by source.

    Attributes:
        gold: the passages of each source.
        holding: those of them that hold the answer; all of them where that cannot be decided.
        evidence: what a passage must hold; None where that cannot be decided.
    """

    gold: Gold
    holding: Gold
    evidence: tuple[Evidence | None, ...]

    @classmethod
    def of(cls, answer: Answer, gold: Gold) -> _Sourced:
        texts = [[passage.passage for passage in options] for options in gold]
        evidence = answer.evidence(texts)
        holding = (
            tuple(options[at] for at in one.best(passages)) if one else options
            for one, passages, options in zip(evidence, texts, gold, strict=True)
        )
        return cls(gold, tuple(holding), tuple(evidence))

    @property
    def is_undecided(self) -> bool:
        return None in self.evidence

    def is_answered_by(self, passage: str) -> bool:
        """Whether a passage holds what one of the sources says of the answer."""
        return any(one.is_in(passage) for one in self.evidence if one)


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
    def sourced(place: int) -> _Sourced:
        example = examples[place]
        passages = tuple(gold[source] for source in example.sources)
        return _Sourced.of(Answer.of_example(example, rule, refusal), passages)

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
    mixer = _Mixer(settings, system, refusal, draw, expansion, rule, taken)
    # Orders and made-up passages are drawn apart, so that the shares of them change nothing else about the rows.
    values = _values((examples[place] for place in used), rule, refusal) if settings.adversarial_share else []
    hostile = _Hostile(settings.adversarial_share, values, random.Random(f"{seed} orders"))
    false = random.Random(f"{seed} made up")
    tasks = tasks_of(examples, used) if settings.temperature > 1 else {}
    times = Counter[int]()
    made = _Waiting(waiting)
    for _ in range(settings.repeats):
        drawn = sampled(tasks, settings.temperature, draw) if tasks else used
        kinds = kinds_of([bool(examples[place].sources) for place in drawn], settings, draw)
        orders = hostile.orders(examples, drawn, kinds)
        beside = rows_with_false(kinds, settings.false_share, false)
        for row, (place, near) in enumerate(hits.each(drawn)):
            seeded = f"{seed} {examples[place].id} {times[place]}" if row in beside else None
            made.add(
                mixer.row(examples[place], kinds[row], sourced(place), near, times[place], orders.get(row), seeded)
            )
            times[place] += 1
    for one in _general_rows(general, len(made), settings, draw):
        made.add(one)
    return Mixed(made.shuffled(draw), tuple(undecided.values()))


class _Waiting:
    """Rows that wait until all are made."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._file = path, path.open("wb") if path else None
        self._rows: list[Row] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, row: Row) -> None:
        self._count += 1
        if self._file:
            self._file.write(to_lines([row.to_json()]))
        else:
            self._rows.append(row)

    def shuffled(self, draw: random.Random) -> Sequence[Row]:
        """All rows in random order."""
        if not self._file or not self._path:
            draw.shuffle(self._rows)
            return tuple(self._rows)
        self._file.close()
        order = array("I", range(self._count))
        draw.shuffle(order)
        return LinesOf(self._path, Row.from_json, order)


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


@dataclass(frozen=True)
class _Mixer:
    """Makes rows of examples; `draw` decides whatever is random, in the order of the rows."""

    settings: MixSection
    system: str
    refusal: str
    draw: random.Random
    expansion: Expansion | None = None
    rule: Bounded | None = None
    taken: Set[str] = frozenset()

    def row(
        self, example: Example, kind: Kind, sourced: _Sourced, hits: Sequence[Hit], repeat: int, order: Order | None,
        false: str | None = None,
    ) -> Row:  # fmt: skip
        """One row of an example that was used `repeat` times before; each time it gets other distractors.

        Args:
            sourced: where its answer stands.
            hits: what a search finds for its question, best first.
            order: what one of the passages demands; None: nothing.
            false: decides what is made up for a passage beside those with the answer; None: nothing is.
        """
        if kind == "closed-book":
            # Without passages there is nothing to cite: the citations go, the rest of the form stays.
            answer, worse = in_plain_words(example.answer), in_plain_words(example.rejected)
            return Row(example.id, kind, self._messages(example, None, answer), rejected=_if_other(worse, answer))
        chosen = self._all_sources(sourced) if kind == "gold" else self._some_sources(sourced)
        gold_ids = {passage.chunk_id for options in sourced.gold for passage in options}
        distractors = [
            hit
            for hit in hits
            if hit.chunk_id not in gold_ids and (kind == "gold" or not sourced.is_answered_by(hit.passage))
        ]
        passages = self._shuffled(chosen, distractors, repeat)
        if false is not None:
            passages = self._with_false(passages, chosen, example, sourced, false)

        def assembled(shown: Sequence[Hit]) -> Row:
            numbers: tuple[int, ...] = ()
            answer, worse = self.refusal if example.sources else example.answer, example.rejected
            if kind == "gold":
                numbers = tuple(_number_of(passage, shown) for passage in chosen)
                answer = _cited(example.answer, numbers)
                said = _saying_the_same(sourced, chosen, shown, numbers)
                worse = _cited(worse, (*numbers, *_others(len(shown), {*numbers, *said})))
                numbers += said
            elif worse:
                # Where refusing is right, answering is worse, and refusing for another reason is not.
                worse = example.answer if worse.strip() == answer.strip() else worse
                worse = _cited(worse, range(1, len(shown) + 1))
            told = order.within(shown) if order else shown
            messages = self._messages(example, [passage.passage for passage in told], answer)
            chunks = tuple(passage.chunk_id for passage in shown)
            return Row(
                example.id, kind, messages, chunks, numbers, _if_other(worse, answer),
                adversarial=order is not None and bool(shown),
                made_up=tuple(n for n, one in enumerate(shown, start=1) if one.chunk_id.endswith(MARK)),
            )  # fmt: skip

        if self.expansion is None:
            return assembled(passages)
        fits = self.expansion.fits
        # A passage that hides the answer must not bring it along, nor a distractor a second place to cite.
        cited = {passage.chunk_id for passage in chosen}
        barred = gold_ids - cited if kind == "gold" else gold_ids
        apart = [
            one if kind == "gold" and one.chunk_id in cited else _without(one, barred, sourced) for one in passages
        ]
        shown = expanded_to_fit(apart, lambda shown: fits(assembled(shown).messages))
        hidden = kind == "refusal" and any(
            sourced.is_answered_by(one.passage) for one in shown if one.chunk_id not in cited
        )
        return assembled(passages if hidden else shown)

    def _with_false(
        self, passages: list[Hit], chosen: Sequence[Hit], example: Example, sourced: _Sourced, seed: str
    ) -> list[Hit]:
        """The passages with a neighbour of one with the answer instead of one without it; as they are, if none can be
        made.
        """
        cited = {passage.chunk_id for passage in chosen}
        others = [at for at, one in enumerate(passages) if one.chunk_id not in cited]
        found = self.rule.search(example.answer) if self.rule else None
        own = [in_plain_words(found[1] or "").strip()] if found else []
        values = [*own, *figures_in(in_plain_words(example.answer))]
        known = "\n".join([example.spoken, example.answer, *(one.passage for one in passages)])
        for passage in chosen if others else ():
            made = neighbour(passage, example.question, values, known, self.taken, seed)
            if made is not None and not sourced.is_answered_by(made.passage):
                at = random.Random(seed).choice(others)
                return [made if place == at else one for place, one in enumerate(passages)]
        return passages

    def _all_sources(self, sourced: _Sourced) -> list[Hit]:
        """One passage of each source that holds its part of the answer; of several, a search finds one most often."""
        return [self.draw.choice(options) for options in sourced.holding]

    def _some_sources(self, sourced: _Sourced) -> list[Hit]:
        """All sources but one for half of the questions over several, as only some may be found; else none."""
        count = len(sourced.gold)
        if count < 2 or self.draw.random() >= 0.5:
            return []
        kept = self.draw.sample(range(count), count - 1)
        chosen = [self.draw.choice(sourced.holding[place]) for place in kept]
        (left_out,) = set(range(count)) - set(kept)
        # One passage may hold several sources: what is shown must not hold them all.
        evidence, options = sourced.evidence[left_out], sourced.gold[left_out]
        holds_all = any(passage in options or (evidence and evidence.is_in(passage.passage)) for passage in chosen)
        return [] if holds_all else chosen

    def _shuffled(self, chosen: Sequence[Hit], distractors: Sequence[Hit], repeat: int) -> list[Hit]:
        """The chosen passages among distractors, as many as a prompt holds, or at random fewer, in random order."""
        shown = list({passage.chunk_id: passage for passage in chosen}.values())
        wanted = passages_of_row(self.settings, self.draw)
        shown += _window(distractors, max(0, wanted - len(shown)), repeat)
        self.draw.shuffle(shown)
        return shown

    def _messages(self, example: Example, passages: Sequence[str] | None, answer: str) -> tuple[Message, ...]:
        following = [turn("assistant", answer)]
        return (*conversation(self.system, example.question, passages, history=example.history, following=following),)


def _cited(answer: str, numbers: Sequence[int]) -> str:
    """The answer with its citations, which number the example's sources, numbering the passages of the row."""
    return with_citations(answer, lambda number: numbers[number - 1] if 1 <= number <= len(numbers) else number)


def _if_other(worse: str, answer: str) -> str:
    """A worse answer, unless it is the same as the answer once citations are numbered, or left out."""
    return "" if worse.strip() == answer.strip() else worse


def _others(shown: int, gold: Set[int]) -> list[int]:
    """Numbers of the passages that do not hold the answer: what a worse answer cites beyond the sources."""
    return [number for number in range(1, shown + 1) if number not in gold]


def _number_of(passage: Hit, shown: Sequence[Hit]) -> int:
    """The number of the shown passage that holds another one."""
    return next(
        number
        for number, holder in enumerate(shown, start=1)
        if holder.document_id == passage.document_id and holder.start <= passage.start and passage.end <= holder.end
    )


def _saying_the_same(
    sourced: _Sourced, chosen: Sequence[Hit], shown: Sequence[Hit], numbers: Sequence[int]
) -> tuple[int, ...]:
    """The numbers of further passages that say what one of the chosen ones says, in another document perhaps."""
    told = [(one, passage.passage) for one, passage in zip(sourced.evidence, chosen, strict=True) if one]
    return tuple(
        number
        for number, passage in enumerate(shown, start=1)
        if number not in numbers and any(one.is_said_by(passage.passage, other) for one, other in told)
    )


def _without(passage: Hit, barred: Set[str], sourced: _Sourced) -> Hit:
    """The passage with what is around it on either side only up to a chunk that is barred or holds the answer."""
    if not passage.around:  # a made-up one
        return passage
    own, *others = passage.around
    kept, closed = [own], set()
    for other in others:  # the nearest first
        is_later = other.number > own.number
        if other.chunk.id in barred or sourced.is_answered_by(other.chunk.passage):
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
        Row(
            one.id,
            "general",
            (*one.history, turn("user", one.question), turn("assistant", one.answer)),
            rejected=one.rejected,
        )
        for one in chosen
    ]
