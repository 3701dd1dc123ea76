"""Multiple choice: questions with several answers, of which a model finds one the likeliest.

Scored as lm-evaluation-harness scores ARC: the text of each choice is read after `Question: ...` and `Answer:`, and the
choice with the largest log-likelihood is the model's answer (`acc`), or the one with the largest log-likelihood per
character (`acc_norm`), so that a long choice loses nothing by its length. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragft.data.jsonl import Ids, read_objects, texts_in
from ragft.errors import UsageError


@dataclass(frozen=True)
class ChoiceQuestion:
    """One question with the choices that a model compares; `right` is the number of the right one."""

    id: str
    question: str
    choices: tuple[str, ...]
    right: int

    @property
    def prompt(self) -> str:
        """What stands before a choice."""
        return f"Question: {self.question}\nAnswer:"


def read_choices(path: Path, key: str) -> tuple[ChoiceQuestion, ...]:
    """Reads multiple-choice questions: `{"id", "question", "choices": [...], "labels"?: [...], "answer"}` a line.

    Args:
        key: the configuration key that names the file.

    Raises:
        UsageError: a line lacks a field, has fewer than two choices, repeats an id, or its answer is none of its
            labels, which are A, B, C and so on where none are given.
    """
    questions, ids = list[ChoiceQuestion](), Ids()
    for where, values in read_objects(path, "questions", key):
        question = _question_of(values, where)
        ids.claim(question.id, where)
        questions.append(question)
    return tuple(questions)


def _question_of(values: Mapping[str, Any], where: str) -> ChoiceQuestion:
    for field in ("id", "question"):
        if not isinstance(values.get(field), str | int) or not str(values[field]).strip():
            raise UsageError(f"{where}: field {field!r} is missing or empty.")
    choices = texts_in(values, "choices", where)
    if len(choices) < 2:
        raise UsageError(f"{where}: `choices` must hold two texts or more, and it holds {len(choices)}.")
    labels = texts_in(values, "labels", where) or tuple(chr(ord("A") + at) for at in range(len(choices)))
    if len(labels) != len(choices) or len(set(labels)) < len(labels):
        raise UsageError(f"{where}: `labels` must hold {len(choices)} different texts, one for each choice.")
    answer = values.get("answer")
    if answer not in labels:
        raise UsageError(f"{where}: `answer` is {answer!r}, which is none of the labels {', '.join(labels)}.")
    return ChoiceQuestion(str(values["id"]), str(values["question"]).strip(), choices, labels.index(answer))


def is_right(question: ChoiceQuestion, likelihoods: Sequence[float]) -> bool:
    """Whether the likeliest choice is the right one (`acc`); of equal ones, the first counts.

    Args:
        likelihoods: log-likelihood of each choice, in nats.

    >>> one = ChoiceQuestion("1", "2 + 2?", ("four", "a large number"), 1)
    >>> is_right(one, [-4.0, -7.0]), is_right_per_character(one, [-4.0, -7.0])
    (False, True)
    """
    return _largest(likelihoods) == question.right


def is_right_per_character(question: ChoiceQuestion, likelihoods: Sequence[float]) -> bool:
    """Whether the choice with the largest log-likelihood per character is the right one (`acc_norm`)."""
    lengths = [len(choice) for choice in question.choices]
    return _largest([found / length for found, length in zip(likelihoods, lengths, strict=True)]) == question.right


def _largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda at: values[at])
