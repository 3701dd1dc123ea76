"""Worse answers made of good ones, for methods that learn from preferences (DPO, ORPO, SimPO, KTO).

Each is wrong in one way that an evaluation finds, and right in all others, so that this one thing is learnt: another
value, a value of an earlier time, no citation, no house format, an answer where refusing is right. They are made of the
examples alone: no evaluation question, and no answer to one, can become training data here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from ragft.citations import in_plain_words
from ragft.data.examples import Example, as_line
from ragft.data.other_values import another_value, standing
from ragft.patterns import Bounded

Fault = Literal["value", "stale", "uncited", "form", "unrefused"]
_TRIES = 60


@dataclass(frozen=True)
class Rules:
    """What a good answer is like.

    Attributes:
        value: finds the value in an answer; None: there is no such rule.
        is_formed: whether a text is in the house format; None: there is none.
        refusal: the declared one.
    """

    value: Bounded | None
    is_formed: Callable[[str], bool] | None
    refusal: str

    def value_in(self, answer: str) -> str:
        found = self.value.search(answer) if self.value else None
        return in_plain_words((found[1] or "") if found else "").strip()


def with_worse(examples: Iterable[Example], rules: Rules, seed: int) -> Iterator[tuple[Example, Fault | None, str]]:
    """Each example with a fault and a worse answer that has it; None and its own `rejected` where it has one, or where
    none can be made.

    Of the faults that an example can have, the one that came least often so far is taken, so that all have about the
    same share. Memory holds one answer of each example that is no refusal.
    """
    examples = tuple(examples)
    answers = [one.answer for one in examples if not _refuses(one, rules)]
    counts: dict[Fault, int] = {}
    for example in examples:
        draw = random.Random(f"{seed} worse {example.id}")
        made = {} if example.rejected else _worse(example, rules, answers, draw)
        if not made:
            yield example, None, example.rejected
            continue
        fault = min(made, key=lambda one: (counts.get(one, 0), draw.random()))
        counts[fault] = counts.get(fault, 0) + 1
        yield example, fault, made[fault]


def pair_row(example: Example, fault: Fault | None, worse: str) -> dict[str, Any]:
    """The example as a line of a file of examples, with what its worse answer was made from."""
    origin = f"rejected: {fault} of answer" if fault else example.origin
    return as_line(replace(example, rejected=worse, origin=origin))


def _refuses(example: Example, rules: Rules) -> bool:
    return example.answer.strip() == rules.refusal.strip()


def _worse(example: Example, rules: Rules, answers: list[str], draw: random.Random) -> dict[Fault, str]:
    """Every worse answer that can be made, by its fault."""
    answer = example.answer
    if _refuses(example, rules):
        return {"unrefused": in_plain_words(draw.choice(answers))} if answers and not example.sources else {}
    value = rules.value_in(answer)
    known = f"{answer}\n{example.spoken}"
    made: dict[Fault, str | None] = {
        "value": _changed(answer, value, known, draw),
        "stale": _changed(answer, value, known, draw, earlier=True),
        "uncited": in_plain_words(answer),
        "form": f"It is {value}." if value else None,
    }
    if rules.is_formed is None or rules.is_formed(str(made["form"])):
        made["form"] = None
    return {fault: text for fault, text in made.items() if text and text.strip() != answer.strip()}


def _changed(answer: str, value: str, known: str, draw: random.Random, *, earlier: bool = False) -> str | None:
    """The answer with another value wherever its value stands; with `earlier`, a date or version before it."""
    if earlier and not _order(value):
        return None
    for _ in range(_TRIES if value else 0):
        found = another_value(value, known, draw)
        if found is None or (earlier and found[0] not in ("date", "version")):
            return None
        if not earlier or _order(found[1]) < _order(value):
            return _replaced(answer, value, found[1])
    return None


def _replaced(answer: str, value: str, new: str) -> str:
    return standing(value).sub(lambda _: new, answer)


def _order(value: str) -> tuple[int, ...]:
    """Puts dates in figures and versions in order; empty for what has none, as dates in words."""
    parts = value.removeprefix("v").replace("-", ".").split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()
