"""Training examples: four ways to write one, one way to hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragft.data.jsonl import Ids, read_objects, refuse_misspelt_keys, texts_in
from ragft.data.sources import Source, sources_in
from ragft.errors import UsageError
from ragft.messages import Message

FORMS = '{"question", "answer"}, {"messages"}, {"prompt", "completion"} or {"instruction", "input", "output"}'
_ROLES = ("system", "user", "assistant")
_FORM_KEYS = ("question", "answer", "messages", "prompt", "completion", "instruction", "input", "output")
_KEYS = (*_FORM_KEYS, "id", "group", "sources", "tags")


@dataclass(frozen=True)
class Example:
    """One question and the answer that a tuned model should give.

    Attributes:
        question: the last user turn.
        answer: the assistant's turn that is trained; `[n]` cites the n-th of `sources`.
        sources: where the answer stands, as `document` or `document#section`; empty where the documents hold none.
        group: examples of one group stay in one split.
        history: earlier turns, oldest first; a system turn among them replaces the configured one.
    """

    id: str
    question: str
    answer: str
    sources: tuple[Source, ...] = ()
    group: str = ""
    tags: tuple[str, ...] = ()
    history: tuple[Message, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Example:
        """The example that `to_json` wrote."""
        sources = tuple(Source(source) for source in values["sources"])
        return cls(**{**values, "sources": sources, **{key: tuple(values[key]) for key in ("tags", "history")}})


def read_examples(path: Path, key: str = "data.examples") -> tuple[Example, ...]:
    """Reads examples of any of the four forms, told apart by their keys.

    Raises:
        UsageError: the file cannot be read, or a line is no example or repeats an id; the message names file and line.
    """
    examples, ids = list[Example](), Ids()
    for where, values in read_objects(path, "examples", key):
        refuse_misspelt_keys(values, _KEYS, where, beside_right_one=False)
        history, question, answer = _turns(values, where)
        if not question.strip() or not answer.strip():
            raise UsageError(f"{where}: the question or the answer is empty.")
        identity = ids.claim(_name(values, "id") or "line-" + where.rpartition(" ")[2], where)
        sources, tags = sources_in(values, where), texts_in(values, "tags", where)
        group = _name(values, "group") or identity
        examples.append(Example(identity, question, answer, sources, group, tags, history))
    return tuple(examples)


def _turns(values: Mapping[str, Any], where: str) -> tuple[tuple[Message, ...], str, str]:
    """History, question and answer of one line."""
    if "messages" in values:
        return _from_messages(values["messages"], where)
    if "question" in values or "answer" in values:
        return (), _text(values, "question", where), _text(values, "answer", where)
    if "prompt" in values or "completion" in values:
        return (), _text(values, "prompt", where), _text(values, "completion", where)
    if "instruction" in values or "output" in values:
        extra = values.get("input") or ""
        if not isinstance(extra, str):
            raise UsageError(f"{where}: field 'input' must be a text.")
        question = _text(values, "instruction", where) + (f"\n\n{extra}" if extra else "")
        return (), question, _text(values, "output", where)
    raise UsageError(f"{where}: no known form of example; write {FORMS}.")


def _from_messages(messages: Any, where: str) -> tuple[tuple[Message, ...], str, str]:
    if not isinstance(messages, list) or len(messages) < 2:
        raise UsageError(f"{where}: `messages` must be a list that ends with a user's and the assistant's turn.")
    turns: list[Message] = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role not in _ROLES or not isinstance(content, str):
            raise UsageError(f"{where}: a message needs a `role` of {', '.join(_ROLES)} and a text as `content`.")
        turns.append({"role": role, "content": content})
    if [turn["role"] for turn in turns[-2:]] != ["user", "assistant"]:
        raise UsageError(f"{where}: the last two messages must be the user's and the assistant's.")
    return tuple(turns[:-2]), turns[-2]["content"], turns[-1]["content"]


def _name(values: Mapping[str, Any], field: str) -> str:
    """An id or a group; empty where there is none. `null` is none: it must not become a group that many rows share."""
    name = values.get(field)
    return "" if name is None else str(name)


def _text(values: Mapping[str, Any], field: str, where: str) -> str:
    text = values.get(field)
    if not isinstance(text, str):
        raise UsageError(f"{where}: field {field!r} is missing or no text.")
    return text
