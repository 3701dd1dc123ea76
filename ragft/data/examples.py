"""Training examples: four ways to write one, one way to hold it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from ragft.citations import parse_citations
from ragft.data.history import history_in, spoken
from ragft.data.jsonl import Ids, read_objects, refuse_misspelt_keys, texts_in
from ragft.data.sources import Source, sources_in
from ragft.errors import UsageError
from ragft.messages import Message, turn

FORMS = '{"question", "answer"}, {"messages"}, {"prompt", "completion"} or {"instruction", "input", "output"}'
_ROLES = ("system", "user", "assistant")
_FORM_KEYS = ("question", "answer", "messages", "prompt", "completion", "instruction", "input", "output")
_FORM_OF = {
    "question": "question", "answer": "question", "messages": "messages", "prompt": "prompt", "completion": "prompt",
    "instruction": "instruction", "input": "instruction", "output": "instruction",
}  # fmt: skip
_KEYS = (*_FORM_KEYS, "id", "group", "sources", "tags", "system", "history", "weight", "rejected")
_ORIGIN = "origin"
_FOR_PEOPLE = (_ORIGIN, "reviewed_by")
"""Fields that ragft itself writes. They are no keys that others may be misspelt of: `original` is the author's own."""


@dataclass(frozen=True)
class Example:
    """One question and the answer that a tuned model should give.

    Attributes:
        question: the last user turn.
        answer: the assistant's turn that is trained; `[n]` cites the n-th of `sources`.
        sources: where the answer stands, as `document` or `document#section`; empty where the documents hold none.
        group: examples of one group stay in one split.
        history: earlier turns, oldest first; a system turn among them replaces the configured one.
        rejected: a worse answer, for methods that learn from preferences; empty where there is none.
        origin: what a command made it of; empty where a person wrote it.
    """

    id: str
    question: str
    answer: str
    sources: tuple[Source, ...] = ()
    group: str = ""
    tags: tuple[str, ...] = ()
    history: tuple[Message, ...] = ()
    rejected: str = ""
    origin: str = ""

    @property
    def spoken(self) -> str:
        """The question with the turns before it, but for a system turn."""
        return spoken(tuple(one for one in self.history if one["role"] != "system"), self.question)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Example:
        """The example that `to_json` wrote."""
        sources = tuple(Source(source) for source in values["sources"])
        return cls(**{**values, "sources": sources, **{key: tuple(values[key]) for key in ("tags", "history")}})


class EmptyExample(UsageError):
    """A line whose question or answer is empty."""


def read_examples(
    path: Path, key: str = "data.examples", told: Callable[[str], None] = lambda _: None
) -> tuple[Example, ...]:
    """Reads examples of any of the four forms, told apart by their keys. One with `weight: 0` is left out.

    Args:
        told: is told what of the file is left out or not read.

    Raises:
        UsageError: the file cannot be read, or a line is no example or repeats an id; the message names file and line.
    """
    return tuple(each_example(path, key, told))


def each_example(
    path: Path, key: str = "data.examples", told: Callable[[str], None] = lambda _: None
) -> Iterator[Example]:
    """The examples of a file one after the other, so that a file of any size can be read; as `read_examples`."""
    read, ids, left_out, unread = 0, Ids(), 0, Counter[str]()
    for where, values in read_objects(path, "examples", key):
        unread.update(unread_fields(values))
        example = example_of(values, where)
        if example is None:
            left_out += 1
            continue
        ids.claim(example.id, where)
        read += 1
        yield example
    if not read:
        raise UsageError(f"{path} holds no examples that count: all {left_out} have weight 0.")
    if left_out:
        told(f"{path}: {left_out} of {left_out + read} examples have weight 0 and are left out.")
    if unread:
        told(f"{path}: fields that are not read: {', '.join(f'{key} ({n})' for key, n in sorted(unread.items()))}.")


def example_of(values: Mapping[str, Any], where: str) -> Example | None:
    """The example of one line; None where it has weight 0.

    Args:
        where: `FILE, line N`; an example without an id is named after its line.

    Raises:
        UsageError: the line is no example; `EmptyExample` where only its question or its answer is missing.
    """
    refuse_misspelt_keys(values, _KEYS, where, beside_right_one=False)
    if not _counts(values, where):
        return None
    history, question, answer = _turns(values, where)
    history = (*_earlier(values, where), *history)
    if not question.strip() or not answer.strip():
        raise EmptyExample(f"{where}: the question or the answer is empty.")
    identity = _identity(values, where)
    sources, tags = sources_in(values, where), texts_in(values, "tags", where)
    group = _name(values, "group") or identity
    if sources and (beyond := [number for number in parse_citations(answer) if not 1 <= number <= len(sources)]):
        raise UsageError(
            f"{where}: the answer cites [{beyond[0]}], but `sources` names {len(sources)}: [n] cites the n-th."
        )
    origin = values.get(_ORIGIN)
    return Example(
        identity, question, answer, sources, group, tags, history, _rejected(values, answer, where),
        origin if isinstance(origin, str) else "",
    )  # fmt: skip


