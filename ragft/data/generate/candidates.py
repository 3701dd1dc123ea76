"""Candidates: questions with their answers as structure or a model proposes them, before anything is verified."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from blake3 import blake3

from ragft.data.examples import Example
from ragft.data.generate.days import day_near, worked
from ragft.data.generate.facts import Fact
from ragft.data.generate.sections import Section
from ragft.data.generate.wording import Order, Wording, filled, is_noun
from ragft.data.questions import Question
from ragft.data.sources import Source, collapsed
from ragft.messages import Message, turn
from ragft.spelling import date_of_digits
from ragft.tokens import tokens

CANDIDATES_VERSION = 3
"""Increased whenever the same facts give other candidates."""

Key = tuple[str, str]
"""Subject and attribute as they are compared; see `Fact.key`."""
NOTHING: Key = ("", "")

Shape = Literal["single", "comparison", "on-day", "unanswerable", "follow-up"]
SHAPES: tuple[Shape, ...] = ("single", "comparison", "on-day", "unanswerable", "follow-up")

_KNOWN = 3
"""Subjects of a group that must state an attribute before another one that does not is asked for it."""

_LAST_NUMBER = re.compile(r"(?<![\d-])\d{1,3}$")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_VERSION = re.compile(r"version|release", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Where a section belongs.

    Attributes:
        group: examples and questions of one group are about the same documents.
        family: sections of one family are neighbours: what some state is expected of the others.
        in_questions: whether the group is held out for questions, so that nothing of it is trained.
    """

    group: str
    family: str
    in_questions: bool = False


