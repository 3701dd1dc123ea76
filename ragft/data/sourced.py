"""Where the answer of an example stands among passages.

Which passages hold an answer is told by what they say (`ragft.data.answers`), not by the section that they are from.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from index.search.search import Hit
from ragft.data.answers import Answer, Evidence
from ragft.data.gold import Gold


@dataclass(frozen=True)
class Sourced:
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
    def of(cls, answer: Answer, gold: Gold) -> Sourced:
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

    def said_again(self, chosen: Sequence[Hit], shown: Sequence[Hit], numbers: Sequence[int]) -> tuple[int, ...]:
        """The numbers of further passages that say what one of the chosen ones says, in another document perhaps."""
        told = [(one, passage.passage) for one, passage in zip(self.evidence, chosen, strict=True) if one]
        return tuple(
            number
            for number, passage in enumerate(shown, start=1)
            if number not in numbers and any(one.is_said_by(passage.passage, other) for one, other in told)
        )

    def without_other_answers(self, passage: Hit, barred: Set[str]) -> Hit:
        """The passage with what is around it on either side only up to a chunk that is barred or holds the answer."""
        if not passage.around:  # a made-up one
            return passage
        own, *others = passage.around
        kept, closed = [own], set()
        for other in others:  # the nearest first
            is_later = other.number > own.number
            if other.chunk.id in barred or self.is_answered_by(other.chunk.passage):
                closed.add(is_later)
            elif is_later not in closed:
                kept.append(other)
        return replace(passage, around=tuple(kept))
