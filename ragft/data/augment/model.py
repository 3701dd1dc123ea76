"""What a language model is asked for, so that it asks a question otherwise. Knows nothing of engines."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ragft.data.augment.wording import ModelKind, fixed_texts
from ragft.data.examples import Example
from ragft.messages import Message, turn

_SYSTEM = "You reword questions. Reply with the question alone, on one line."
_TASKS: dict[ModelKind, str] = {
    "paraphrase": "Ask the same question in other words, as another person would. Do not answer it.",
    "back_translation": "Translate the question into {pivot}. Do not answer it.",
    "contextual": (
        "Replace one or two words of the question by others that fit there and mean the same, and leave the rest as it "
        "is. Do not answer it."
    ),
}
_BACK = "Translate the question from {pivot} into {language}. Do not answer it."


def request(example: Example, kind: ModelKind, pivot: str) -> tuple[Message, ...]:
    """The conversation that asks for a new wording; of a back-translation the first half."""
    return _messages(_TASKS[kind].format(pivot=pivot), example.question, fixed_texts(example))


def back_request(example: Example, translated: str, pivot: str, language: str) -> tuple[Message, ...]:
    """The conversation that asks for a translation back."""
    return _messages(_BACK.format(pivot=pivot, language=language), translated, fixed_texts(example))


def _messages(task: str, question: str, fixed: Sequence[str]) -> tuple[Message, ...]:
    keep = f"\nKeep as they are: {'; '.join(fixed)}" if fixed else ""
    return turn("system", _SYSTEM), turn("user", f"{task}{keep}\n\nQuestion: {question}")


def pivot_of(example: Example, pivots: Sequence[str], seed: int) -> str:
    """The language that a question is translated into."""
    return random.Random(f"{seed}\0pivot\0{example.id}").choice(pivots)


def read_wording(reply: str) -> str:
    """The question in a reply, without a label or quotes around it."""
    text = reply.strip()
    for label in ("question:", "frage:"):
        if text.casefold().startswith(label):
            text = text[len(label) :].strip()
    for opening, closing in (('"', '"'), ("“", "”"), ("„", "“"), ("«", "»")):
        inner = text[1:-1]
        if text.startswith(opening) and text.endswith(closing) and opening not in inner and closing not in inner:
            return inner.strip()
    return text
