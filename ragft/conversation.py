"""Conversations: a follow-up becomes a question of its own before it is searched for, and old turns make room.

"And by when?" finds nothing by itself. `standalone` adds the words that led to passages before, without a model: it
goes by where words stand in the index, and so by no language's rules. `ragft.rewriting` lets the model do it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from index.store.lexical import Word
from ragft.fitting import largest
from ragft.messages import Message

CONDENSING_VERSION = 1
"""Raised whenever the same turns would become another query."""

Words = Callable[[str], Sequence[Word]]
"""Gives the words of a text but for function words, with the passages that hold them; see `Bm25.words`."""

_TURNS = 8
_CHARACTERS = 1000
"""What is read of a conversation: its last questions, and the beginning of each."""

_FIRST = 8
"""Exchanges whose room is measured at once; of a history of thousands, little more than has room is measured."""

_CARRIED = 8
"""Words that a follow-up is given at most, the rarest ones."""

_COMMON = 0.25
_RARE = 0.1
"""A word that more passages hold than this share leads to none of them; one that stands in no more than the second may
be what a question is about."""

_SHORT = 3
"""Words of a question, numbers and function words apart, up to which it may lean on an earlier one though it names
something itself, as in "and for Angular?"."""


def questions_in(history: Sequence[Message]) -> list[str]:
    """The user's turns."""
    return [turn["content"] for turn in history if turn["role"] == "user" and turn["content"].strip()]


def newest_turns(turns: Sequence[Message], fits: Callable[[Sequence[Message]], bool]) -> list[Message]:
    """The last turns that have room. A question is kept or dropped with all that follows it, tool calls included.

    Args:
        fits: whether turns have room; fewer of the last ones then do, too.
    """
    starts = [place for place, one in enumerate(turns) if one["role"] == "user" or not place]
    kept = largest(len(starts), _FIRST, lambda count: fits(turns[starts[-count] :]))
    return list(turns[starts[-kept] :]) if kept else []


def standalone(question: str, history: Sequence[Message], words: Words) -> str:
    """The query for a question behind earlier turns: the question itself, with words of earlier ones if it needs them.

    A question that leads to no passages by itself is about what the last one was about. A short one that names
    something is, too, if passages hold that together with what the last one was about. A number takes the place of an
    earlier one ("and 18?"). Where no earlier question names anything, the last answer may.

    Args:
        history: the turns before it, oldest first.
    """
    earlier = questions_in(history)[-_TURNS:]
    if not earlier:
        return question
    topic: list[Word] = []
    for text in earlier:
        said = _Said.of(text, words)
        topic = _rarest([*_carried(topic, said), *said.topic]) or topic
    if not topic:
        answers = [turn["content"] for turn in history if turn["role"] == "assistant"]
        topic = _rarest(_Said.of(answers[-1], words).names) if answers else []
    said = _Said.of(question, words)
    kept = [word.text for word in _carried(topic, said)]
    return " ".join([*kept, question])


@dataclass(frozen=True)
class _Said:
    """What a turn says.

    Attributes:
        topic: words that lead to passages, those in at most `_COMMON` of them, and numbers, versions and dates that
            stand in some; in the order of the text.
        length: number of words, numbers and function words apart.
    """

    topic: tuple[Word, ...]
    length: int

    @classmethod
    def of(cls, text: str, words: Words) -> _Said:
        found = list({word.text.casefold(): word for word in words(text[:_CHARACTERS])}.values())
        topic = [word for word in found if len(word.rows) and (_is_number(word) or word.share <= _COMMON)]
        return cls(tuple(topic), sum(not _is_number(word) for word in found))

    @property
    def names(self) -> list[Word]:
        return [word for word in self.topic if not _is_number(word)]

    @property
    def numbers(self) -> list[Word]:
        return [word for word in self.topic if _is_number(word)]

    @property
    def rare(self) -> list[Word]:
        """What it may be about."""
        return [word for word in self.names if word.share <= _RARE]

    @property
    def names_its_topic(self) -> bool:
        """Whether it says by itself what it is about: by a name, or by words that stand together in some passage."""
        told = [*self.rare, *self.numbers]
        together = any(_meet(one.rows, other.rows) for one in self.rare for other in told if other is not one)
        return together or any(word.text != word.text.lower() for word in self.rare)


def _carried(topic: Sequence[Word], said: _Said) -> list[Word]:
    """The words of a topic that a question behind it needs."""
    if said.rare and said.length > _SHORT:
        return []
    kept = [word for word in topic if not _is_number(word)]
    numbers = [word for word in topic if _is_number(word)]
    if said.names_its_topic:
        own = reduce(np.intersect1d, [word.rows for word in said.rare])
        # Without the word that told most of it, what is left of a topic ("Framework" of "Spring Framework") is none.
        first = min(kept, key=lambda word: len(word.rows), default=None)
        kept = [word for word in kept if _meet(word.rows, own)]
        if first is not None and first not in kept:
            return []
        numbers = [word for word in numbers if _meet(word.rows, own)]
        about = said.rare
    else:
        about = kept
    # A number that stands with what is asked about is meant in place of the earlier one; a day of next year is not.
    if any(_meet(number.rows, word.rows) for number in said.numbers for word in about):
        numbers = []
    known = {word.text.casefold() for word in said.topic}
    return [word for word in topic if (word in kept or word in numbers) and word.text.casefold() not in known]


def _rarest(words: Sequence[Word]) -> list[Word]:
    """The rarest of the words in their order."""
    chosen = sorted(words, key=lambda word: len(word.rows))[:_CARRIED]
    return [word for word in words if word in chosen]


def _is_number(word: Word) -> bool:
    return not any(letter.isalpha() for letter in word.text)


def _meet(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> bool:
    return bool(np.isin(one, other, assume_unique=True).any())
