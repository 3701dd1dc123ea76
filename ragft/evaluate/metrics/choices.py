"""Classification: answers that are one of `answer.choices`, with accuracy, macro F1 and the table of confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import NOT_APPLICABLE, Rules, Score, answerable, is_cut_off, metric
from ragft.evaluate.metrics.reading import read
from ragft.evaluate.metrics.refusals import is_refusal
from ragft.evaluate.records import Record
from ragft.tokens import tokens

UNREADABLE, REFUSED = "(none of them)", "(refused)"
"""Labels of answers that are no choice."""


def choice_of(answer: str, rules: Rules, *, cut_off: bool = False) -> str | None:
    """The choice that an answer makes: its value is it, or begins with it and names no other; None where it is none."""
    said = tokens(read(answer, rules, cut_off=cut_off).value)
    named = {choice: tokens(choice) for choice in rules.choices}
    for choice, wanted in named.items():
        if said == wanted:
            return choice
    begun = [choice for choice, wanted in named.items() if said[: len(wanted)] == wanted]
    mentioned = [choice for choice, wanted in named.items() if any(_at(said, at, wanted) for at in range(len(said)))]
    # Of "no" and "no answer" the longer one is meant.
    return max(begun, key=lambda choice: len(named[choice])) if begun and set(mentioned) <= set(begun) else None


@metric("choice_accuracy", axis="facts", title="right choice", applies=answerable, default=False, version=2)
def choice_accuracy(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the answer makes the choice of a gold answer; does not apply where no gold answer is a choice.

    >>> tried("choice_accuracy", "Yes, it does.", "yes", choices=("yes", "no", "maybe"))
    1.0
    >>> tried("choice_accuracy", "Yes or no.", "yes", choices=("yes", "no", "maybe"))
    0.0
    """
    golds = gold_choices(question, rules)
    if not golds:
        return NOT_APPLICABLE
    label = label_of(question, record, rules)
    return Score(float(label in golds), label)


def gold_choices(question: Question, rules: Rules) -> tuple[str, ...]:
    """The choices that are right."""
    golds = {tokens(gold) for gold in question.answers}
    return tuple(choice for choice in rules.choices if tokens(choice) in golds) if question.answerable else ()


def label_of(question: Question, record: Record, rules: Rules) -> str:
    """The choice of an answer, or why it is none."""
    cut_off = is_cut_off(record)
    if choice := choice_of(record.answer, rules, cut_off=cut_off):
        return choice
    refused = record.error is None and is_refusal(record.answer, rules, asked=question.question, cut_off=cut_off)
    return REFUSED if refused else UNREADABLE


def classification(
    questions: Sequence[Question], answers: Mapping[str, Sequence[Record]], rules: Rules
) -> dict[str, dict[str, Any]]:
    """Accuracy, macro F1 and confusions of each setup: `{accuracy, macro_f1, n, f1, confusion}`.

    Over the questions with one gold choice. A failed answer and a refusal are in the table and count as wrong. Macro F1
    is the mean over the choices that occur as gold, so that a rare one weighs as much as a frequent one.

    Args:
        answers: by setup, the records in the order of the questions.
    """
    return {
        setup: found
        for setup, records in answers.items()
        if (found := _of_setup([
            (golds[0], label_of(question, record, rules) if record.error is None else UNREADABLE)
            for question, record in zip(questions, records, strict=True)
            if len(golds := gold_choices(question, rules)) == 1
        ]))
    }  # fmt: skip


def _of_setup(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    if not pairs:
        return {}
    confusion: dict[str, dict[str, int]] = {}
    for gold, label in pairs:
        row = confusion.setdefault(gold, {})
        row[label] = row.get(label, 0) + 1
    f1 = {gold: f1_of_class(pairs, gold) for gold in sorted(confusion)}
    return {
        "accuracy": sum(gold == label for gold, label in pairs) / len(pairs),
        "macro_f1": sum(f1.values()) / len(f1),
        "n": len(pairs), "f1": f1, "confusion": confusion,
    }  # fmt: skip


def f1_of_class(pairs: Sequence[tuple[str, str]], name: str) -> float:
    """F1 of one class of pairs of a gold label and a said one."""
    right = sum(gold == label == name for gold, label in pairs)
    said, wanted = sum(label == name for _, label in pairs), sum(gold == name for gold, _ in pairs)
    return 2 * right / (said + wanted) if right else 0.0


def _at(said: Sequence[str], at: int, wanted: Sequence[str]) -> bool:
    return tuple(said[at : at + len(wanted)]) == tuple(wanted)
