"""Examples with further ones whose questions are worded otherwise, written into a new file."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from index.durable import replacing
from ragft.console import counted, some
from ragft.data.augment.model import back_request, pivot_of, read_wording, request
from ragft.data.augment.synonyms import synonyms_of
from ragft.data.augment.wording import (
    MODEL_KINDS,
    ORIGIN,
    Kind,
    ModelKind,
    Plan,
    augmented,
    fault,
    plans,
    reworded,
)
from ragft.data.copies import key, trained
from ragft.data.examples import Example, as_line, example_of
from ragft.data.generate.model import key_of
from ragft.data.jsonl import Ids, each_line, holds_half_a_character, object_at, refuse_existing, to_lines
from ragft.data.questions import Question, read_questions
from ragft.errors import UsageError
from ragft.kept import Kept, kept_in
from ragft.messages import Message
from ragft.stages.application import Application
from ragft.stages.writing_model import WritingModel, model_name

REPLIES = "augment-replies.jsonl"
_ROUNDS = 3
"""Times that a model is asked for rows that are still lacking, of other examples each time."""


@dataclass
class Told:
    """What was made.

    Attributes:
        examples: that count, all of which are in the file, too.
        wanted, made: rows by kind.
        faults: why wordings did not count, by how often.
        asked: ids of examples whose question is an evaluation question, which are not augmented.
    """

    file: str
    examples: int
    wanted: dict[Kind, int]
    made: Counter[Kind] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    asked: tuple[str, ...] = ()
    requests: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "made": dict(self.made), "faults": dict(self.faults), "asked": list(self.asked)}

    def sentences(self) -> list[str]:
        """For people, one thing each."""
        kinds = ", ".join(f"{kind} ({self.made[kind]:,} of {count:,})" for kind, count in self.wanted.items())
        told = [f"{counted(self.examples, 'example')} and {self.made.total():,} further ones: {kinds or 'none'}"]
        if self.asked:
            told.append(
                f"Not augmented, because they ask what data.questions asks: {counted(len(self.asked), 'example')}: "
                f"{some(self.asked)}"
            )
        if self.faults:
            reasons = "; ".join(f"{reason} ({count:,})" for reason, count in self.faults.most_common(6))
            told.append(f"Wordings that do not count: {reasons}")
        return told


class Augmenting:
    """The augmenting of one configuration: planned, and not begun."""

    def __init__(self, app: Application, out: Path) -> None:
        """
        Raises:
            UsageError: the file exists, or the examples cannot be read.
        """
        refuse_existing(out)
        self.app, self.settings, self._out = app, app.config.data.augment, out
        self._seed = app.fixed_seed

    # --- what there is

    @cached_property
    def _lines(self) -> list[tuple[dict[str, Any], Example | None]]:
        """The lines of the examples, with what each says; None where it does not count."""
        path, ids = self.app.config.data.examples, Ids()
        read: list[tuple[dict[str, Any], Example | None]] = []
        for line in each_line(path, "examples", "data.examples"):
            where = f"{path}, line {line.number}"
            values = object_at(line.raw, where)
            example = example_of(values, where)
            if example is not None:
                ids.claim(example.id, where)
            read.append((values, example))
        return read

    @cached_property
    def examples(self) -> list[Example]:
        return [example for _, example in self._lines if example is not None]

    @cached_property
    def _questions(self) -> tuple[Question, ...]:
        path = self.app.config.data.questions
        if not path.is_file():
            self.app.reporter.say(f"There is no {path} (data.questions), so that nothing is compared with questions.")
            return ()
        return read_questions(path)

    @cached_property
    def _asked(self) -> tuple[str, ...]:
        """Ids of the examples that ask what an evaluation question asks."""
        leaking = self._leaking(self.examples)
        return tuple(example.id for example in self.examples if example.id in leaking)

    @cached_property
    def plans(self) -> list[Plan]:
        """Which examples get further rows."""
        asked = set(self._asked)
        own = [one for one in self.examples if one.id not in asked and not one.origin.startswith(f"{ORIGIN} ")]
        if not own:
            raise UsageError(
                f"None of the {counted(len(self.examples), 'example')} can be augmented: all are augmented already, or "
                "ask what data.questions asks."
            )
        settings = self.settings
        shares: dict[Kind, float] = {
            "typos": settings.typos, "keyboard": settings.keyboard, "case": settings.case,
            "deletion": settings.deletion, "insertion": settings.insertion, "synonyms": settings.synonyms,
            "paraphrase": settings.paraphrase, "back_translation": settings.back_translation,
            "contextual": settings.contextual,
        }  # fmt: skip
        return plans(own, shares, self._seed)

    # --- what it takes

    def estimate(self) -> dict[str, Any]:
        """Rows by kind, and what the model is asked for; asks nobody anything."""
        messages = [
            request(example, plan.kind, self._pivot(example))
            for plan in self.plans if plan.kind in MODEL_KINDS
            for example in plan.order[: plan.wanted]
        ]  # fmt: skip
        with self._replies() as kept:
            name = model_name(self.app) if messages else ""
            known = sum(kept.get(key_of(one, name, self.settings.max_tokens)) is not None for one in messages)
        back = sum(plan.wanted for plan in self.plans if plan.kind == "back_translation")
        return {
            "rows": {plan.kind: plan.wanted for plan in self.plans},
            "requests": len(messages) + back, "known": known,
            "prompt_characters": sum(len(turn["content"]) for one in messages for turn in one),
        }  # fmt: skip

    def estimate_sentence(self) -> str:
        told = self.estimate()
        rows = ", ".join(f"{kind} ({count:,})" for kind, count in told["rows"].items()) or "none"
        if not told["requests"]:
            return f"Further rows: {rows}; no model is asked."
        known = f", {told['known']:,} of which are answered already" if told["known"] else ""
        return f"Further rows: {rows}; about {counted(told['requests'], 'request')} to the model{known}."

    # --- the work

    def write(self) -> Told:
        """Writes the examples, each with its id and group, and the further rows behind them.

        What the model replied is kept, so that an interrupted run goes on where it was.

        Raises:
            UsageError: no example can be augmented, or the wordnet is not here.
            RagftError: the model does not answer.
        """
        told = Told(
            str(self._out), len(self.examples), {plan.kind: plan.wanted for plan in self.plans}, asked=self._asked
        )
        seen = {key(example.spoken) for example in self.examples}
        ids = {example.id for example in self.examples}
        further: list[Example] = []

        def accepted(plan: Plan, worded: Sequence[tuple[Example, str]]) -> None:
            """Takes what counts of some wordings."""
            rows: list[Example] = []
            for example, text in worded:
                row = augmented(example, text, plan.kind, _own_id(f"{example.id}~{plan.kind}", ids))
                same = key(row.spoken)
                reason = fault(example, text, plan.kind)
                if not reason and plan.kind != "case" and same in seen:
                    reason = "another example asks the same"
                if reason:
                    told.faults[reason] += 1
                    continue
                seen.add(same)
                ids.add(row.id)
                rows.append(row)
            leaking = self._leaking(rows)
            told.faults["an evaluation question asks the same"] += len(leaking)
            rows = [row for row in rows if row.id not in leaking][: plan.wanted - told.made[plan.kind]]
            told.made[plan.kind] += len(rows)
            further.extend(rows)

        synonyms = synonyms_of(self.settings.wordnet) if self.settings.synonyms else None
        for plan in self.plans:
            waiting = iter(plan.order)
            while plan.kind not in MODEL_KINDS and (lacking := plan.wanted - told.made[plan.kind]):
                worded = ((one, reworded(one, plan.kind, self._seed, synonyms)) for one in waiting)
                some_rows = list(islice(((one, text) for one, text in worded if text is not None), lacking))
                if not some_rows:
                    break
                accepted(plan, some_rows)
        asking = [plan for plan in self.plans if plan.kind in MODEL_KINDS]
        if asking:
            told.requests = self._ask(asking, told, accepted)
        told.faults = +told.faults
        self._written(further)
        return told

    def _written(self, further: Sequence[Example]) -> None:
        with replacing(self._out) as file:
            for values, example in self._lines:
                # Named after its line, it would have another name in another file.
                named = {} if example is None else {"id": example.id, "group": example.group}
                file.write(to_lines([{**named, **values, **named}]))
            for row in further:
                file.write(to_lines([as_line(row)]))

    def _leaking(self, rows: Sequence[Example]) -> set[str]:
        """Ids of the rows that ask what an evaluation question asks."""
        found: set[str] = set()
        left = list(rows)
        # The nearest row of each question is told, one at a time.
        while near := {copy.of for copy in trained(left, self._questions) if copy.is_leak or copy.kind == "same"}:
            found |= near
            left = [row for row in left if row.id not in near]
        return found

    # --- the model

    @contextmanager
    def _replies(self) -> Iterator[Kept]:
        path = self.app.workspace / "data" / REPLIES
        with kept_in(path, busy="augmenting examples", what="line of replies", keys=("text", "cut_off")) as kept:
            yield kept

    def _pivot(self, example: Example) -> str:
        return pivot_of(example, self.settings.pivots, self._seed)

    def _ask(
        self, asking: Sequence[Plan], told: Told, accepted: Callable[[Plan, Sequence[tuple[Example, str]]], None]
    ) -> int:
        """Lets the model word questions; returns how many requests were made."""
        self.app.reporter.say(self.estimate_sentence())
        with self._replies() as kept, asyncio.Runner() as runner:
            model = WritingModel(self.app, kept, runner)
            runner.run(model.start())
            try:
                for plan in asking:
                    waiting = iter(plan.order)
                    for _ in range(_ROUNDS):
                        batch = list(islice(waiting, plan.wanted - told.made[plan.kind]))
                        if not batch:
                            break
                        accepted(plan, self._worded(model, plan, batch, told.faults))
            finally:
                runner.run(model.close())
            return model.spent["requests"]

    def _worded(
        self, model: WritingModel, plan: Plan, batch: Sequence[Example], faults: Counter[str]
    ) -> list[tuple[Example, str]]:
        kind: ModelKind = plan.kind  # type: ignore[assignment]
        asked = [request(one, kind, self._pivot(one)) for one in batch]
        first = self._said(model, asked, batch, plan.kind, faults)
        if plan.kind != "back_translation":
            return list(first.values())
        own = [example for example, _ in first.values()]
        back = [
            back_request(one, text, self._pivot(one), self.settings.language) for one, text in first.values()
        ]  # fmt: skip
        return list(self._said(model, back, own, plan.kind, faults).values())

    def _said(
        self, model: WritingModel, asked: Sequence[Sequence[Message]], batch: Sequence[Example], kind: Kind,
        faults: Counter[str],
    ) -> Mapping[str, tuple[Example, str]]:  # fmt: skip
        """What the model said of each example, by its id; those without a whole reply are counted."""
        found: dict[str, tuple[Example, str]] = {}
        for example, reply in zip(batch, model.said(asked, self.settings.max_tokens, kind), strict=True):
            if reply is None:
                faults["the model did not answer"] += 1
            elif reply["cut_off"]:
                faults["the reply was cut off at data.augment.max_tokens"] += 1
            elif holds_half_a_character(reply["text"]):
                faults["the reply holds half a character"] += 1
            else:
                found[example.id] = example, read_wording(reply["text"])
        return found


def _own_id(wanted: str, taken: set[str]) -> str:
    """An id that no other row has."""
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    return name
