"""A wrong answer beside its evidence: the question, its sources, the passages shown, and what all setups said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ragft.data.answers import holds, is_figure, is_short, run_of
from ragft.data.questions import Question
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.base import is_cut_off
from ragft.evaluate.metrics.text import is_refusal, value_of
from ragft.evaluate.records import Record
from ragft.setups import SETUPS
from ragft.tokens import contains_tokens

CHOICE = 0.1
"""Share of the answerable questions whose gold answer makes it a choice, as yes and no are: such a word stands in
passages by chance, and two setups say the same by chance. Of short words, two are enough."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Said:
    """What one setup said to a question.

    Attributes:
        right: by exact match.
        contains: by the lenient metric.
        fault: why there is no score; empty where there is one.
    """

    record: Record
    right: bool
    contains: bool
    fault: str

    @classmethod
    def of(cls, record: Record, row: Row) -> Said:
        scores, failed = row["scores"], row["failed"]
        fault = record.error or failed.get("exact_match") or ""
        return cls(record, scores.get("exact_match") == 1.0, scores.get("contains") == 1.0, str(fault))


@dataclass(frozen=True)
class Asked:
    """One question with what every setup said to it.

    Attributes:
        sources: for each source of the question the passages that it consists of; empty where nothing was looked up.
        absent: sources that the index does not hold.
        choices: gold answers that many questions share, as tokens.
    """

    question: Question
    said: Mapping[str, Said]
    rules: Rules
    sources: tuple[tuple[str, ...], ...]
    absent: tuple[str, ...]
    choices: frozenset[tuple[str, ...]]

    @cached_property
    def golds(self) -> list[tuple[str, ...]]:
        """The gold answers that can be looked up in a passage: no choices, and nothing that the question says."""
        return [run for run in map(run_of, self.question.answers) if self.can_look_up(run)]

    def can_look_up(self, run: tuple[str, ...]) -> bool:
        """Whether finding an answer in a passage tells anything."""
        return bool(run) and not is_short(run) and run not in self.choices and not contains_tokens(self._asked, run)

    @cached_property
    def _asked(self) -> tuple[str, ...]:
        return run_of(self.question.question)

    def refuses(self, record: Record) -> bool:
        """Whether an answer to it is a refusal, as the scores see it."""
        return is_refusal(record.answer, self.rules, asked=self.question.question, cut_off=is_cut_off(record))

    def claim(self, said: Said) -> tuple[str, ...]:
        """What an answer claims, as tokens; empty where it refuses or failed.

        It is the value that `answer.value` finds. An answer without one claims the choice in it, where the gold answer
        is a choice; else the figures, or without figures the words, that are neither in the question nor in the refusal
        (labels of the house format).
        """
        answer = said.record.answer
        if said.fault or self.refuses(said.record):
            return ()
        value = run_of(value_of(answer, self.rules))
        if self.rules.value is not None and self.rules.value.search(answer):
            return value
        if any(run_of(gold) in self.choices for gold in self.question.answers):
            chosen = [choice for choice in self.choices if contains_tokens(value, choice)]
            return chosen[0] if len(chosen) == 1 else ()
        known = {*self._asked, *run_of(self.rules.refusal)}
        told = tuple(dict.fromkeys(word for word in value if word not in known))
        return tuple(word for word in told if is_figure(word)) or told


@dataclass(frozen=True)
class Wrong:
    """A wrong answer, beside everything that tells why."""

    asked: Asked
    said: Said

    @property
    def question(self) -> Question:
        return self.asked.question

    @property
    def record(self) -> Record:
        return self.said.record

    @cached_property
    def retrieves(self) -> bool:
        return retrieves(self.record)

    @cached_property
    def claim(self) -> tuple[str, ...]:
        return self.asked.claim(self.said)

    @cached_property
    def refused(self) -> bool:
        return self.asked.refuses(self.record)

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The passages as the model read them; empty texts are unknown."""
        return tuple(passage.text for passage in self.record.passages if passage.text)

    def where(self, run: tuple[str, ...]) -> list[int]:
        """Numbers of the passages shown that hold an answer."""
        return [number for number, one in enumerate(self.record.passages, 1) if holds(one.text, run)]


def retrieves(record: Record) -> bool:
    """Whether a setup saw passages, as far as the record says, whatever the search found for this question."""
    known = record.index_version is not None or bool(record.passages)
    return known and (SETUPS[record.setup].retrieval if record.setup in SETUPS else True)


def is_unrecorded(record: Record) -> bool:
    """Whether a setup sees passages of which the record says nothing, as that of another program may."""
    return record.setup in SETUPS and SETUPS[record.setup].retrieval and not retrieves(record)


def choices_of(questions: Sequence[Question]) -> frozenset[tuple[str, ...]]:
    """Gold answers that so many questions share that they are choices; see `CHOICE`."""
    runs = [{run_of(answer) for answer in question.answers} for question in questions if question.answerable]
    times = Counter(run for found in runs for run in found)
    share = CHOICE * len(runs)
    return frozenset(run for run, count in times.items() if count >= 2 and (count >= share or is_short(run)))
