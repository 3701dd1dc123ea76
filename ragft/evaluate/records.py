"""Questions, and what each setup answered: the two files that scoring joins by question id.

A record holds everything that a metric may need, so that scores can be computed again without generating
again. This module knows files and values; it knows nothing of metrics.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ragft.data.jsonl import read_objects, refuse_misspelt_keys, texts_in
from ragft.errors import RagftError, UsageError

FORMATS = ("house", "free")


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
    """

    id: str
    question: str
    answers: tuple[str, ...]
    sources: tuple[str, ...]
    answerable: bool
    stale_answers: tuple[str, ...] = ()
    format: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class PassageRef:
    """A passage that an answer was given from: a reference, not its text."""

    chunk_id: str
    document_id: str
    heading: str
    score: float
    title: str = ""


@dataclass(frozen=True)
class Record:
    """What one setup answered to one question, and at what cost.

    Attributes:
        passages: best first, as they were numbered in the prompt; empty without retrieval.
        citations: passage numbers (from 1) that the answer cites, as `parse_citations` reads them.
        retrieval_ms: milliseconds spent on search; None without retrieval.
        ttft_ms: milliseconds to the first token; None where the engine does not stream.
        total_ms: milliseconds from question to whole answer.
        index_version: snapshot that was searched; None without retrieval.
        error: why there is no answer; None where there is one.
    """

    question_id: str
    setup: str
    answer: str
    passages: tuple[PassageRef, ...]
    citations: tuple[int, ...]
    finish_reason: str | None
    prompt_tokens: int | None
    answer_tokens: int | None
    retrieval_ms: float | None
    ttft_ms: float | None
    total_ms: float | None
    index_version: str | None
    model_version: str
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Record:
        """The record that `to_json` wrote.

        Raises:
            TypeError: a field is missing, unknown or of another shape.
        """
        passages = tuple(PassageRef(**passage) for passage in values["passages"])
        citations = tuple(int(number) for number in values["citations"])
        return cls(**{**values, "passages": passages, "citations": citations})


def read_questions(path: Path) -> tuple[Question, ...]:
    """Reads evaluation questions, one JSON object a line; blank lines are skipped.

    Raises:
        UsageError: the file is missing or empty, or a line is no JSON object, lacks a field, repeats an id,
            or is answerable without answers; the message names file and line.
    """
    questions: dict[str, Question] = {}
    lines: dict[str, str] = {}
    for where, values in read_objects(path, "questions", "data.questions"):
        question = _question_of(values, where)
        if question.id in questions:
            raise UsageError(f"{where}: id {question.id!r} was used on {lines[question.id]}: give each its own.")
        questions[question.id], lines[question.id] = question, where.rpartition(", ")[2]
    return tuple(questions.values())


def _question_of(values: Mapping[str, Any], where: str) -> Question:
    known = [field.name for field in dataclasses.fields(Question)]
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
    rule = values.get("format")
    if rule is not None and rule not in FORMATS:
        raise UsageError(f"{where}: there is no format {rule!r}: choose one of {', '.join(FORMATS)}.")
    return Question(
        id=str(values["id"]),
        question=str(values["question"]),
        answers=answers,
        sources=texts_in(values, "sources", where),
        answerable=answerable,
        stale_answers=texts_in(values, "stale_answers", where),
        format=rule,
        tags=texts_in(values, "tags", where),
    )


def append_records(path: Path, records: Iterable[Record]) -> None:
    """Appends records, one JSON line each, and returns when they are on disk.

    What a killed writer left of its last line is cut off first, so that the next record starts a line of its
    own.

    Raises:
        OSError: the file cannot be written.
    """
    lines = b"".join(_line(record) for record in records)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if _lacks_newline(file):
            file.seek(0)
            whole, torn = _split_torn(file.read())
            file.truncate(len(whole))
            lines = lines if torn else b"\n" + lines
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path) -> tuple[Record, ...]:
    """Reads records in the order they were written; a torn last line (of a killed writer) is dropped.

    Raises:
        RagftError: another line cannot be read; the message names file and line.
    """
    try:
        whole, _ = _split_torn(path.read_bytes())
    except FileNotFoundError:
        raise RagftError(f"There are no records at {str(path)!r}: `ragft evaluate` writes them.") from None
    records = []
    for number, line in enumerate(whole.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(Record.from_json(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise RagftError(f"{path}, line {number} is no record ({reason}): delete it to write it anew.") from None
    return tuple(records)


def _line(record: Record) -> bytes:
    return json.dumps(record.to_json(), ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"


def _lacks_newline(file: BinaryIO) -> bool:
    """Whether the last line has no end; looks at one byte, because a run appends thousands of times."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _split_torn(content: bytes) -> tuple[bytes, bytes]:
    """Content up to the last whole record, and what follows it: only a line without its end can be torn."""
    head, newline, tail = content.rpartition(b"\n")
    if not tail:
        return content, b""
    try:
        json.loads(tail)
    except ValueError:
        return head + newline, tail
    return content, b""
