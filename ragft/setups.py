"""The four setups, as values.

|                 | without retrieval | with retrieval |
|-----------------|-------------------|----------------|
| **base model**  | `prompt-only`     | `rag-only`     |
| **tuned model** | `fine-tuned`      | `hybrid`       |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ragft.errors import UsageError
from ragft.messages import Message

Arrangement = Literal["passages-first", "question-first", "format-last"]
"""Where things stand in a prompt: passages above the question, as in training; below it; or above it, with the system
prompt repeated at the end of the turn."""


@dataclass(frozen=True)
class Setup:
    """One cell of the table: which model answers, and whether it sees retrieved passages.

    Attributes:
        arrangement: how its prompts are arranged. Tuned models are trained with the first one.
        shots: turns that stand before every conversation, as the examples of a few-shot prompt.
    """

    name: str
    tuned: bool
    retrieval: bool
    arrangement: Arrangement = "passages-first"
    shots: tuple[Message, ...] = field(default=(), hash=False)

    @property
    def model(self) -> str:
        """Which of the two models answers: `"tuned"` or `"base"`."""
        return "tuned" if self.tuned else "base"


@dataclass(frozen=True)
class Arm(Setup):
    """A setup beside the four: it is compared with them and takes no part in the 2x2.

    Attributes:
        engine: which engine answers, by its name in a pipeline: `base`, `tuned`, or one of its own.
    """

    engine: str = ""

    @property
    def model(self) -> str:
        return self.engine


PROMPT_ONLY = Setup("prompt-only", tuned=False, retrieval=False)
RAG_ONLY = Setup("rag-only", tuned=False, retrieval=True)
FINE_TUNED = Setup("fine-tuned", tuned=True, retrieval=False)
HYBRID = Setup("hybrid", tuned=True, retrieval=True)

SETUPS: dict[str, Setup] = {setup.name: setup for setup in (PROMPT_ONLY, RAG_ONLY, FINE_TUNED, HYBRID)}


def setup_named(name: str) -> Setup:
    """The setup with this name.

    Raises:
        UsageError: no setup has that name; the message lists the four.
    """
    if name not in SETUPS:
        raise UsageError(f"There is no setup {name!r}: choose one of {', '.join(SETUPS)}.")
    return SETUPS[name]
