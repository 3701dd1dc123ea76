"""What an engine is: one model that answers conversations. Everything that generates text goes through this contract.

Requests and answers are those of OpenAI's chat completions, so that whatever a client may ask for (several choices,
stop strings, tools, log probabilities, a JSON schema) passes through, and what is measured is what is served.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ragft.errors import RagftError, UsageError
from ragft.messages import Message


@dataclass(frozen=True)
class ChatRequest:
    """A conversation to answer.

    Attributes:
        messages: the conversation, as `ragft.prompts.conversation` assembles it.
        options: further fields of OpenAI's request: `max_tokens`, `temperature`, `n`, `stop` and so on.
        trace_headers: `traceparent` and `tracestate` of the span that the engine's own spans belong to; may be empty.
    """

    messages: Sequence[Message]
    options: Mapping[str, Any] = field(default_factory=dict)
    trace_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TextRequest:
    """Texts to continue as they stand, without any template around them.

    Attributes:
        prompt: a text, its token ids, or a list of either.
        options: further fields of OpenAI's completion request: `max_tokens`, `echo`, `logprobs` and so on.
        trace_headers: see `ChatRequest`.
    """

    prompt: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]]
    options: Mapping[str, Any] = field(default_factory=dict)
    trace_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Completion:
    """A whole answer.

    Attributes:
        body: OpenAI's chat completion object, as JSON values.
        text: the first choice.
        token_ids: ids of the first choice, its end token included; empty where the engine does not tell.
        prompt_token_ids: ids of the whole prompt, as the model saw it; empty where the engine does not tell.
        finish_reason: why the first choice ended: `stop`, `length`, `tool_calls` or `abort`.
        ttft_ms: milliseconds from the request to the first token; None where the engine does not tell.
        total_ms: milliseconds from the request to the whole answer.
        queue_ms: milliseconds of them before the engine began; None where it does not tell.
    """

    body: dict[str, Any]
    text: str
    token_ids: tuple[int, ...]
    prompt_token_ids: tuple[int, ...]
    finish_reason: str
    ttft_ms: float | None
    total_ms: float
    queue_ms: float | None = None

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt; without ids as the body counts them, None where it does not."""
        return len(self.prompt_token_ids) or self._counted("prompt_tokens")

    @property
    def answer_tokens(self) -> int | None:
        """Tokens of the first choice; without ids as the body counts them, None where it does not."""
        return len(self.token_ids) or self._counted("completion_tokens")

    def _counted(self, key: str) -> int | None:
        count = (self.body.get("usage") or {}).get(key)
        return count if isinstance(count, int) else None


class EngineDead(RagftError):
    """The engine cannot answer any more and must be restarted."""


class EngineBusy(RagftError):
    """So many requests are waiting that the engine takes no more; a later one may be answered."""


class RequestRefused(UsageError):
    """The engine does not answer this request.

    Attributes:
        status: the HTTP status that fits.
        param: the field of the request that is at fault, if one is.
    """

    def __init__(self, message: str, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


class PromptTooLong(RequestRefused):
    """The prompt leaves no room for an answer within `engine.max_model_len`."""

    def __init__(self, length: str, limit: int, param: str = "messages") -> None:
        """`length` of the prompt, with its unit, and the `limit` in tokens."""
        shorter = "shorten the question, lower index.search.top_k," if param == "messages" else "shorten it,"
        super().__init__(
            f"The prompt has {length}, which leaves no room for an answer within engine.max_model_len = {limit}: "
            f"{shorter} or raise engine.max_model_len.",
            param=param,
        )


class NotInPlace(RagftError):
    """Another model cannot take the place of the running one: it needs an engine of its own."""


class Engine(Protocol):
    """One model that answers. Started and closed by whoever opened it; used by many requests at once."""

    @property
    def version(self) -> str:
        """Identifies all that decides the answers: weights, tokenizer and chat template. 16 hex digits.

        It changes only in `replace`, while no answer is in progress.
        """

    def preload(self) -> None:
        """Begin to load the model in the background; `start` then waits for the rest."""

    async def start(self) -> None:
        """Load the model; returns when it can answer. After `close`, or a death and `close`, it starts anew."""

    async def close(self) -> None:
        """Free the model. Answers in progress are aborted. Closing twice is harmless."""

    async def replace(self, folder: Path) -> None:
        """Go over to another model of the same architecture, tokenizer and template, in a fraction of a second.

        Answers in progress end first, by the old model; those that come meanwhile wait, and are by the new one.

        Raises:
            NotInPlace: it differs in more than its weights, or this kind of engine cannot; the old one answers on.
            EngineDead: its weights could not be loaded, and the old ones are gone.
        """

    async def drain(self) -> None:
        """Wait until no answer is in progress."""

    async def check_health(self) -> None:
        """Raise `EngineDead` if the engine cannot answer any more."""

    async def chat(self, request: ChatRequest) -> Completion:
        """Answer a conversation; greedy and short of `engine.max_model_len` unless the options ask otherwise.

        An answer is at most as long as `max_tokens` and `engine.max_model_len` allow, whichever is less. Cancelling the
        call frees the engine's slot.

        Raises:
            PromptTooLong: the conversation leaves no room for an answer.
            RequestRefused: the conversation or an option is not valid for this model.
            EngineBusy: too many requests are waiting.
            EngineDead: the engine cannot answer any more.
        """

    def prompt_length(self, messages: Sequence[Message], tools: Any = None) -> int:
        """Number of tokens of a conversation as the model reads it; 0 if `chat` would refuse it. Safe from any thread.

        Args:
            tools: the field of that name of OpenAI's request; templates write it into the prompt.
        """

    async def complete(self, request: TextRequest) -> dict[str, Any]:
        """Continue texts; OpenAI's completion object, as JSON values. Bounds, cancelling and errors as of `chat`."""

    def stream(self, request: ChatRequest | TextRequest) -> AsyncGenerator[dict[str, Any], None]:
        """Answer piece by piece, as OpenAI's chunks of chat completions or of completions, in JSON values.

        The first chunks of the choices come with their first tokens. Token ids are among them where the options ask for
        `return_token_ids`. Closing the iterator frees the engine's slot. Raises as `chat`, at any time.
        """
