"""Fact metrics: is the answer right? Most compare the value that `answer.value` extracts with the gold answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from ragft.citations import without_citations
from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules, Score, answerable, metric, unanswerable
from ragft.evaluate.metrics.text import is_refusal, value_of
from ragft.evaluate.records import Record
from ragft.tokens import contains_tokens, tokens

Freshness = Literal["right", "stale", "other"]


@metric("exact_match", axis="facts")
def exact_match(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the value equals a gold answer, or an unanswerable question was refused."""
    if not question.answerable:
        return Score(float(is_refusal(record.answer, rules)))
    value = value_of(record.answer, rules)
    return Score(float(_equals_any(value, question.answers)), value)


@metric("contains", axis="facts", title="contains the answer")
def contains(question: Question, record: Record, rules: Rules) -> Score:
    """1 where a gold answer occurs anywhere in the answer, as whole tokens.

    The lenient counterpart of exact match: it credits a model that knows the fact but not the house format.
    """
    if not question.answerable:
        return exact_match(question, record, rules)
    said = (tokens(without_citations(record.answer)), tokens(value_of(record.answer, rules)))
    golds = [tokens(gold) for gold in question.answers]
    return Score(float(any(contains_tokens(text, gold) for gold in golds for text in said)))


@metric("token_f1", axis="facts", title="token F1")
def token_f1(question: Question, record: Record, rules: Rules) -> Score:
    """Token F1 against the closest gold answer (Rajpurkar et al., 2016)."""
    if not question.answerable:
        return exact_match(question, record, rules)
    said = tokens(value_of(record.answer, rules))
    return Score(max(f1_of(said, tokens(gold)) for gold in question.answers))


@metric("rouge_l", axis="facts", title="ROUGE-L", applies=answerable)
def rouge_l(question: Question, record: Record, rules: Rules) -> Score:
    """F-measure of the longest common subsequence of tokens with the closest gold answer (Lin, 2004)."""
    said, golds = tokens(value_of(record.answer, rules)), map(tokens, question.answers)
    measures = (_harmonic(longest_common_subsequence(said, gold), said, gold) for gold in golds)
    return Score(max(measures, default=0.0))


@metric("false_refusal", axis="facts", applies=answerable, better="lower")
@metric("abstention", axis="facts", title="refuses the unanswerable", applies=unanswerable)
def refusal(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the question was refused: right where it is unanswerable, wrong where it is answerable."""
    return Score(float(is_refusal(record.answer, rules)))


def freshness(question: Question, record: Record, rules: Rules) -> Freshness | None:
    """Whether an answer is `right` (as the documents are now), `stale` (as they were before) or `other`.

    None where the question has no stale answers. An answer that is both, because the fact did not change, is right.
    """
    if not question.stale_answers:
        return None
    if exact_match(question, record, rules).value == 1.0:
        return "right"
    return "stale" if _equals_any(value_of(record.answer, rules), question.stale_answers) else "other"


def _has_changed(question: Question, record: Record) -> bool:
    return bool(question.stale_answers)


@metric("fresh", axis="facts", title="changed facts: right", applies=_has_changed)
def fresh(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the answer to a changed fact is the current one."""
    return Score(float(freshness(question, record, rules) == "right"))


@metric("stale", axis="facts", title="changed facts: stale", applies=_has_changed, better="lower")
def stale(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the answer to a changed fact is the former one."""
    return Score(float(freshness(question, record, rules) == "stale"))


def f1_of(said: Sequence[str], gold: Sequence[str]) -> float:
    """F1 of two bags of tokens."""
    return _harmonic(sum((Counter(said) & Counter(gold)).values()), said, gold)


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö, 2004)."""
    places: dict[str, int] = {}
    for at, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << at
    everything = (1 << len(one)) - 1
    row = everything
    for token in other:
        hits = row & places.get(token, 0)
        row = ((row + hits) | (row - hits)) & everything
    return len(one) - row.bit_count()


def _harmonic(common: int, said: Sequence[str], gold: Sequence[str]) -> float:
    return 2 * common / (len(said) + len(gold)) if common else 0.0


def _equals_any(value: str, golds: Sequence[str]) -> bool:
    said = tokens(value)
    return any(said == tokens(gold) for gold in golds)
