"""A chat completion request, read strictly: which setup is asked what, and which options reach the engine.

Options are forwarded by an allow-list. Those of vLLM that replace the chat template, continue a message or change how
the engine runs are refused, because a served prompt must be rendered as the evaluated ones were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from index.store.filters import Filter
from ragft.messages import Message
from ragft.setups import Setup
from serving.api.bodies import check_top_k, read_filter
from serving.errors import ApiError

# What OpenAI's clients send, and the sampling fields that vLLM adds to them.
FORWARDED = frozenset(
    [
        "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "max_tokens", "max_completion_tokens", "n",
        "presence_penalty", "response_format", "seed", "stop", "stream", "stream_options", "temperature", "top_p",
        "tools", "tool_choice", "parallel_tool_calls", "user", "top_k", "min_p", "repetition_penalty", "stop_token_ids",
        "include_stop_str_in_output", "ignore_eos", "min_tokens", "skip_special_tokens", "allowed_token_ids",
        "bad_words", "structured_outputs", "return_token_ids",
    ]
)  # fmt: skip
# Sent by clients, without a meaning here.
IGNORED = frozenset({"metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"})
MAX_CHOICES = 16
MAX_MESSAGES = 1000


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
class Asked:
    """A chat completion request, understood.

    Attributes:
        setup: the setup that answers.
        question: the user's last turn.
        history: the turns before it; the request's own system messages come first and replace the configured prompt.
        following: the turns after it: tool calls and their results.
        ragft: the request's own field of that name.
        filter: what the passages must pass; None: nothing more than is configured.
        options: what is forwarded to the engine.
        choices: how many answers are asked for.
    """

    setup: Setup
    question: str
    history: list[Message]
    following: list[Message]
    ragft: Options
    filter: Filter | None
    options: dict[str, Any]
    choices: int


def read_request(body: Mapping[str, Any], deployed: Sequence[Setup]) -> Asked:
    """Reads a chat completion request.

    Args:
        deployed: the setups that answer; their names are the model names.

    Raises:
        ApiError: 400 for what is not valid, 404 for a setup that is not deployed.
    """
    setup = deployed_setup(body.get("model"), deployed)
    for name in body:
        if name not in FORWARDED | IGNORED | {"model", "messages", "ragft"}:
            raise ApiError(400, f"The field {name[:80]!r} is not supported here.", name[:80])
    system, turns = _split(body.get("messages"))
    place = max((place for place, turn in enumerate(turns) if turn["role"] == "user"), default=None)
    if place is None or turns[-1]["role"] == "assistant":
        raise ApiError(400, "The messages must end with the user's question.", "messages")
    question = turns[place]["content"]
    if not question.strip():
        raise ApiError(400, "The question is empty.", "messages")
    # Several clients send None for what they leave open.
    options = {name: body[name] for name in FORWARDED if body.get(name) is not None}
    choices = options.get("n", 1)
    if not isinstance(choices, int) or not 1 <= choices <= MAX_CHOICES:
        raise ApiError(400, f"n must be a whole number from 1 to {MAX_CHOICES}.", "n")
    ragft = _options(body.get("ragft"))
    return Asked(
        setup, question, history=[*system, *turns[:place]], following=turns[place + 1 :], ragft=ragft,
        filter=read_filter(ragft.filter, "ragft.filter"), options=options, choices=choices,
    )  # fmt: skip


def deployed_setup(model: Any, deployed: Sequence[Setup]) -> Setup:
    """The setup that a request calls its model.

    Raises:
        ApiError: 400: it names none; 404: that one is not deployed.
    """
    named = {setup.name: setup for setup in deployed}
    if not isinstance(model, str):
        raise ApiError(400, f"The field 'model' must name a setup: {', '.join(named)}.", "model")
    if model not in named:
        raise ApiError(404, f"The model {model[:80]!r} is not deployed; deployed: {', '.join(named)}.", "model")
    return named[model]


def _split(messages: Any) -> tuple[list[Message], list[Message]]:
    """System messages and turns, each with its content as plain text."""
    if not isinstance(messages, list) or not 0 < len(messages) <= MAX_MESSAGES:
        raise ApiError(400, f"The field 'messages' must hold 1 to {MAX_MESSAGES} messages.", "messages")
    system: list[Message] = []
    turns: list[Message] = []
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role in ("system", "developer"):
            system.append({"role": "system", "content": _text(message, number)})
        elif role in ("user", "assistant", "tool"):
            turns.append(cast(Message, {**message, "content": _text(message, number)}))
        else:
            raise ApiError(400, f"messages.{number} has no role that is known here.", "messages")
    return system, turns


def _text(message: Mapping[str, Any], number: int) -> str:
    """The content of a message as one text. Parts of other kinds are refused: the engine would fetch their URLs."""
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
