"""One training row: an example among passages, its answer citing them as they are numbered there.

Knows nothing about how many rows of which kind there are; that is `ragft.data.mix`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from index.search.search import Hit
from index.search.surroundings import Numbered
from ragft.citations import in_plain_words, with_citations
from ragft.config import MixSection
from ragft.data.examples import Example
from ragft.data.fictitious import MARK, figures_in, neighbour
from ragft.data.hostile import Order
from ragft.data.rows import Row
from ragft.data.shares import Kind, passages_of_row
from ragft.data.sourced import Sourced
from ragft.fitting import expanded_to_fit
from ragft.patterns import Bounded
from ragft.prompts import Message, conversation, turn


@dataclass(frozen=True)
class Expansion:
    """How the passages of a row are expanded, as those of a prompt are.

    Attributes:
        around: what may be shown around the chunk with a number in the snapshot's order; see `surroundings`.
        fits: whether a row is short enough to be trained on.
    """

    around: Callable[[int], tuple[Numbered, ...]]
    fits: Callable[[Sequence[Message]], bool]


@dataclass(frozen=True)
class RowMaker:
    """Makes rows of examples; `draw` decides whatever is random, in the order of the rows."""

    settings: MixSection
    system: str
    refusal: str
    draw: random.Random
    expansion: Expansion | None = None
    rule: Bounded | None = None
    taken: Set[str] = frozenset()

    def row(
        self, example: Example, kind: Kind, sourced: Sourced, hits: Sequence[Hit], repeat: int, order: Order | None,
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
                said = sourced.said_again(chosen, shown, numbers)
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
            one if kind == "gold" and one.chunk_id in cited else sourced.without_other_answers(one, barred)
            for one in passages
        ]
        shown = expanded_to_fit(apart, lambda shown: fits(assembled(shown).messages))
        hidden = kind == "refusal" and any(
            sourced.is_answered_by(one.passage) for one in shown if one.chunk_id not in cited
        )
        return assembled(passages if hidden else shown)

    def _with_false(
        self, passages: list[Hit], chosen: Sequence[Hit], example: Example, sourced: Sourced, seed: str
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

    def _all_sources(self, sourced: Sourced) -> list[Hit]:
        """One passage of each source that holds its part of the answer; of several, a search finds one most often."""
        return [self.draw.choice(options) for options in sourced.holding]

    def _some_sources(self, sourced: Sourced) -> list[Hit]:
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


def _window(distractors: Sequence[Hit], wanted: int, repeat: int) -> list[Hit]:
    """The best distractors for a first row, the next best for each further row of the same example."""
    if len(distractors) <= wanted:
        return list(distractors)
    return [distractors[(repeat * wanted + place) % len(distractors)] for place in range(wanted)]
