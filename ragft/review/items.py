"""What is reviewed: the rows of a file of examples or questions, each with what of it may be edited."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blake3 import blake3

from ragft.data.examples import Example, example_of
from ragft.data.jsonl import Ids, read_objects
from ragft.data.questions import Question, question_of
from ragft.data.sources import Source
from ragft.errors import UsageError

REVIEWED_BY = "reviewed_by"
"""Field of a reviewed row: who accepted or edited it."""


@dataclass(frozen=True)
class Item:
    """One row as reviewers see it.

    Attributes:
        key: 32 hex digits over its content, so that a decision stays with what it was made about.
        name: its own id; empty where it states none.
        label: where it stands, as in `line 3`.
        fields: what may be edited, by name; lists as lines.
        beside: what else is shown, as (title, text).
        question: with the turns before it.
        answers: what is looked up in the sources.
        cluster: items of one cluster are related, for the intervals of agreement.
        made: what fields make of the row.

            Raises:
                UsageError: they make no valid row.
        repeats: label of an item before it that asks nearly the same; empty: there is none.
    """

    key: str
    name: str
    label: str
    fields: Mapping[str, str]
    beside: Sequence[tuple[str, str]]
    question: str
    answers: Sequence[str]
    sources: tuple[Source, ...]
    cluster: str
    made: Callable[[Mapping[str, str]], dict[str, Any]] = field(compare=False, repr=False)
    repeats: str = ""

    def changed(self, given: Mapping[str, str]) -> dict[str, str]:
        """The fields that differ from the row's own, but for how lines end and white space around the text.

        Raises:
            UsageError: the item has no such field.
        """
        unknown = [name for name in given if name not in self.fields]
        if unknown:
            raise UsageError(f"{self.label}: there is no field {unknown[0]!r} to edit, only {', '.join(self.fields)}.")
        plain = {name: _plain(text) for name, text in given.items()}
        return {name: text for name, text in plain.items() if text != _plain(self.fields[name])}


def key_of(values: Mapping[str, Any]) -> str:
    """32 hex digits over the content of a row, whatever the order of its fields."""
    return blake3(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Rows:
    """The rows of a file.

    Attributes:
        items: in the order of the file; rows of the same content are one item.
        lines: for each row of the file that counts its place in `items`.
        idle: how many have weight 0 and are not reviewed.
    """

    items: tuple[Item, ...]
    lines: tuple[int, ...]
    idle: int


def read_rows(path: Path, key: str) -> Rows:
    """Reads the rows of a file of examples or questions, told apart by their fields.

    Args:
        key: what names the file, for messages.

    Raises:
        UsageError: the file cannot be read, a line is neither an example nor a question, or two have one id; the
            message names the line.
    """
    items: dict[str, Item] = {}
    lines: list[str] = []
    ids, idle = Ids(), 0
    for where, values in read_objects(path, "examples or questions", key):
        item = _item(values, where)
        if item is None:
            idle += 1
            continue
        if item.name:
            ids.claim(item.name, where)
        items.setdefault(item.key, item)
        lines.append(item.key)
    places = {name: place for place, name in enumerate(items)}
    if not items:
        raise UsageError(f"{path} holds no examples that count: all {idle} have weight 0.")
    return Rows(tuple(items.values()), tuple(places[name] for name in lines), idle)


def _item(values: Mapping[str, Any], where: str) -> Item | None:
    label = where.rpartition(", ")[2]
    identity = values.get("id")
    name = "" if identity is None else str(identity)
    row: Example | Question | None
    if "answers" in values or "answerable" in values:
        row = question_of(values, where)
        fields, answers = _question_fields(row), row.answers
        check: Callable[[Mapping[str, Any], str], object] = question_of
    else:
        row = example_of(values, where)
        if row is None:
            return None
        fields, answers = _example_fields(values, row), (row.answer,)
        check = example_of

    def made(given: Mapping[str, str]) -> dict[str, Any]:
        new = _written(values, {name: text for name, text in given.items() if _plain(text) != _plain(fields[name])})
        check(new, label)
        return new

    shown = [*(("earlier turn", f"{turn['role']}: {turn['content']}") for turn in row.history)]
    shown += [(field, _text(values[field])) for field in ("tags", "group", "origin") if values.get(field)]
    cluster = values.get("group") or (row.sources[0].documents[0] if row.sources else "") or key_of(values)
    return Item(
        key_of(values), name, label, fields, shown, row.spoken, answers, row.sources, str(cluster), made
    )  # fmt: skip


def _question_fields(question: Question) -> dict[str, str]:
    fields = {"question": question.question, "answers": "\n".join(question.answers)}
    fields["sources"] = "\n".join(question.sources)
    if any("\n" in answer for answer in question.answers):
        del fields["answers"]  # lines could not be told from answers
    return fields


def _example_fields(values: Mapping[str, Any], example: Example) -> dict[str, str]:
    form = [name for name in ("question", "answer", "prompt", "completion", "instruction", "input", "output")
            if isinstance(values.get(name), str)]  # fmt: skip
    fields = {name: str(values[name]) for name in form}
    if "messages" in values:
        fields = {"question": example.question, "answer": example.answer}
    if example.rejected:
        fields["rejected"] = example.rejected
    return {**fields, "sources": "\n".join(example.sources)}


def _written(values: Mapping[str, Any], edited: Mapping[str, str]) -> dict[str, Any]:
    """The row with fields as they were edited."""
    row = dict(values)
    for name, text in edited.items():
        if name == "sources":
            row[name] = _lines(text)
        elif name == "answers":
            # Questions without an answer are those that the documents do not answer.
            row = {key: value for key, value in row.items() if key != "answerable"}
            row |= {"answers": _lines(text)} if _lines(text) else {"answers": [], "answerable": False}
        elif "messages" in values and name in ("question", "answer"):
            place = -2 if name == "question" else -1
            messages = [dict(one) for one in row["messages"]]
            messages[place]["content"] = text
            row["messages"] = messages
        else:
            row[name] = text
    return row


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
