"""Evaluation questions with their gold answers."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ragft.data.history import history_in, spoken
from ragft.data.jsonl import Ids, read_objects, refuse_misspelt_keys, texts_in
from ragft.data.sources import Source, sources_in
from ragft.errors import UsageError
from ragft.messages import Message

FORMATS = ("house", "free")
T = TypeVar("T")

Place = tuple[str, tuple[str, ...]]
"""A document and the headings of one of its sections; no headings: all of it."""


@dataclass(frozen=True)
class Question:
    """One question with its gold answers.

    Attributes:
        answers: every wording that is right; empty where the documents hold no answer.
        sources: where the answer stands, as `document` or `document#section`.
        answerable: False where the right answer is the declared refusal.
        stale_answers: what was right before the documents changed.
        format: `"house"` (or None): the answer should be in the house format; `"free"`: its format is not
            scored.
        tags: kinds of question, for the breakdown.
        group: questions of one group are taken for related, as those about one document are where there is none.
        history: the turns before it, oldest first; only behind them a follow-up can be understood.
        standalone: the same question as one asks it without a history; the suite `conversation` compares the two.
        paraphrases: the question in other words, for the robustness suite.
        places: for each source where it stands in the index, as `ragft.data.gold.located` finds it; not in the file.
            Empty: it was not looked up.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    sources: tuple[Source, ...]
    answerable: bool
    stale_answers: tuple[str, ...] = ()
    format: str | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    history: tuple[Message, ...] = ()
    standalone: str | None = None
    paraphrases: tuple[str, ...] = ()
    places: tuple[tuple[Place, ...], ...] = ()

    @property
    def spoken(self) -> str:
        """The question with the turns before it."""
        return spoken(self.history, self.question)

    def sources_of(self, document_id: str, path: tuple[str, ...], title: str = "") -> set[Source]:
        """The sources that a section belongs to.

        Where they were looked up, the whole path of headings tells; else a source matches by the last ones of them.

        Args:
            path, title: as for `Source.matches`.
        """
        if not self.places:
            return {source for source in self.sources if source.matches(document_id, path, title)}
        numbered = zip(self.sources, self.places, strict=True)
        return {source for source, places in numbered if any((document_id, p) in places for p in ((), path))}


def read_questions(path: Path) -> tuple[Question, ...]:
    """Reads evaluation questions, one JSON object a line; blank lines are skipped.

    Raises:
        UsageError: the file is missing or empty, or a line is no JSON object, lacks a field, repeats an id,
            or is answerable without answers, or not and has some; the message names file and line.
    """
    questions, ids = list[Question](), Ids()
    for where, values in read_objects(path, "questions", "data.questions"):
        questions.append(question_of(values, where))
        ids.claim(questions[-1].id, where)
    return tuple(questions)


def question_of(values: Mapping[str, Any], where: str) -> Question:
    """The question of one line.

    Raises:
        UsageError: the line is no question; the message begins with `where`.
    """
    known = [field.name for field in dataclasses.fields(Question) if field.name != "places"]
    refuse_misspelt_keys(values, known, where, beside_right_one=True)
    for field in ("id", "question"):
        if not isinstance(values.get(field), str | int) or not str(values[field]).strip():
            raise UsageError(f"{where}: field {field!r} is missing or empty.")
    answerable = values.get("answerable", True)
    if not isinstance(answerable, bool):
        raise UsageError(f"{where}: `answerable` must be true or false, not {answerable!r}.")
    answers = texts_in(values, "answers", where)
    if answerable and not answers:
        raise UsageError(f"{where}: answerable but without `answers`: add some, or set `answerable: false`.")
    if answers and not answerable:
        raise UsageError(f"{where}: `answerable` is false, but it has `answers`: leave one of the two out.")
    rule = values.get("format")
    if rule is not None and rule not in FORMATS:
        raise UsageError(f"{where}: there is no format {rule!r}: choose one of {', '.join(FORMATS)}.")
    group = values.get("group")
    if group is not None and (isinstance(group, bool) or not isinstance(group, str | int) or not str(group).strip()):
        raise UsageError(f"{where}: `group` must be a name or a number, not {group!r}.")
    alone = values.get("standalone")
    if alone is not None and (not isinstance(alone, str) or not alone.strip()):
        raise UsageError(f"{where}: `standalone` must be a text, the question as one asks it without its `history`.")
    return Question(
        str(values["id"]), str(values["question"]), answers, sources_in(values, where), answerable,
        stale_answers=texts_in(values, "stale_answers", where), format=rule, tags=texts_in(values, "tags", where),
        group=None if group is None else str(group), history=history_in(values, where), standalone=alone,
        paraphrases=texts_in(values, "paraphrases", where),
    )  # fmt: skip


def as_line(question: Question) -> dict[str, Any]:
    """A question as its line in a file, without the fields that have their default."""
    values = {field.name: getattr(question, field.name) for field in dataclasses.fields(Question)}
    values["sources"] = [str(source) for source in question.sources]
    defaults = {field.name: field.default for field in dataclasses.fields(Question)}
    return {key: value for key, value in values.items() if value != defaults[key] and key != "places"}


def sample(questions: tuple[T, ...], limit: int | None, seed: int) -> tuple[T, ...]:
    """A seeded sample of so many questions in the order of the file; all of them where `limit` is None."""
    if limit is None or limit >= len(questions):
        return questions
    places = sorted(random.Random(seed).sample(range(len(questions)), limit))
    return tuple(questions[place] for place in places)
