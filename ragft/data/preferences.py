"""Worse answers beside good ones, for methods that learn from preferences (DPO, ORPO, SimPO, KTO).

A worse answer is one that a setup gave to the example's own question (`ragft.evaluate.faults`), or is made of the good
one. What is made is wrong in one way that an evaluation finds, and right in all others, so that this one thing is
learnt: another value, a value of an earlier time, no citation, no house format, an answer where refusing is right. It
is made of the examples alone: no evaluation question, and no answer to one, can become training data here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ragft.citations import in_plain_words
from ragft.data.examples import Example, as_line
from ragft.data.other_values import another_value, standing
from ragft.patterns import Bounded

Fault = Literal["value", "stale", "uncited", "form", "unrefused", "refused"]
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


@dataclass(frozen=True)
class Worse:
    """A worse answer.

    Attributes:
        fault: what is wrong with it; None where it is the example's own.
        by: the setup that gave it; empty where it was made.
    """

    text: str
    fault: Fault | None = None
    by: str = ""


def with_worse(
    examples: Iterable[Example], rules: Rules, seed: int, said: Mapping[str, Worse] | None = None
) -> Iterator[tuple[Example, Worse | None]]:
    """Each example with a worse answer: its own `rejected`, else what was said, else a made one; None where none can be
    made.

    Of the faults that an example can be given, the one that came least often so far is taken, so that all have about
    the same share. Memory holds one answer of each example that is no refusal.

    Args:
        said: worse answers that were given, by the ids of the examples.
    """
    examples = tuple(examples)
    answers = [one.answer for one in examples if not _refuses(one, rules)]
    counts: dict[Fault, int] = {}
    for example in examples:
        if example.rejected:
            yield example, Worse(example.rejected)
            continue
        worse = (said or {}).get(example.id)
        if worse is None:
            draw = random.Random(f"{seed} worse {example.id}")
            made = _worse(example, rules, answers, draw)
            if not made:
                yield example, None
                continue
            fault = min(made, key=lambda one: (counts.get(one, 0), draw.random()))
            worse = Worse(made[fault], fault)
        if worse.fault:
            counts[worse.fault] = counts.get(worse.fault, 0) + 1
        yield example, worse


def pair_row(example: Example, worse: Worse | None, beside: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The example as a line of a file of examples, with where its worse answer is from.

    Args:
        beside: what else its line has; see `ragft.data.examples.fields_beside`.
    """
    if worse is not None and worse.fault is not None:
        origin = f"rejected: {worse.fault}, said by {worse.by}" if worse.by else f"rejected: {worse.fault} of answer"
        example = replace(example, rejected=worse.text, origin=origin)
    return {**as_line(example), **(beside or {})}


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
        if not earlier or is_earlier(found[1], value):
            return _replaced(answer, value, found[1])
    return None


def _replaced(answer: str, value: str, new: str) -> str:
    return standing(value).sub(lambda _: new, answer)


def is_earlier(value: str, other: str) -> bool:
    """Whether a date in figures, or a version, is before another one; not of other values."""
    return bool(_order(value)) and bool(_order(other)) and _order(value) < _order(other)


def _order(value: str) -> tuple[int, ...]:
    """Puts dates in figures and versions in order; empty for what has none, as dates in words."""
    parts = value.removeprefix("v").replace("-", ".").split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()
