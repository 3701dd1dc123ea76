"""Counterfactual passages: the value in the passage is changed, and the question asked again. Does the answer follow?

An answer that follows was read; one that is stuck came from memory. A value is replaced by another one of its kind, as
plausible as the first, so that nothing but the passage tells which is right. Construction and judgement are pure
functions; `ask` needs a pipeline, and with it the engine contract alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from index.search.search import Hit
from ragft.data.answers import text_of
from ragft.data.other_values import Kind, another_value, standing
from ragft.data.questions import Question
from ragft.engine.base import EngineDead
from ragft.errors import RagftError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.text import is_refusal, value_of
from ragft.evaluate.statistics import wilson_interval
from ragft.pipeline import Pipeline, Retrieved
from ragft.setups import Setup
from ragft.tokens import contains_tokens

Outcome = Literal["followed", "stuck", "refused", "other", "failed"]
Said = Literal["new", "old", "both", "refused", "other"]
"""Which of two values an answer gives."""

COUNTERFACTUAL_VERSION = 1
"""Increased whenever the same question is changed in another way, or the same answer judged otherwise."""

OUTCOMES: tuple[Outcome, ...] = ("followed", "stuck", "refused", "other")
"""What an answer may be; a failed one is none, and is counted apart."""

_OUTCOME_OF: dict[Said, Outcome] = {
    "new": "followed", "old": "stuck", "both": "other", "refused": "refused", "other": "other",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A question with passages whose value was changed.

    Attributes:
        old, new: the value that the passages held, and the one that they hold now.
        hits: the passages, in their order.
    """

    question: Question
    kind: Kind
    old: str
    new: str
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class Told:
    """What a setup answered to a case."""

    question_id: str
    setup: str
    kind: Kind
    old: str
    new: str
    answer: str
    outcome: Outcome
    error: str | None = None


def changed(question: Question, hits: Sequence[Hit], seed: int) -> Case | None:
    """The question with another value in its passages; None where none of its answers can be changed there.

    The first gold answer is taken that is a date, a version, a number or yes or no and stands in a passage of the
    question's sources (in any passage, if it names none). It is changed wherever it stands in those. A yes or no is
    changed only if it stands once, in a line whose other words are those of the question: it may be of another fact.
    """
    if not question.answerable:
        return None
    draw = random.Random(f"{seed}\0{question.id}")
    own = [not question.sources or bool(question.sources_of(h.document_id, h.heading_path, h.title)) for h in hits]
    known = " ".join([question.question, *question.stale_answers, *(hit.passage for hit in hits)])
    for old in question.answers:
        found = another_value(old, known, draw)
        if found is None:
            continue
        kind, new = found
        pattern = standing(old)
        places = [hit for hit, is_own in zip(hits, own, strict=True) if is_own and pattern.search(hit.text)]
        if not places or pattern.search(question.question):
            continue
        if kind == "choice" and not _is_asked_about(question.question, [hit.text for hit in places], pattern):
            continue
        swapped = tuple(_swapped(hit, pattern, new) if is_own else hit for hit, is_own in zip(hits, own, strict=True))
        return Case(question, kind, old, new, swapped)
    return None


def _is_asked_about(question: str, texts: Sequence[str], pattern: re.Pattern[str]) -> bool:
    """Whether the one line that has a value says at least half of its other words as the question does."""
    lines = [line for text in texts for line in text.splitlines() if pattern.search(line)]
    if len(lines) != 1 or len(pattern.findall(lines[0])) != 1:
        return False
    beside = text_of(pattern.sub(" ", lines[0])).words if pattern.sub("", lines[0]).strip() else frozenset()
    return bool(beside) and 2 * len(beside & text_of(question).words) >= len(beside)


def _swapped(hit: Hit, pattern: re.Pattern[str], new: str) -> Hit:
    """The hit with another value in its text; what could be shown around it would still hold the old one."""
    text = pattern.sub(lambda _: new, hit.text)
    # Headings stay: they tell what the passage is about.
    return replace(hit, text=text, passage=hit.passage.replace(hit.text, text), around=())


def judged(case: Case, answer: str, rules: Rules) -> Outcome:
    """Which of the two values an answer gives: in the house format its value, else the one of them that is in it."""
    return _OUTCOME_OF[said_of(answer, case.old, case.new, rules, asked=case.question.question)]


def said_of(answer: str, old: str, new: str, rules: Rules, *, asked: str) -> Said:
    """Which of two values an answer gives: in the house format its value, else what is in it."""
    if is_refusal(answer, rules, asked=asked):
        return "refused"
    value = value_of(answer, rules)
    said, was, is_now = text_of(value).run, text_of(old).run, text_of(new).run
    if said in (was, is_now):
        return "new" if said == is_now else "old"
    has_new, has_old = contains_tokens(said, is_now), contains_tokens(said, was)
    if has_new and has_old:
        return "both"
    if not (has_new or has_old) or (rules.value is not None and rules.value.search(answer)):
        return "other"
    return "new" if has_new else "old"


async def ask(pipeline: Pipeline, setup: Setup, case: Case, rules: Rules) -> Told:
    """Asks a setup with retrieval about a case, and judges the answer.

    Args:
        pipeline: over an engine that has started; its retriever is not asked.

    Raises:
        EngineDead: the engine died.
    """
    told = Told(case.question.id, setup.name, case.kind, case.old, case.new, "", "failed")
    try:
        prompt = pipeline.render(setup, case.question.question, Retrieved(case.hits, "changed", 0.0))
        if not any(standing(case.new).search(hit.text) for hit in prompt.hits):
            raise RagftError("The passage with the changed value had no room in the prompt.")
        answer = await pipeline.answer(prompt)
    except EngineDead:
        raise
    except RagftError as error:
        return replace(told, error=str(error))
    return replace(told, answer=answer.text, outcome=judged(case, answer.text, rules))


def result(told: Iterable[Told], questions: int, right_before: Collection[str] | None = None) -> dict[str, Any]:
    """The claim of the suite: shares of the outcomes with their 95 % intervals.

    Args:
        questions: number of questions that the cases were made from.
        right_before: ids of the questions that the setup answers rightly from the unchanged passages; None: not known.

    Returns:
        `{questions, cases, n, failed, followed, stuck, refused, other, where_right}`: `n` answers, that is cases
        without the failed ones; each outcome is `{count, share, low, high}` with Wilson's interval (1927), shares None
        without answers; `where_right` holds the same of the questions that were answered rightly before, None where
        that is not known.
    """
    told = list(told)
    before = None if right_before is None else [one for one in told if one.question_id in right_before]
    where_right = None if before is None else _shares(before)
    return {"questions": questions, "cases": len(told), **_shares(told), "where_right": where_right}


def _shares(told: Sequence[Told]) -> dict[str, Any]:
    answered = [one for one in told if one.outcome != "failed"]
    counts = {name: sum(one.outcome == name for one in answered) for name in OUTCOMES}
    shares: dict[str, Any] = {name: _share(count, len(answered)) for name, count in counts.items()}
    return {"n": len(answered), "failed": len(told) - len(answered), **shares}


def _share(count: int, n: int) -> dict[str, Any]:
    if n == 0:
        return {"count": 0, "share": None, "low": None, "high": None}
    low, high = wilson_interval(count, n)
    return {"count": count, "share": count / n, "low": low, "high": high}
