"""A chat completion request, read strictly: which setup is asked what, and what the engine is told.

Fields are forwarded by an allow-list. Those of vLLM that replace the chat template, continue a message or reach into
the engine are refused, because a served prompt must be rendered as the evaluated ones were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from index.store.filters import Filter, FilterError, parse_filter
from ragft.prompts import Message
from ragft.setups import SETUPS, Setup
from serving.errors import ApiError

# What OpenAI's clients send, and the sampling fields that vLLM adds to them.
FORWARDED = frozenset(
    [
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "presence_penalty",
        "response_format",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "user",
        "top_k",
        "min_p",
        "repetition_penalty",
        "stop_token_ids",
        "include_stop_str_in_output",
        "ignore_eos",
        "min_tokens",
        "skip_special_tokens",
        "allowed_token_ids",
        "bad_words",
        "structured_outputs",
    ]
)
# Sent by clients, without a meaning here.
IGNORED = frozenset({"metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"})
MAX_CHOICES = 16
MAX_MESSAGES = 1000
MAX_TOP_K = 100


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """The request's own field `ragft`.

    Attributes:
        top_k: passages to retrieve; None: the configured number.
        return_passages: whether the answer carries all passages of the prompt, cited or not.
        filter: what the passages must pass, in the language of `index.store.filters`.
    """

    top_k: int | None = None
    return_passages: bool = False
    filter: Any = None


@dataclass(frozen=True)
class ChatRequest:
    """A request, understood.

    Attributes:
        system: the request's own system messages, which replace the configured one if there are any.
        earlier: the turns before the question.
        later: what follows the question: tool calls and their results.
        filter: what the passages must pass; None: nothing more than is configured.
        sampling: the fields that the engine is told.
    """

    setup: Setup
    question: str
    system: tuple[dict[str, Any], ...]
    earlier: tuple[dict[str, Any], ...]
    later: tuple[dict[str, Any], ...]
    options: Options
    filter: Filter | None
    sampling: dict[str, Any]
    stream: bool
    choices: int

    def messages(self, rendered: Sequence[Message]) -> list[dict[str, Any]]:
        """The conversation for the engine.

        Args:
            rendered: the configured system message and the user's turn with its passages.
        """
        system = self.system or ({**rendered[0]},)
        return [*system, *self.earlier, {**rendered[-1]}, *self.later]


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        ApiError: 400: no UTF-8, no JSON, nested too deeply, or no object.
    """
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise ApiError(400, "The body is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ApiError(400, f"The body is not JSON: {str(error)[:200]}.") from None
    if not isinstance(value, dict):
        raise ApiError(400, "The body is not a JSON object.")
    return value


def read_request(body: Mapping[str, Any], deployed: Sequence[Setup], max_tokens: int) -> ChatRequest:
    """Reads a chat completion request.

    Args:
        deployed: the setups that answer; their names are the model names.
        max_tokens: longest answer where the request is silent.

    Raises:
        ApiError: 400 for what is not valid, 404 for a setup that is not deployed.
    """
    setup = _setup(body.get("model"), deployed)
    for name in body:
        if name not in FORWARDED | IGNORED | {"model", "messages", "ragft"}:
            raise ApiError(400, f"The field {name[:80]!r} is not supported here.", name[:80])
    system, turns = _split(body.get("messages"))
    place = max((place for place, turn in enumerate(turns) if turn["role"] == "user"), default=None)
    if place is None or turns[-1]["role"] == "assistant":
        raise ApiError(400, "The messages must end with the user's question.", "messages")
    question = _text(turns[place])
    if not question.strip():
        raise ApiError(400, "The question is empty.", "messages")
    # None is how several clients say nothing.
    sampling = {name: body[name] for name in FORWARDED if body.get(name) is not None}
    sampling.setdefault("temperature", 0)
    if "max_completion_tokens" not in sampling:
        sampling.setdefault("max_tokens", max_tokens)
    choices = sampling.get("n", 1)
    if not isinstance(choices, int) or not 1 <= choices <= MAX_CHOICES:
        raise ApiError(400, f"n must be a whole number from 1 to {MAX_CHOICES}.", "n")
    options = _options(body.get("ragft"))
    return ChatRequest(
        setup=setup,
        question=question,
        system=tuple(system),
        earlier=tuple(turns[:place]),
        later=tuple(turns[place + 1 :]),
        options=options,
        filter=read_filter(options.filter, "ragft.filter"),
        sampling=sampling,
        stream=sampling.get("stream") is True,
        choices=choices,
    )


def _setup(model: Any, deployed: Sequence[Setup]) -> Setup:
    names = [setup.name for setup in deployed]
    if not isinstance(model, str):
        raise ApiError(400, f"The field 'model' must name a setup: {', '.join(names)}.", "model")
    if model not in names:
        raise ApiError(404, f"The model {model[:80]!r} is not deployed; deployed: {', '.join(names)}.", "model")
    return SETUPS[model]


def _split(messages: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """System messages and turns, each with its content as plain text."""
    if not isinstance(messages, list) or not 0 < len(messages) <= MAX_MESSAGES:
        raise ApiError(400, f"The field 'messages' must hold 1 to {MAX_MESSAGES} messages.", "messages")
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role in ("system", "developer"):
            system.append({"role": "system", "content": _text(message, number)})
        elif role in ("user", "assistant", "tool"):
            turns.append({**message, "content": _text(message, number)})
        else:
            raise ApiError(400, f"messages.{number} has no role that is known here.", "messages")
    return system, turns


def _text(message: Mapping[str, Any], number: int = 0) -> str:
    """The content of a message as one text; parts other than text would be fetched from wherever they point to."""
    content = message.get("content")
    if content is None and message["role"] == "assistant":
        return ""
    if isinstance(content, str):
        return content
    texts = []
    for part in content if isinstance(content, list) else [None]:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ApiError(400, f"messages.{number}.content must be a text or a list of text parts.", "messages")
        texts.append(part["text"])
    return "".join(texts)


def _options(value: Any) -> Options:
    try:
        options = msgspec.convert(value, Options) if value is not None else Options()
    except msgspec.ValidationError as error:
        raise ApiError(400, f"The field 'ragft' is not valid: {str(error)[:200]}.", "ragft") from None
    check_top_k(options.top_k, "ragft.top_k")
    return options


def check_top_k(top_k: int | None, field: str) -> None:
    """Refuses a number of passages that is out of range.

    Raises:
        ApiError: 400.
    """
    if top_k is not None and not 1 <= top_k <= MAX_TOP_K:
        raise ApiError(400, f"{field} must be from 1 to {MAX_TOP_K}.", field)


def read_filter(value: Any, field: str) -> Filter | None:
    """The filter in a field of a request; None where there is none.

    Raises:
        ApiError: 400: with what is wrong in it.
    """
    try:
        return parse_filter(value) if value is not None else None
    except FilterError as error:
        raise ApiError(400, str(error)[:500], field) from None
