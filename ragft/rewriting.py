"""A follow-up rewritten by the model that answers it, as a question that can be understood without the conversation."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence

from blake3 import blake3

from ragft.engine.base import ChatRequest, Completion, Engine, EngineDead
from ragft.errors import RagftError
from ragft.messages import Borders, Message, turn

REWRITING_VERSION = 1
"""Raised whenever the model would be asked in other words, or another answer of it be taken."""

_ASKED = (
    "You rewrite the last question of a conversation so that it can be understood without the conversation. Write out "
    "what it leaves unsaid. Keep its language, and every name, number and date that it is about. Do not answer it. "
    "Write the rewritten question alone, on one line."
)
_SPEAKERS = {"user": "User", "assistant": "Assistant"}
_TURNS = 6
_CHARACTERS = 600
"""What the model reads of a conversation: its last turns, and the beginning of each."""
_MAX_TOKENS = 64
_KEPT = 1024
_BORDERS = Borders()


class Rewrites:
    """Asks an engine to rewrite, and remembers what it wrote for the last conversations."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, str] = OrderedDict()

    async def of(
        self, engine: Engine, question: str, history: Sequence[Message], deadline: float | None = None
    ) -> str | None:
        """The question rewritten; None where the engine does not answer in time, or not with one line.

        Args:
            deadline: in seconds; None: waits.

        Raises:
            EngineDead: the engine died.
        """
        messages = _conversation(question, history)
        key = blake3(json.dumps([engine.version, messages]).encode()).hexdigest()
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        try:
            async with asyncio.timeout(deadline):
                options = {"temperature": 0, "max_tokens": _MAX_TOKENS}
                rewritten = _question_in(await engine.chat(ChatRequest(messages, options)))
        except EngineDead:
            raise
        except (TimeoutError, RagftError):
            return None
        if rewritten is not None:
            self._kept[key] = rewritten
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return rewritten


def _conversation(question: str, history: Sequence[Message]) -> list[Message]:
    spoken = [one for one in history if one["role"] in _SPEAKERS and one["content"].strip()][-_TURNS:]
    lines = [f"{_SPEAKERS[one['role']]}: {one['content'].strip()[:_CHARACTERS]}" for one in spoken]
    asked = "\n".join(["Conversation:", *lines, "", f"Last question: {question.strip()}", "", "Rewritten question:"])
    return [turn("system", _ASKED), turn("user", _BORDERS.part(asked))]


def _question_in(completion: Completion) -> str | None:
    """The one line that was written; None where it was cut off, or where there are more, as in an answer."""
    text = completion.text.strip().strip('"').strip()
    return text if text and "\n" not in text and completion.finish_reason == "stop" else None
