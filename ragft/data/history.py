"""Earlier turns of a conversation, as examples and questions state them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from ragft.errors import UsageError
from ragft.messages import Message, turn

_SHAPE = 'a list of turns, {"role", "content"}, user and assistant in turn, the first one the user\'s'


def history_in(values: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    """The turns in the field `history`, oldest first; none where it is missing. Pairs of texts are turns, too.

    Raises:
        UsageError: it is something else, a turn is empty, or roles do not alternate.
    """
    stated = values.get("history") or []
    if not isinstance(stated, list):
        raise UsageError(f"{where}: `history` must be {_SHAPE}.")
    turns = [one for part in stated for one in (_of_pair(part, where) if isinstance(part, list) else [part])]
    read: list[Message] = []
    for number, (one, role) in enumerate(zip(turns, cycle(("user", "assistant")), strict=False), start=1):
        if not isinstance(one, dict):
            raise UsageError(f"{where}: turn {number} of `history` is no turn: write {_SHAPE}.")
        found, content = one.get("role"), one.get("content")
        if found != role:
            note = " (a system prompt is no turn)" if found == "system" else ""
            raise UsageError(f"{where}: turn {number} of `history` has the role {found!r}{note}: write {_SHAPE}.")
        if not isinstance(content, str) or not content.strip():
            raise UsageError(f"{where}: turn {number} of `history` has no text as its `content`, or an empty one.")
        read.append(turn("user" if role == "user" else "assistant", content))
    if len(read) % 2:
        raise UsageError(f"{where}: `history` ends with the user's turn: what is asked now stands in `question`.")
    return tuple(read)


def read_history(path: Path) -> tuple[Message, ...]:
    """The turns in a JSON file.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        turns = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as JSON ({error}): write {_SHAPE}.") from None
    if not isinstance(turns, list) or not turns:
        raise UsageError(f"{path} holds no turns: write {_SHAPE}.")
    return history_in({"history": turns}, str(path))


def _of_pair(pair: list[Any], where: str) -> list[Any]:
    if len(pair) != 2:
        raise UsageError(f"{where}: a pair in `history` must be [question, answer].")
    return [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]


def spoken(turns: tuple[Message, ...], question: str) -> str:
    """A question with the turns before it, for people and judges; without any, the question itself."""
    if not turns:
        return question
    lines = [f"{one['role'].capitalize()}: {one['content']}" for one in turns]
    return "\n".join([*lines, f"User: {question}"])
