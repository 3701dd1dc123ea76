"""Fact metrics: is the answer right? Most compare the value that `answer.value` extracts with the gold answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules, Score, answerable, is_cut_off, metric, unanswerable
from ragft.evaluate.metrics.lenient import is_asserted
from ragft.evaluate.metrics.reading import equals_any, read, value_of, words_of, words_said
from ragft.evaluate.metrics.refusals import outcome_of
from ragft.evaluate.records import Record

Freshness = Literal["right", "stale", "other"]


@metric("exact_match", axis="facts", version=3)
def exact_match(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the value equals a gold answer, or an unanswerable question was refused, in whatever words.

    >>> tried("exact_match", "- **Answer:** 30.04.2026", "2026-04-30", value="Answer: (.+)")
    1.0
    >>> tried("exact_match", "Answer: 4.2\\nNo. Answer: 4.1", "4.2", value="Answer: (.+)")
    0.0
    >>> tried("exact_match", "The documents do not say.")
    1.0
    """
    outcome = outcome_of(question, record, rules)
    if not question.answerable:
        return Score(float(outcome == "refused"))
    return Score(float(outcome == "right"), read(record.answer, rules, cut_off=is_cut_off(record)).detail)


@metric("contains", axis="facts", title="contains the answer", version=3)
def contains(question: Question, record: Record, rules: Rules) -> Score:
    """1 where a gold answer is asserted anywhere in the answer, as whole tokens.

    The lenient counterpart of exact match: it credits a model that knows the fact but not the house format. What is
    denied ("not 4.2"), echoed from the question, offered as an alternative ("4.1 or 4.2") or said beside its opposite
    ("yes or no") is not asserted, and a refusal asserts nothing.

    >>> tried("contains", "I think it is 4.2, the long-term one.", "4.2")
    1.0
    >>> tried("contains", "It is not 4.2.", "4.2")
    0.0
    """
    outcome = outcome_of(question, record, rules)
    if not question.answerable or outcome in ("refused", "hedged", "right"):
        return Score(float(outcome == ("right" if question.answerable else "refused")))
    text = record.answer
    if is_cut_off(record):  # its last word may be half of another one
        text = text.rstrip().rpartition(" ")[0] if text == text.rstrip() else text
    said = [text, *([value] if (value := value_of(text, rules)) else [])]
    asserted = any(is_asserted(gold, one, question.question, rules) for gold in question.answers for one in said)
    return Score(float(asserted))


@metric("token_f1", axis="facts", title="token F1", version=3)
def token_f1(question: Question, record: Record, rules: Rules) -> Score:
    """Token F1 of the value against the closest gold answer (Rajpurkar et al., 2016).

    >>> round(tried("token_f1", "ended in April", "ended late in April"), 3)  # 3 in common, of 3 and of 4
    0.857
    """
    if not question.answerable:
        return exact_match(question, record, rules)
    return Score(max(f1_of(said, gold) for said, gold in _said_and_gold(question, record, rules)))


@metric("rouge_l", axis="facts", title="ROUGE-L", applies=answerable, version=3)
def rouge_l(question: Question, record: Record, rules: Rules) -> Score:
    """F-measure of the longest common subsequence of tokens with the closest gold answer (Lin, 2004).

    >>> round(tried("rouge_l", "April in ended", "ended late in April"), 3)  # 1 in order, of 3 and of 4
    0.286
    """
    measures = (
        harmonic(longest_common_subsequence(said, gold), said, gold)
        for said, gold in _said_and_gold(question, record, rules)
    )
    return Score(max(measures, default=0.0))


@metric("false_refusal", axis="facts", applies=answerable, better="lower", version=3)
@metric("abstention", axis="facts", title="refuses the unanswerable", applies=unanswerable, version=3)
def refusal(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the question was refused: right where it is unanswerable, wrong where it is answerable.

    >>> tried("false_refusal", "I could not find it in the documents.", "4.2")
    1.0
    >>> tried("abstention", "I do not know, but it is probably 4.2.")
    0.0
    """
    return Score(float(outcome_of(question, record, rules) == "refused"))


@metric("hedged", axis="facts", title="refuses and guesses", better="lower", version=2)
def hedged(question: Question, record: Record, rules: Rules) -> Score:
    """1 where a refusal has a guess beside it, so that it is neither a refusal nor an answer.

    >>> tried("hedged", "I do not know, but it is probably 4.2.", "4.2")
    1.0
    """
    return Score(float(outcome_of(question, record, rules) == "hedged"))


@metric("wrong", axis="facts", title="wrong facts", better="lower", version=2)
def wrong(question: Question, record: Record, rules: Rules) -> Score:
    """1 where something wrong was answered; exact match, refusals, hedged answers and wrong ones add up to 1.

    >>> tried("wrong", "4.1", "4.2"), tried("wrong", "I do not know.", "4.2"), tried("wrong", "4.1")
    (1.0, 0.0, 1.0)
    """
    return Score(float(outcome_of(question, record, rules) == "wrong"))


def freshness(question: Question, record: Record, rules: Rules) -> Freshness | None:
    """Whether an answer is `right` (as the documents are now), `stale` (as they were before) or `other`.

    None where the question has no stale answers. An answer that is both, because the fact did not change, is right.
    """
    if not question.stale_answers:
        return None
    outcome = outcome_of(question, record, rules)
    if outcome == ("right" if question.answerable else "refused"):
        return "right"
    reading = read(record.answer, rules, cut_off=is_cut_off(record))
    return "stale" if outcome == "wrong" and equals_any(reading, question.stale_answers) else "other"


def _has_changed(question: Question, record: Record) -> bool:
    """Applies to questions with `stale_answers`."""
    return bool(question.stale_answers)


@metric("fresh", axis="facts", title="changed facts: right", applies=_has_changed, version=3)
def fresh(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the answer to a changed fact is the current one.

    >>> tried("fresh", "2026-04-30", "2026-04-30", stale_answers=("2025-12-01",))
    1.0
    """
    return Score(float(freshness(question, record, rules) == "right"))


@metric("stale", axis="facts", title="changed facts: stale", applies=_has_changed, better="lower", version=3)
def stale(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the answer to a changed fact is the former one.

    >>> tried("stale", "1 December 2025", "2026-04-30", stale_answers=("2025-12-01",))
    1.0
    """
    return Score(float(freshness(question, record, rules) == "stale"))


def f1_of(said: Sequence[str], gold: Sequence[str]) -> float:
    """F1 of two bags of tokens."""
    return harmonic(sum((Counter(said) & Counter(gold)).values()), said, gold)


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


def harmonic(common: int, said: Sequence[str], gold: Sequence[str]) -> float:
    """Harmonic mean of precision and recall, of a number of tokens that two texts have in common."""
    return 2 * common / (len(said) + len(gold)) if common else 0.0


def _said_and_gold(question: Question, record: Record, rules: Rules) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The words of the value beside those of each right answer; a value that equals it counts as written like it."""
    reading = read(record.answer, rules, cut_off=is_cut_off(record))
    return [
        (gold if equals_any(reading, [text]) else words_said(reading, text), gold)
        for text in question.answers
        for gold in (words_of(text),)
    ]
