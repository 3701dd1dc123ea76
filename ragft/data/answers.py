"""Which passages hold the answer of an example: a source names a section, and only a part of it may hold the answer.

An answer is looked for by what tells it apart, the surest first: its value, word for word; the figures of the value;
the other figures of the answer; most of its words. What the question says itself tells nothing, and what no passage of
a source holds cannot be decided. Words are compared as the metrics compare them, so that `4.2` is not found in `14.25`
and `30 April 2026` is `2026-04-30`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ragft.citations import without_citations
from ragft.data.examples import Example
from ragft.patterns import Bounded
from ragft.tokens import contains_tokens, tokens

ANSWERS_VERSION = 3
"""Increased whenever another passage may be found to hold an answer: rows are mixed again then."""

HELD = 0.6
"""Share of the words of an answer without a value or figures that a passage must have to hold it."""

SHORT = 4
"""Letters of a word such as "yes" or "none", which is in many passages by chance."""

UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


@dataclass(frozen=True)
class Text:
    """A text as it is compared: its tokens in order, and which there are.

    Writing without spaces has no words to compare, so each pair of neighbouring characters counts as one.
    """

    run: tuple[str, ...]
    words: frozenset[str]


@lru_cache(maxsize=16_384)  # a passage is looked at for many questions
def text_of(text: str) -> Text:
    """The text as it is compared."""
    run: list[str] = []
    for token in tokens(UNSPACED.sub(lambda found: f" {found[0]} ", text)):
        if UNSPACED.fullmatch(token) and len(token) > 1:
            run += [token[at : at + 2] for at in range(len(token) - 1)]
        else:
            run.append(token)
    return Text(tuple(run), frozenset(run))


@dataclass(frozen=True)
class Evidence:
    """What a passage must hold to answer one source's part of a question.

    Attributes:
        run: words that must follow each other; empty: none need to.
        words: those of which it must have a share of `share`.
        told: what question and answer say; of two passages that hold the evidence, the one with more of this is meant.
    """

    run: tuple[str, ...]
    words: frozenset[str]
    share: float
    told: frozenset[str]

    def is_in(self, passage: str) -> bool:
        """Whether a passage holds it."""
        text = text_of(passage)
        if self.run:
            return contains_tokens(text.run, self.run)
        return len(self.words & text.words) >= self.share * len(self.words)

    def is_said_by(self, passage: str, other: str) -> bool:
        """Whether a passage says what another one says, as far as question and answer tell."""
        return self.is_in(passage) and self.told & text_of(other).words <= text_of(passage).words

    def best(self, passages: Iterable[str]) -> list[int]:
        """The places of the passages that hold it and have the most of what question and answer say."""
        common = {at: len(self.told & text_of(text).words) for at, text in enumerate(passages) if self.is_in(text)}
        return [at for at, count in common.items() if count == max(common.values())]


@dataclass(frozen=True)
class Answer:
    """An answer, read for what a passage must hold.

    Attributes:
        value: words of the value that `answer.value` finds; empty where it finds none.
        said: words of the whole answer.
        asked: words of the question, and those before it.
        form: words of the refusal: labels of the house format, which are in every answer.
    """

    value: Text
    said: Text
    asked: Text
    form: Text

    @classmethod
    def of_example(cls, example: Example, value: re.Pattern[str] | Bounded | None, refusal: str) -> Answer:
        """Reads the answer of an example, to which earlier questions belong; see `of`."""
        asked = [turn["content"] for turn in example.history if turn["role"] == "user"]
        return cls.of("\n".join([*asked, example.question]), example.answer, value, refusal)

    @classmethod
    def of(cls, question: str, answer: str, value: re.Pattern[str] | Bounded | None, refusal: str) -> Answer:
        """Reads an answer.

        Args:
            value: its first group is the value in an answer; None: there is no such rule.
            refusal: the declared one.
        """
        found = value.search(answer) if value else None
        cut = without_citations(found[1] or "") if found else ""
        texts = (cut, without_citations(answer), question, refusal)
        # Of an empty text, `tokens` would keep nothing anyway; a blank one is no value.
        return cls(*(text_of(text) if text.strip() else Text((), frozenset()) for text in texts))

    def evidence(self, sources: Sequence[Sequence[str]]) -> list[Evidence | None]:
        """What a passage must hold, for each source of the answer; None where that cannot be decided.

        Args:
            sources: the passages of each source.
        """
        wanted = frozenset(filter(is_figure, self.value.words)) - self.asked.words
        figures = frozenset(filter(is_figure, self.said.words)) - self.asked.words
        short = not wanted and is_short(self.value.run)
        found: list[Evidence | None] = []
        for passages in sources:
            tried = [self._value(passages), self._all(wanted, passages)]
            # A value with figures that no passage has is another value: its date or its number is not there.
            if not wanted or len(sources) > 1:
                tried += [self._most(figures, passages), *self._words(passages)]
            if short:
                tried.append(tried.pop(0))
            found.append(next((evidence for evidence in tried if evidence), None))
        held = (any(one.is_in(text) for text in texts) for one in self._needed(wanted) for texts in sources)
        return found if any(held) or not wanted else [None for _ in sources]

    def _needed(self, wanted: frozenset[str]) -> list[Evidence]:
        run = [self._of(run=self.value.run)] if self.value.run else []
        return [*run, self._of(wanted)] if wanted else run

    def _value(self, passages: Sequence[str]) -> Evidence | None:
        """The value, word for word."""
        if not self.value.run or contains_tokens(self.asked.run, self.value.run):
            return None
        return _held(self._of(run=self.value.run), passages)

    def _all(self, figures: frozenset[str], passages: Sequence[str]) -> Evidence | None:
        return _held(self._of(figures), passages) if figures else None

    def _most(self, figures: frozenset[str], passages: Sequence[str]) -> Evidence | None:
        """As many of the figures as one of the passages has: an answer may reckon with others."""
        most = max((figures & text_of(text).words for text in passages), key=len, default=frozenset())
        return self._of(most) if most else None

    def _words(self, passages: Sequence[str]) -> list[Evidence | None]:
        """The words of the value, and those of the whole answer, without what is in the question or in every answer.

        A single word tells too little.
        """
        known = self.asked.words | self.form.words
        return [
            _held(self._of(words, HELD), passages) if len(words) > 1 else None
            for words in (
                frozenset(word for word in text.words - known if not is_figure(word) and len(word) > 1)
                for text in (self.value, self.said)
            )
        ]

    def _of(self, words: frozenset[str] = frozenset(), share: float = 1.0, run: tuple[str, ...] = ()) -> Evidence:
        return Evidence(run, words, share, (self.said.words | self.asked.words) - self.form.words)


def _held(evidence: Evidence, passages: Sequence[str]) -> Evidence | None:
    return evidence if any(evidence.is_in(text) for text in passages) else None


def run_of(text: str) -> tuple[str, ...]:
    """The tokens of a text in order, as they are compared; none of a blank one."""
    return text_of(text).run if text.strip() else ()


def is_figure(word: str) -> bool:
    """Whether a token has a digit."""
    return any(letter.isdigit() for letter in word)


def is_short(run: tuple[str, ...]) -> bool:
    """Whether a value is a single short word, which stands in passages by chance."""
    return len(run) == 1 and len(run[0]) <= SHORT and not is_figure(run[0])


def holds(passage: str, run: tuple[str, ...]) -> bool:
    """Whether a passage holds a value, word for word."""
    return bool(passage) and contains_tokens(run_of(passage), run)
