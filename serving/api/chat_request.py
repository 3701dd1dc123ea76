"""A chat completion request, read strictly: which setup is asked what, and which options reach the engine.

Options are forwarded by an allow-list. Those of vLLM that replace the chat template, continue a message or change how
the engine runs are refused, because a served prompt must be rendered as the evaluated ones were.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec

from index.store.filters import Filter
from ragft.messages import Message
from ragft.setups import Setup
from serving.api.bodies import read_filter
from serving.api.schemas import Chat, ChatBody, ChatTurn, Options, check
from serving.errors import ApiError

if TYPE_CHECKING:
    from serving.split import Assignment

FORWARDED = frozenset(Chat.__struct_fields__)
# Sent by clients, without a meaning here.
IGNORED = frozenset({"metadata", "store", "service_tier", "prompt_cache_key"})
# Read here, and no business of the engine.
_OWN = frozenset({"model", "messages", "ragft", "safety_identifier"})


@dataclass(frozen=True)
class Asked:
    """A chat completion request, understood.

    Attributes:
        setup: the setup that answers.
        model: what the request calls it.
        question: the user's last turn.
        history: the turns before it; the request's own system messages come first and replace the configured prompt.
        following: the turns after it: tool calls and their results.
        ragft: the request's own field of that name.
        filter: what the passages must pass; None: nothing more than is configured.
        options: what is forwarded to the engine.
        choices: how many answers are asked for.
        user: who asks, as the client calls them; None where it does not say.
        assignment: the part of the request in an experiment; None where it has none.
    """

    setup: Setup
    model: str
    question: str
    history: list[Message]
    following: list[Message]
    ragft: Options
    filter: Filter | None
    options: dict[str, Any]
    choices: int
    user: str | None = None
    assignment: Assignment | None = None


def read_request(body: Mapping[str, Any], deployed: Mapping[str, Setup]) -> Asked:
    """Reads a chat completion request.

    Args:
        deployed: the setups that answer, by the names of models.

    Raises:
        ApiError: 400 for what is not valid, 404 for a setup that is not deployed.
    """
    setup = deployed_setup(body.get("model"), deployed)
    refuse_unknown(body, FORWARDED | IGNORED | _OWN)
    asked = check(body, ChatBody)
    system, turns = _split(asked.messages)
    place = max((place for place, turn in enumerate(turns) if turn["role"] == "user"), default=None)
    if place is None or turns[-1]["role"] == "assistant":
        raise ApiError(400, "The messages must end with the user's question.", "messages")
    question = turns[place]["content"]
    if not question.strip():
        raise ApiError(400, "The question is empty.", "messages")
    ragft = asked.ragft or Options()
    return Asked(
        setup, asked.model, question, history=[*system, *turns[:place]], following=turns[place + 1 :], ragft=ragft,
        filter=read_filter(ragft.filter, "ragft.filter"), options=given(body, FORWARDED), choices=asked.n or 1,
        user=asked.user or asked.safety_identifier,
    )  # fmt: skip


def given(body: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The fields of these names that a body has; several clients send None for what they leave open."""
    return {name: body[name] for name in names if body.get(name) is not None}


def refuse_unknown(body: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuses a body with fields of other names.

    Raises:
        ApiError: 400.
    """
    for name in body:
        if name not in known:
            raise ApiError(400, f"The field {name[:80]!r} is not supported here.", name[:80])


def deployed_setup(model: Any, deployed: Mapping[str, Setup]) -> Setup:
    """The setup that a request calls its model.

    Raises:
        ApiError: 400: it names none; 404: that one is not deployed.
    """
    if not isinstance(model, str):
        raise ApiError(400, f"The field 'model' must name a setup: {', '.join(deployed)}.", "model")
    if model not in deployed:
        raise ApiError(404, f"The model {model[:80]!r} is not deployed; deployed: {', '.join(deployed)}.", "model")
    return deployed[model]


def _split(messages: Sequence[ChatTurn]) -> tuple[list[Message], list[Message]]:
    """System messages and turns, each with its content as plain text."""
    system: list[Message] = []
    turns: list[Message] = []
    for message in messages:
        if message.role in ("system", "developer"):
            system.append({"role": "system", "content": _text(message)})
        else:
            # None is no name to a template that asks whether there is one.
            plain = {name: value for name, value in msgspec.to_builtins(message).items() if value is not None}
            turns.append(cast(Message, {**plain, "content": _text(message)}))
    return system, turns


def _text(message: ChatTurn) -> str:
    content = message.content or ""
    return content if isinstance(content, str) else joined(part.text for part in content)


def joined(parts: Iterable[str]) -> str:
    """The text parts of one message as its content: on lines of their own, as vLLM joins them, because the end of one
    and the beginning of the next would make a word or a number that nobody wrote.
    """
    return "\n".join(parts)
