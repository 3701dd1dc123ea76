"""What an engine is: messages in, text out, all at once or as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ragft.prompts import Message


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_tokens: longest answer in tokens.
        temperature: 0 is greedy.
        top_p: share of the probability mass that is sampled from.
        seed: of the sampling, where the temperature is above 0.
        stop: strings that end an answer.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delta:
    """A piece of a streamed answer; the last one carries the finish reason.

    Attributes:
        text: what was added.
        token_ids: ids of what was added.
        prompt_token_ids: ids of the whole prompt, as the engine saw it.
        finish_reason: `stop`, `length` or `abort` in the last piece, else None.
    """

    text: str
    token_ids: tuple[int, ...]
    prompt_token_ids: tuple[int, ...]
    finish_reason: str | None


@dataclass(frozen=True)
class Generation:
    """A whole answer.

    Attributes:
        ttft_ms: milliseconds from the call to the first token.
        total_ms: milliseconds from the call to the last token.
    """

    text: str
    token_ids: tuple[int, ...]
    prompt_token_ids: tuple[int, ...]
    finish_reason: str
    ttft_ms: float
    total_ms: float


class Engine(Protocol):
    """One model that generates text. Started and closed by whoever made it; used by many requests at once."""

    @property
    def model_version(self) -> str:
        """Fingerprint of the model's weights and chat template."""

    async def start(self) -> None:
        """Load the model; returns when it can answer."""

    async def close(self) -> None:
        """Free the model. Running answers are aborted."""

    async def check_health(self) -> None:
        """Raise `EngineDead` if the engine cannot answer any more."""

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Generation:
        """Answer a conversation. Cancelling the call frees the engine's slot."""

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncIterator[Delta]:
        """Answer a conversation piece by piece. Closing the iterator frees the engine's slot."""