def unread_fields(values: Mapping[str, Any]) -> set[str]:
    """The fields of a line that no form of example has, and that ragft does not write: the author's own."""
    return values.keys() - {*_KEYS, *_FOR_PEOPLE}


def fields_beside(path: Path, key: str) -> dict[str, dict[str, Any]]:
    """What the lines of a file have that an `Example` does not hold, by the id of the example: the author's own fields,
    and who reviewed it.

    Raises:
        UsageError: as `read_examples`.
    """
    found: dict[str, dict[str, Any]] = {}
    for where, values in read_objects(path, "examples", key):
        if beside := {name: value for name, value in values.items() if name not in (*_KEYS, _ORIGIN)}:
            found[_identity(values, where)] = beside
    return found


def as_line(example: Example) -> dict[str, Any]:
    """An example as its line in a file, without the fields that are empty; `example_of` reads it as the same.

    It has the form `question` and `answer` with `system` and `history`, or `messages` where the earlier turns are not
    those of user and assistant in turn.
    """
    turns: list[Message] = [dict(one) for one in example.history]  # type: ignore[misc]
    asked = turn("user", example.question), turn("assistant", example.answer)
    opening = turns[:1] if turns and turns[0]["role"] == "system" else []
    earlier = turns[len(opening) :]
    alternate = all(one["role"] == role for one, role in zip(earlier, cycle(("user", "assistant")), strict=False))
    form: dict[str, Any] = {"messages": [*turns, *asked]}
    if alternate and len(earlier) % 2 == 0 and all(one["content"].strip() for one in turns):
        form = {"question": example.question, "answer": example.answer, "history": earlier}
        form["system"] = opening[0]["content"] if opening else ""
    more = {
        "sources": list(example.sources), "group": example.group, "tags": list(example.tags),
        "rejected": example.rejected, _ORIGIN: example.origin,
    }  # fmt: skip
    return {name: value for name, value in {"id": example.id, **form, **more}.items() if value}


def _counts(values: Mapping[str, Any], where: str) -> bool:
    """Whether an example is used: its weight, and that of its last message as OpenAI's files state it, is not 0."""
    messages = values.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages and isinstance(messages[-1], dict) else {}
    weights = [weight for weight in (values.get("weight"), last.get("weight")) if weight is not None]
    for weight in weights:
        if weight not in (0, 1):
            raise UsageError(
                f"{where}: `weight` is {weight!r}, and examples count once (1) or not at all (0): write a line several "
                "times, with other `id`s and one `group`, for it to count for more."
            )
    return all(weights)


def _earlier(values: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    """The turns that the fields `system` and `history` state."""
    system = values.get("system") or ""
    for field, value in (("system", system), ("history", values.get("history"))):
        if value and "messages" in values:
            raise UsageError(f"{where}: `{field}` beside `messages`: write its turns into `messages`.")
    if not isinstance(system, str):
        raise UsageError(f"{where}: field 'system' must be a text.")
    opening: list[Message] = [{"role": "system", "content": system}] if system.strip() else []
    return (*opening, *history_in(values, where))


def _rejected(values: Mapping[str, Any], answer: str, where: str) -> str:
    rejected = values.get("rejected")
    if rejected is None:
        return ""
    if not isinstance(rejected, str) or not rejected.strip():
        raise UsageError(f"{where}: `rejected` must be a text, a worse answer to the same question.")
    if rejected.strip() == answer.strip():
        raise UsageError(f"{where}: `rejected` is the answer itself: it must be a worse one.")
    return rejected


def _turns(values: Mapping[str, Any], where: str) -> tuple[tuple[Message, ...], str, str]:
    """History, question and answer of one line."""
    forms = {_FORM_OF[key]: key for key in _FORM_KEYS if values.get(key) is not None}
    if len(forms) > 1:
        raise UsageError(
            f"{where}: {' and '.join(repr(key) for key in forms.values())} belong to different forms of example, and "
            "only one can be read: keep the fields of one."
        )
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


def _identity(values: Mapping[str, Any], where: str) -> str:
    return _name(values, "id") or "line-" + where.rpartition(" ")[2]


def _name(values: Mapping[str, Any], field: str) -> str:
    """An id or a group; empty where there is none. `null` is none: it must not become a group that many rows share."""
    name = values.get(field)
    return "" if name is None else str(name)


def _text(values: Mapping[str, Any], field: str, where: str) -> str:
    text = values.get(field)
    if not isinstance(text, str):
        raise UsageError(f"{where}: field {field!r} is missing or no text.")
    return text
