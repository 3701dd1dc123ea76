"""What a model is asked: training, evaluation and serving all assemble their conversations here.

A question becomes one user turn; retrieved passages stand in the same turn, numbered, above the question. All four
setups share the system prompt. `ragft.templates` turns conversations into token ids, from the tokenizer's own chat
template, never from a copy of it, and together with the mask of trained positions, so that the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from ragft.messages import Borders, Message, Rendered, Role, turn
from ragft.setups import Arrangement

__all__ = ["Message", "Rendered", "Role", "conversation", "turn", "user_turn"]

_BORDERS = Borders()


def user_turn(
    question: str, passages: Sequence[str] | None = None, arrangement: Arrangement = "passages-first", system: str = ""
) -> str:
    """The text of the user's turn: numbered passages, if any, and the question.

    Args:
        question: what the user asks.
        passages: what retrieval found, best first; None for a setup without retrieval. An empty sequence says that
            retrieval found nothing, which a model may need to know.
        arrangement: what stands where.
        system: the system prompt, which `format-last` repeats.
    """
    parts = [f"Question: {_harmless(question)}"]
    if passages is not None:
        numbered = "\n\n".join(f"[{number}] {_harmless(text)}" for number, text in enumerate(passages, start=1))
        parts.insert(1 if arrangement == "question-first" else 0, f"Passages:\n{numbered or '(none found)'}")
    if arrangement == "format-last" and system.strip():
        parts.append(_harmless(system))
    return "\n\n".join(parts)


def _harmless(text: str) -> str:
    return _BORDERS.part(text.strip())


def conversation(
    system: str,
    question: str,
    passages: Sequence[str] | None = None,
    *,
    history: Sequence[Message] = (),
    following: Sequence[Message] = (),
    arrangement: Arrangement = "passages-first",
    shots: Sequence[Message] = (),
) -> list[Message]:
    """A conversation around one question.

    Args:
        system: the system prompt; left out where `history` begins with a system turn of its own.
        question: what the user asks.
        passages: as for `user_turn`.
        history: the turns before the question, oldest first.
        following: what follows the question: the answer to train on, or tool calls with their results.
        arrangement: what stands where in the user's turn.
        shots: the examples of a few-shot prompt, which stand before the conversation.
    """
    own = list(takewhile(lambda one: one["role"] == "system", history))
    told = own or [turn("system", system)]
    asked = user_turn(question, passages, arrangement, "\n\n".join(one["content"] for one in told))
    return [*told, *shots, *history[len(own) :], turn("user", asked), *following]
