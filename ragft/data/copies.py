"""Questions that were asked before: evaluation questions among the training examples, or under two ids.

An answer that was trained measures nothing, and a question that is asked twice counts twice. What a copy may change is
named in `Copy.kind`; texts with other figures are never copies, because questions are often made by one pattern.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ragft.data.answers import text_of
from ragft.data.duplicates import ALIKE, FURTHER, TELLING, normal, same_figures
from ragft.data.examples import Example
from ragft.data.history import spoken
from ragft.data.questions import Question
from ragft.tokens import contains_tokens

Kind = Literal["same", "reordered", "longer", "alike"]

_SHORT = 4  # letters of an answer such as "yes" or "none", which many questions have by chance
_KINDS: tuple[Kind, ...] = ("same", "reordered", "longer", "alike")


@dataclass(frozen=True)
class Copy:
    """A question that says what another text says.

    Attributes:
        question: id of the question.
        of: id of the example, or of the other question.
        kind: `same`: equal but for case, white space, punctuation around words and how accents are encoded;
            `reordered`: the same words in another order; `longer`: one has all words of the other and few besides;
            `alike`: `duplicates.ALIKE` of the words, weighted by how rare they are.
        is_leak: whether the answer is known from the other. A near copy may ask for something else, so it counts where
            the other one's answer holds an answer of the question, and more than a word such as "yes".
    """

    question: str
    of: str
    kind: Kind
    is_leak: bool

    @property
    def remark(self) -> str:
        """How near it is, to stand behind the two ids; empty where it is the same."""
        return "" if self.kind == "same" else f" ({self.kind})"


@dataclass(frozen=True)
class _Asked:
    """A text that asks, with what would answer it."""

    id: str
    text: str
    answers: tuple[str, ...]

    @classmethod
    def of(cls, question: Question) -> _Asked:
        return cls(question.id, question.spoken, question.answers)

    @classmethod
    def each(cls, question: Question) -> Iterator[_Asked]:
        """The question in every wording that its file declares: suites ask them, too."""
        for text in dict.fromkeys([question.spoken, question.standalone or "", *question.paraphrases]):
            if text:
                yield cls(question.id, text, question.answers)


def key(text: str) -> str:
    """What texts have in common that differ in case, white space, punctuation and the encoding of accents alone."""
    return normal(unicodedata.normalize("NFC", text))


def trained(examples: Iterable[Example], questions: Iterable[Question]) -> list[Copy]:
    """For each question that is among the examples, in any wording, the one that comes nearest, in the order of the
    questions.
    """
    known = [taught for example in examples for taught in _taught(example)]
    nearest: dict[str, Copy] = {}
    for copy in _copies([one for question in questions for one in _Asked.each(question)], known):
        nearest[copy.question] = min(nearest.get(copy.question, copy), copy, key=nearness)
    return list(nearest.values())


def _taught(example: Example) -> Iterator[_Asked]:
    """The question of an example, and those in its history: their answers are shown, and perhaps trained."""
    yield _Asked(example.id, example.spoken, (example.answer,))
    turns = tuple(one for one in example.history if one["role"] != "system")
    for place, (asked, reply) in enumerate(pairwise(turns)):
        if (asked["role"], reply["role"]) == ("user", "assistant"):
            yield _Asked(example.id, spoken(turns[:place], asked["content"]), (reply["content"],))


def copied(examples: Sequence[Example], questions: Sequence[Question]) -> Iterator[tuple[int, list[Copy]]]:
    """For each example that comes near questions its place, and those questions as `Copy`, the nearest first.

    The same comparison as `trained`, seen from the examples, so that any number of them can be looked at in turn.
    """
    asked = [(place, taught) for place, example in enumerate(examples) for taught in _taught(example)]
    known = [one for question in questions for one in _Asked.each(question)]
    near = _Near([taught.text for _, taught in asked], [one.text for one in known])
    same: dict[str, list[int]] = defaultdict(list)
    for at, one in enumerate(known):
        same[key(one.text)].append(at)
    for place, taught in asked:
        equal = same.get(key(taught.text), [])
        found: list[tuple[Kind, int]] = [("same", at) for at in equal]
        found += [(kind, at) for kind, at in near.to(taught.text) if at not in equal]
        copies = [Copy(known[at].id, taught.id, kind, _tells(kind, known[at], taught)) for kind, at in found]
        if copies:
            nearest_first = sorted(copies, key=nearness)
            yield place, list({copy.question: copy for copy in reversed(nearest_first)}.values())[::-1]


def nearness(copy: Copy) -> tuple[bool, int]:
    """Sorts copies: those whose answer is known first, then by kind."""
    return not copy.is_leak, _KINDS.index(copy.kind)


def repeated(questions: Iterable[Question]) -> list[Copy]:
    """For each question that was asked under another id before, the nearest one before it."""
    asked = [_Asked.of(question) for question in questions]
    return _copies(asked, asked, before=True)


def _copies(asked: Sequence[_Asked], known: Sequence[_Asked], *, before: bool = False) -> list[Copy]:
    """The nearest of the known texts for each that is asked; with `before`, of those before its own place alone."""
    near = _Near([one.text for one in asked], [one.text for one in known])
    first: dict[str, int] = {}
    for place, one in enumerate(known):
        first.setdefault(key(one.text), place)
    copies = []
    for place, one in enumerate(asked):
        end = place if before else len(known)
        same = first.get(key(one.text), end)
        found: Iterable[tuple[Kind, int]] = [("same", same)] if same < end else near.to(one.text)
        candidates = [Copy(one.id, known[at].id, kind, _tells(kind, one, known[at])) for kind, at in found if at < end]
        if candidates:
            copies.append(min(candidates, key=nearness))
    return copies


def _tells(kind: Kind, asked: _Asked, known: _Asked) -> bool:
    """See `Copy.is_leak`."""
    if kind == "same":
        return True
    said = [text_of(text).run for text in known.answers]
    wanted = [answer for answer in asked.answers if kind == "reordered" or _is_telling(answer)]
    return any(contains_tokens(run, text_of(answer).run) for answer in wanted for run in said)


def _is_telling(answer: str) -> bool:
    return len(answer) > _SHORT or any(letter.isdigit() for letter in answer)


class _Near:
    """Texts to find near copies among; only those with a rare word in common are compared."""

    def __init__(self, asked: Sequence[str], known: Sequence[str]) -> None:
        """`known` are those that may be found; both together tell how rare words are."""
        texts = [*asked, *known]
        times = Counter(word for text in texts for word in text_of(text).words)
        self._weight = {word: math.log(1 + len(texts) / count) for word, count in times.items()}
        self._known = [text_of(text) for text in known]
        self._sorted = [sorted(key(text).split()) for text in known]
        self._by_word: dict[str, list[int]] = defaultdict(list)
        for place, text in enumerate(self._known):
            for word in self._telling(text.words):
                self._by_word[word].append(place)

    def to(self, text: str) -> Iterator[tuple[Kind, int]]:
        """The known texts that a text comes near to, in their order."""
        words, in_order = text_of(text).words, sorted(key(text).split())
        places = {place for word in self._telling(words) for place in self._by_word.get(word, ())}
        for place in sorted(places):
            other = self._known[place].words
            kind = "reordered" if in_order == self._sorted[place] else self._kind(words, other)
            if kind is not None and same_figures(words, other):
                yield kind, place

    def _kind(self, one: frozenset[str], other: frozenset[str]) -> Kind | None:
        shorter, longer = sorted((one, other), key=len)
        if len(shorter) < TELLING:
            return None
        if shorter < longer and len(longer) - len(shorter) <= max(1, FURTHER * len(shorter)):
            return "longer"
        return "alike" if self._of(one & other) >= ALIKE * self._of(one | other) else None

    def _telling(self, words: frozenset[str]) -> list[str]:
        """The rarest words: texts that come near each other have one of them in common.

        Before the rarest word in common, either text has at most as many words of its own as `FURTHER` allows, because
        by `ALIKE` those in common weigh three times as much as all others, and each of them is less rare.
        """
        ordered = sorted(words, key=lambda word: (-self._weight[word], word))
        return ordered[: max(1, math.floor(FURTHER * len(words))) + 1]

    def _of(self, words: frozenset[str]) -> float:
        return sum(self._weight[word] for word in words)
