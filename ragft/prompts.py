"""The only renderer of prompts: training, evaluation and serving all assemble their conversations here.

A question becomes one user turn; retrieved passages stand in the same turn, numbered, above the question. All four
setups share the system prompt. Token ids come from the tokenizer's own chat template, never from a copy of it, and
together with the mask of trained positions, so that the two cannot disagree.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from ragft.errors import RagftError

# How model families write the tokens that begin and end a turn: `<|im_end|>`, `</s>`, `<end_of_turn>`, `[/INST]` ...
_BORDER = re.compile(
    r"<(?=[|\uff5c])"
    r"|<(?=/?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|start_of_image|end_of_utterance)>)"
    r"|<(?=</?SYS>>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
)


Role = Literal["system", "user", "assistant", "tool"]


class Message(TypedDict):
    """One turn of a conversation, as chat templates and OpenAI clients spell it; clients may send further fields."""

    role: Role
    content: str


@dataclass(frozen=True)
class Rendered:
    """A conversation as token ids, with the positions that training takes its loss from.

    Attributes:
        ids: token ids of the whole conversation.
        trained: one flag per id; True where the loss is taken: the answer and its end-of-turn token.
    """

    ids: tuple[int, ...]
    trained: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.trained):
            raise ValueError(f"{len(self.ids)} token ids but {len(self.trained)} trained flags")


def user_turn(question: str, passages: Sequence[str] | None = None) -> str:
    """The text of the user's turn: numbered passages, if any, above the question.

    Args:
        question: what the user asks.
        passages: what retrieval found, best first; None for a setup without retrieval. An empty sequence says that
            retrieval found nothing, which a model may need to know.
    """
    asked = f"Question: {_harmless(question)}"
    if passages is None:
        return asked
    numbered = "\n\n".join(f"[{number}] {_harmless(text)}" for number, text in enumerate(passages, start=1))
    return f"Passages:\n{numbered or '(none found)'}\n\n{asked}"


def _harmless(text: str) -> str:
    """The text without what a tokenizer would read as the end of this turn: a document must not speak as the system.

    A space parts such a token behind its first character. This is done to the text, because engines render it
    themselves, and with any model's tokenizer.
    """
    return _BORDER.sub(r"\g<0> ", text.strip())


def conversation(
    system: str,
    question: str,
    passages: Sequence[str] | None = None,
    *,
    history: Sequence[Message] = (),
    following: Sequence[Message] = (),
) -> list[Message]:
    """A conversation around one question.

    Args:
        system: the system prompt; left out where `history` begins with a system turn of its own.
        question: what the user asks.
        passages: as for `user_turn`.
        history: the turns before the question, oldest first.
        following: what follows the question: the answer to train on, or tool calls with their results.
    """
    opening: list[Message] = [] if history and history[0]["role"] == "system" else [turn("system", system)]
    return [*opening, *history, turn("user", user_turn(question, passages)), *following]


def turn(role: Role, content: str) -> Message:
    """One turn of a conversation."""
    return {"role": role, "content": content}


def template_hash(tokenizer: Any) -> str:
    """Short hash of the tokenizer's chat template; it stands in every manifest of a model."""
    return hashlib.sha256(_template_of(tokenizer).encode()).hexdigest()[:16]


def render_prompt(tokenizer: Any, messages: Sequence[Message], tools: Any = None) -> list[int]:
    """Token ids of a conversation that the model is to continue with the assistant's turn.

    Args:
        tools: what the model may call, as in OpenAI's requests; None: nothing.
    """
    _template_of(tokenizer)
    encoded = tokenizer.apply_chat_template(
        list(messages), tools=tools, add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return [int(token) for token in encoded["input_ids"]]


def render_training(tokenizer: Any, messages: Sequence[Message]) -> Rendered:
    """Token ids of a whole conversation and the mask of its last assistant turn.

    The template is probed, not trusted: the prompt must be a prefix of the whole, and the token that ends the answer
    must be among the trained ones, or the model would never learn to stop.

    Raises:
        RagftError: the conversation does not end with the assistant's turn, or the template breaks a promise above.
    """
    if not messages or messages[-1]["role"] != "assistant":
        raise RagftError("A training conversation must end with the assistant's turn.")
    prompt = render_prompt(tokenizer, messages[:-1])
    encoded = tokenizer.apply_chat_template(list(messages), tokenize=True, return_dict=True)
    whole = [int(token) for token in encoded["input_ids"]]
    if whole[: len(prompt)] != prompt:
        raise RagftError(
            "This tokenizer's chat template renders the prompt differently once an answer follows, so a model trained "
            "with it would be served other tokens than it learnt; use a model whose template keeps the prefix."
        )
    end = _end_of_turn(tokenizer, whole, len(prompt))
    trained = [len(prompt) <= position <= end for position in range(len(whole))]
    # What stands behind the end-of-turn token (a newline in ChatML) is never generated, so it is not kept either.
    return Rendered(tuple(whole[: end + 1]), tuple(trained[: end + 1]))


def _end_of_turn(tokenizer: Any, ids: Sequence[int], start: int) -> int:
    """Position of the token that ends the answer beginning at `start`."""
    for position in range(len(ids) - 1, start - 1, -1):
        if ids[position] == tokenizer.eos_token_id:
            return position
    raise RagftError(
        f"The chat template does not end an answer with {tokenizer.eos_token!r}, the tokenizer's end token, so a "
        "trained model would never stop; set the tokenizer's eos_token to the one that its template uses."
    )


def _template_of(tokenizer: Any) -> str:
    template = getattr(tokenizer, "chat_template", None)
    if not isinstance(template, str) or not template:
        raise RagftError(
            "This model's tokenizer has no chat template, so there is no right way to ask it; use an instruction-tuned "
            "model, or add its chat_template.jinja to the model's folder."
        )
    return template
