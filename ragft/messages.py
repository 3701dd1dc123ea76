"""What a conversation is made of, before it is rendered and after; and how a text is kept from ending its turn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

# How model families write the tokens that begin and end a turn: `<|im_end|>`, `</s>`, `<end_of_turn>`, `[/INST]` ...
_BORDER = (
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

    @classmethod
    def answered(cls, prompt: Sequence[int], answer: Sequence[int]) -> Rendered:
        """A prompt with an answer, the end token included, as token ids."""
        return cls((*prompt, *answer), (False,) * len(prompt) + (True,) * len(answer))

    @property
    def prompt(self) -> tuple[int, ...]:
        """What stands before the answer."""
        return self.ids[: self.trained.index(True)]

    @property
    def answer(self) -> tuple[int, ...]:
        """The trained answer with its end token."""
        return self.ids[self.trained.index(True) :]

    @property
    def sequences(self) -> tuple[Rendered, ...]:
        """All that a model reads of this row."""
        return (self,)


@dataclass(frozen=True)
class Preferred(Rendered):
    """A conversation with a better answer and, where there is one, the same conversation with a worse one.

    Attributes:
        rejected: the conversation with the worse answer; None where there is none.
    """

    rejected: Rendered | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rejected is not None and self.rejected.prompt != self.prompt:
            raise ValueError("the better and the worse answer stand behind different prompts")

    @property
    def sequences(self) -> tuple[Rendered, ...]:
        return (self,) if self.rejected is None else (self, self.rejected)


@dataclass(frozen=True)
class Rewarded(Rendered):
    """A conversation whose prompt a model answers while it is trained.

    Attributes:
        reward: rates an answer, token ids with the end token if it ended, from 0 to 1.
    """

    reward: Callable[[Sequence[int]], float] = field(compare=False)


def turn(role: Role, content: str) -> Message:
    """One turn of a conversation."""
    return {"role": role, "content": content}


class Borders:
    """The strings that a tokenizer would read as the end or the beginning of a turn, to be kept out of texts."""

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        """`tokens` of one tokenizer, beside those that every family is known to have."""
        parted = [f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in sorted(set(tokens)) if len(token) > 1]
        self._pattern = re.compile("|".join([_BORDER, *parted]))

    def part(self, text: str) -> str:
        """The text with a space behind the first character of each such string: a document must not speak as the
        system.

        This is done to the text, because engines render it themselves.
        """
        return self._pattern.sub(r"\g<0> ", text)