@dataclass(frozen=True)
class Candidate:
    """A question with its answer.

    Attributes:
        way: what it was made from: a kind of `Fact`, or `model`.
        answers: every wording of the value that is right; empty where there is no answer.
        answer: what a tuned model should say, in the house format.
        sections: the sources, in the order in which `[n]` cites them; empty where there is no answer.
        held: what each of them must hold, word for word.
        place: of the first source, or of the section that would be one.
        about: subject and attribute, where these are known.
        beside: those of other facts that it rests on: of the other one of a comparison, of the history of a follow-up.
        label: of an unanswerable question the subject as its document names it; see `Fact.label`.
        near: of an unanswerable question the section that would be expected to answer it.
        history, standalone, paraphrases: as of `Question`.
    """

    shape: Shape
    way: str
    question: str
    answers: tuple[str, ...]
    answer: str
    sections: tuple[Section, ...]
    held: tuple[str, ...]
    place: Place
    about: Key = NOTHING
    beside: tuple[Key, ...] = ()
    label: str = ""
    near: Section | None = None
    history: tuple[Message, ...] = ()
    standalone: str = ""
    paraphrases: tuple[str, ...] = ()

    @property
    def asked(self) -> str:
        """The question as it can be understood alone."""
        return self.standalone or self.question

    @property
    def questions(self) -> tuple[str, ...]:
        """Everything that is asked: the questions before it, its own, and how that can be understood alone."""
        before = (one["content"] for one in self.history if one["role"] == "user")
        return tuple(dict.fromkeys([*before, self.question, self.asked]))

    @property
    def keys(self) -> tuple[Key, ...]:
        """Every subject and attribute that it rests on; none where they are not known."""
        return tuple(key for key in (self.about, *self.beside) if key != NOTHING)

    @property
    def id(self) -> str:
        """By its content, so that it stays where others come or go."""
        said = "\0".join([*(one["content"] for one in self.history), self.question])
        return f"g{blake3(said.encode()).hexdigest()[:10]}"

    @property
    def tags(self) -> tuple[str, ...]:
        return ("generated", self.shape, self.way)

    def example(self, *more_tags: str) -> Example:
        """As a training example."""
        sources = tuple(section.source for section in self.sections)
        tags = (*self.tags, *more_tags)
        return Example(self.id, self.question, self.answer, sources, self.place.group, tags, self.history)

    def evaluation(self, *more_tags: str) -> Question:
        """As an evaluation question."""
        return Question(
            self.id, self.question, self.answers, tuple(section.source for section in self.sections),
            answerable=bool(self.answers), tags=(*self.tags, *more_tags), group=self.place.group, history=self.history,
            standalone=self.standalone or None, paraphrases=self.paraphrases,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """As a line among those that were rejected."""
        return {
            "question": self.question, "answer": self.answer, "answers": list(self.answers), "shape": self.shape,
            "way": self.way, "sources": [section.source for section in self.sections],
            **({"history": list(self.history)} if self.history else {}),
            **({"near": self.near.source} if self.near else {}),
        }  # fmt: skip


def from_structure(
    facts: Sequence[Fact], wording: Wording, places: Mapping[Source, Place], refusal: str, seed: int
) -> list[Candidate]:
    """All that facts give, in a seeded order: single facts, follow-ups, comparisons of neighbours, and attributes that
    neighbours have and one subject lacks.

    Args:
        places: where each section belongs. Neighbours are of one family, and on one side.
        refusal: the declared answer where there is none.
    """
    kept = [fact for fact in facts if not (fact.attribute and fact.kind != "faq" and wording.of(fact.attribute).skip)]
    made = _Structure(wording, places, refusal, seed)
    found = [
        *map(made.single, kept), *made.comparisons(kept), *made.on_days(kept), *made.unanswerable(kept),
        *made.follow_ups(kept),
    ]  # fmt: skip
    random.Random(seed).shuffle(found)
    return found


@dataclass(frozen=True)
class _Structure:
    wording: Wording
    places: Mapping[Source, Place]
    refusal: str
    seed: int

    def single(self, fact: Fact) -> Candidate:
        question, others = self._asked(fact)
        value = self.wording.value(fact)
        answer = self.wording.answered(fact.subject, fact.attribute, value, fact.statement, 1)
        return Candidate(
            "single", fact.kind, question, (value,), answer, (fact.section,), (value,), self._place(fact), fact.key,
            paraphrases=others,
        )  # fmt: skip

    def comparisons(self, facts: Iterable[Fact]) -> Iterator[Candidate]:
        """Two neighbours by an attribute that orders them; each fact is in one at most."""
        for own in self._alike(facts).values():
            for one, other in zip(own[::2], own[1::2], strict=False):
                if compared := self._compared(one, other):
                    yield compared

    def _compared(self, one: Fact, other: Fact) -> Candidate | None:
        left, right = (self.wording.value(fact) for fact in (one, other))
        orders = _orders(left, right, one.attribute)
        if orders is None or collapsed(one.subject) == collapsed(other.subject):
            return None
        chance = self._chance("comparison", one, other)
        order = chance.choice(orders)
        templates = self.wording.of(one.attribute).compared.get(order) or self.wording.compared[order]
        least = one if _measure(left) < _measure(right) else other
        winner = least if order in ("lower", "earlier") else (other if least is one else one)
        names = {"a": one.subject, "b": other.subject, "attribute": one.attribute}
        question, *paraphrases = chance.sample([filled(template, **names) for template in templates], len(templates))
        # Two headings of one section are one source, which is cited once.
        sections = tuple({fact.section.source: fact.section for fact in (one, other)}.values())
        right_answers = _short_forms(winner, one, other)
        named = right_answers[-1] if self.wording.short_winner else winner.subject
        answer = self.wording.answered(
            f"{one.subject} and {other.subject}", one.attribute, named, self._both_stated(one, other, order),
            len(sections),
        )  # fmt: skip
        held = (left, right) if len(sections) == 2 else (left,)
        return Candidate(
            "comparison", one.kind, question, right_answers, answer, sections, held, self._place(one), one.key,
            (other.key,), paraphrases=tuple(paraphrases),
        )  # fmt: skip

    def _both_stated(self, one: Fact, other: Fact, order: Order) -> str:
        """What the documents state of two subjects; with `worked`, how two dates compare, and what follows."""
        left, right = (_measure(self.wording.value(fact))[0] for fact in (one, other))
        if not (self.wording.worked and left and right):
            return f"{one.statement}; {other.statement}"
        first, second = (one, other) if left < right else (other, one)
        earlier, later = (_short_forms(fact, one, other)[-1] for fact in (first, second))
        return (
            f"{one.statement}, {other.statement}, {worked(left, right)}, {earlier} before {later}, "
            f"{order} {earlier if order == 'earlier' else later}"
        )

    def on_days(self, facts: Iterable[Fact]) -> Iterator[Candidate]:
        """Whether what begins or ends at a date holds on a day near it; each fact is in one at most."""
        for fact in self._with_attribute(facts):
            asked, value = self.wording.of(fact.attribute).on_day, self.wording.value(fact)
            when = date_of_digits(" ".join(tokens(value))) if asked is not None else None
            if asked is None or when is None:
                continue
            chance = self._chance("day", fact)
            if (day := day_near(when, chance)) is None:
                continue
            names = {"subject": fact.subject, "attribute": fact.attribute, "day": day}
            question, *others = chance.sample([filled(one, **names) for one in asked.asked], len(asked.asked))
            verdict = asked.yes if (day < when) == asked.until else asked.no
            # The day comes first, so that the statement does not begin as one about the date alone.
            statement = f"asked {day}, {fact.statement}"
            if self.wording.worked:
                statement += f", {worked(day, when)}, later {fact.attribute if day < when else 'asked'}"
            answer = self.wording.answered(fact.subject, fact.attribute, verdict, statement, 1)
            yield Candidate(
                "on-day", fact.kind, question, (verdict,), answer, (fact.section,), (value,), self._place(fact),
                fact.key, paraphrases=tuple(others),
            )  # fmt: skip

    def unanswerable(self, facts: Sequence[Fact]) -> Iterator[Candidate]:
        """What no passage states, near something that one does: an attribute that several neighbours have and this
        subject lacks; the next number after a subject's, which no document has; and what the templates call untold.
        """
        known: dict[tuple[str, str], dict[str, Fact]] = defaultdict(dict)
        own: dict[tuple[str, str], Fact] = {}
        # Two tables about one thing, or two sections, state it of the same label on either side.
        stated: dict[tuple[str, str], set[str]] = defaultdict(set)
        for fact in self._with_attribute(facts):
            group = self._neighbours(fact)
            known[group, collapsed(fact.attribute)].setdefault(collapsed(fact.subject), fact)
            own.setdefault((group, collapsed(fact.subject)), fact)
            stated[self._place(fact).family, collapsed(fact.label)].add(collapsed(fact.attribute))
        of_group: dict[str, list[Fact]] = defaultdict(list)
        for (group, _), holders in known.items():
            if len(holders) >= _KNOWN:
                of_group[group].append(next(iter(holders.values())))
        subjects = {subject for _, subject in own}
        for (group, _), fact in own.items():
            chance = self._chance("missing", fact)
            told = stated[self._place(fact).family, collapsed(fact.label)]
            missing = [model for model in of_group[group] if collapsed(model.attribute) not in told]
            for model in chance.sample(missing, min(2, len(missing))):
                yield self._refused(fact, fact.subject, model.attribute)
            following = _next_number(fact.subject, subjects)
            if following and of_group[group]:
                yield self._refused(fact, following, chance.choice(of_group[group]).attribute)
            if self.wording.untold:
                question = filled(chance.choice(self.wording.untold), subject=fact.subject)
                yield self._unanswerable(fact, question, replace(fact, attribute=""))

    def _refused(self, near: Fact, subject: str, attribute: str) -> Candidate:
        asked = replace(near, subject=subject, attribute=attribute)
        question, others = self._asked(asked)
        return self._unanswerable(near, question, asked, others)

    def _unanswerable(self, near: Fact, question: str, asked: Fact, others: tuple[str, ...] = ()) -> Candidate:
        return Candidate(
            "unanswerable", near.kind, question, (), self.refusal, (), (), self._place(near), asked.key,
            label=asked.label, near=near.section, paraphrases=others,
        )  # fmt: skip

    def follow_ups(self, facts: Iterable[Fact]) -> Iterator[Candidate]:
        """A second question on a subject, which does not name it again."""
        of_subject: dict[tuple[str, str], list[Fact]] = defaultdict(list)
        for fact in self._with_attribute(facts):
            of_subject[fact.section.source, collapsed(fact.subject)].append(fact)
        for own in of_subject.values():
            if len({collapsed(fact.attribute) for fact in own}) < 2:
                continue
            first, second = self._chance("follow-up", own[0]).sample(own, 2)
            templates = self.wording.of(second.attribute).following or self.wording.following
            if first.attribute == second.attribute or not (templates and _can_follow(second, self.wording)):
                continue
            before, alone = self.single(first), self.single(second)
            question = filled(
                self._chance("wording", second).choice(templates), attribute=second.attribute, subject=second.subject
            )
            history = (turn("user", before.question), turn("assistant", before.answer))
            yield Candidate(
                "follow-up", second.kind, question, alone.answers, alone.answer, alone.sections, alone.held,
                alone.place, alone.about, (first.key,), history=history, standalone=alone.question,
            )  # fmt: skip

    def _asked(self, fact: Fact) -> tuple[str, tuple[str, ...]]:
        """The question about a fact, and its other wordings."""
        wordings = self.wording.questions(fact)
        question, *others = self._chance("wording", fact).sample(wordings, len(wordings))
        return question, tuple(others)

    def _alike(self, facts: Iterable[Fact]) -> dict[tuple[str, str], list[Fact]]:
        """The facts of one attribute in one group, in a seeded order."""
        alike: dict[tuple[str, str], list[Fact]] = defaultdict(list)
        for fact in self._with_attribute(facts):
            alike[self._neighbours(fact), collapsed(fact.attribute)].append(fact)
        for (group, attribute), own in alike.items():
            random.Random(f"{self.seed}\0{group}\0{attribute}").shuffle(own)
        return alike

    @staticmethod
    def _with_attribute(facts: Iterable[Fact]) -> Iterator[Fact]:
        return (fact for fact in facts if fact.attribute and fact.kind != "faq")

    def _place(self, fact: Fact) -> Place:
        return self.places[fact.section.source]

    def _neighbours(self, fact: Fact) -> str:
        """What the neighbours of a fact have in common."""
        place = self._place(fact)
        return f"{place.in_questions} {place.family}"

    def _chance(self, what: str, *facts: Fact) -> random.Random:
        """Depends on these facts alone, so that others that come or go change nothing."""
        named = [part for fact in facts for part in (fact.section.source, fact.subject, fact.attribute)]
        return random.Random("\0".join([str(self.seed), what, *named]))


def _next_number(subject: str, taken: Collection[str]) -> str:
    """A subject that ends in a number or a version, with the next one that is not taken; empty where it does not."""
    ending = _LAST_NUMBER.search(subject)
    if ending is None:
        return ""
    for step in range(1, _KNOWN + 1):
        following = f"{subject[: ending.start()]}{int(ending[0]) + step}"
        if collapsed(following) not in taken:
            return following
    return ""


def _can_follow(fact: Fact, wording: Wording) -> bool:
    return bool(wording.of(fact.attribute).following) or is_noun(fact.attribute)


def _measure(value: str) -> tuple[str, float]:
    """A date or a number, to be compared with another one of its kind."""
    first = tokens(value)[0]
    return (first, 0.0) if _DATE.fullmatch(first) else ("", float(first))


def _orders(left: str, right: str, attribute: str) -> tuple[Order, ...] | None:
    """How two values can be ordered; None where they cannot, or are equal."""
    one, other = tokens(left), tokens(right)
    if not (one and other) or one == other or one[1:] != other[1:]:
        return None  # other units
    if len(one) == 1 and _DATE.fullmatch(one[0]) and _DATE.fullmatch(other[0]):
        return ("earlier", "later")
    # Versions look like numbers and are ordered in another way.
    if len(one) > 3 or _VERSION.search(attribute) or not _are_ordered(one[0], other[0]):
        return None
    return ("lower", "higher")


def _are_ordered(one: str, other: str) -> bool:
    """Whether two texts are numbers, of which one is lower however they are read: `3.10` may be a version that follows
    `3.9`, and `1.200` more than a thousand.
    """
    if not (_NUMBER.fullmatch(one) and _NUMBER.fullmatch(other)):
        return False
    decimals = [len(number.partition(".")[2]) for number in (one, other)]
    return 3 not in decimals and not (all(decimals) and decimals[0] != decimals[1]) and float(one) != float(other)


def _short_forms(winner: Fact, one: Fact, other: Fact) -> tuple[str, ...]:
    """The winner's name, and what of it tells the two apart, as in `Ruby 3.4` and `3.4`."""
    loser = other if winner is one else one
    words, others = winner.subject.split(), loser.subject.split()
    common = 0
    while common < min(len(words), len(others)) - 1 and words[common] == others[common]:
        common += 1
    short = " ".join(words[common:])
    return (winner.subject,) if not common else (winner.subject, short)
