"""Records: what each setup answered to each question.

A record holds everything that a metric may need, so that answers can be scored again without being generated again.
This module knows records and their files, nothing of metrics.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ragft.citations import parse_citations
from ragft.data.jsonl import object_in, to_lines
from ragft.errors import RagftError, UsageError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class PassageRef:
    """A passage that was shown to the model.

    Attributes:
        sections: the headings of the sections that it is from; empty if `heading` is the only one.
        path: the headings above it, down to its own; empty in records of earlier versions.
        text: as the model read it, heading and all; empty in records of earlier versions.
    """

    chunk_id: str
    document_id: str
    heading: str
    score: float
    title: str = ""
    sections: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    text: str = ""

    @property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """The path of headings of each section that it is from."""
        if self.sections:
            return tuple((*self.path, section) for section in self.sections)
        return (self.path or (self.heading,),)


@dataclass(frozen=True)
class Record:
    """What one setup answered to one question, and at what cost.

    Attributes:
        passages: best first, as numbered in the prompt; empty without retrieval.
        passages_dropped: number of the last passages found that are not in the prompt, which would have been too long.
        citations: passage numbers (from 1) that the answer cites, as `parse_citations` reads them.
        retrieval_ms: milliseconds that the search cost: each question's share of one search for all of them, which is
            no time that anybody waits; None without retrieval.
        ttft_ms: milliseconds until the first token, beside the questions that are answered at the same time; None where
            the engine does not stream.
        total_ms: milliseconds until the complete answer, likewise.
        index_version: snapshot that was searched; None without retrieval.
        error: why there is no answer; None where there is one.
        dropped_turns: number of the oldest turns of its history that are not in the prompt.
        query: what was searched for instead of a follow-up; None of other questions.
    """

    question_id: str
    setup: str
    answer: str
    passages: tuple[PassageRef, ...] = ()
    citations: tuple[int, ...] = ()
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    retrieval_ms: float | None = None
    ttft_ms: float | None = None
    total_ms: float | None = None
    index_version: str | None = None
    model_version: str = ""
    error: str | None = None
    passages_dropped: int = 0
    dropped_turns: int = 0
    query: str | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Record:
        """The record in a line of JSON; one that another program wrote may have no more than the first three fields.

        Raises:
            UsageError: a field is unknown or of another type, or one of the first three is missing.
        """
        known = [one.name for one in fields(cls)]
        if unknown := [key for key in values if key not in known]:
            raise UsageError(f"there is no field {unknown[0]!r}; there are {', '.join(known)}")
        for name in ("question_id", "setup", "answer"):
            if not isinstance(values.get(name), str):
                raise UsageError(f"field {name!r} should be a text, not {values.get(name)!r}")
        if not values["setup"].strip():
            raise UsageError("field 'setup' is empty")
        if values.get("citations") is None:
            values = {**values, "citations": parse_citations(values["answer"])}
        return _typed(values)


def _typed(values: Mapping[str, Any]) -> Record:
    """A record of fields that are what `Record` says.

    Raises:
        UsageError: one is of another type.
    """
    from pydantic import ValidationError

    try:
        return _adapter().validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"field {where!r}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None


@functools.cache
def _adapter() -> TypeAdapter[Record]:
    from pydantic import TypeAdapter

    return TypeAdapter(Record)


def append_records(path: Path, records: Iterable[Record]) -> None:
    """Appends records, one JSON line each, after removing the incomplete last line that a killed writer may have left.

    Returns when they are on disk.
    """
    lines = to_lines(map(asdict, records))
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
    """Reads records in the order they were written, without the incomplete last line of a killed writer."""
    try:
        whole, _ = _split_torn(path.read_bytes())
    except FileNotFoundError:
        raise RagftError(f"There are no records at {str(path)!r}: run `ragft evaluate` to generate them.") from None
    records = []
    for number, line in enumerate(whole.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(Record.from_json(object_in(line.decode(), "")))
        except UsageError as error:
            raise RagftError(f"{path}, line {number} is not a record: {str(error).strip(': .')}.") from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise RagftError(f"{path}, line {number} is not a record ({reason}): correct or delete it.") from None
    return tuple(records)


def read_answers(folder: Path) -> tuple[Record, ...]:
    """The records in a folder; what earlier versions left out of passages is taken from what the search found."""
    records = read_records(folder / "records.jsonl")
    found = folder / "retrieval.jsonl"
    if not found.is_file() or all(passage.text for record in records for passage in record.passages):
        return records
    rows = map(json.loads, found.read_bytes().splitlines())
    hits = {hit["chunk_id"]: hit for row in rows for hit in row["hits"]}

    def completed(passage: PassageRef) -> PassageRef:
        hit = hits.get(passage.chunk_id)
        if passage.text or hit is None:
            return passage
        return replace(passage, text=hit["passage"], path=passage.path or tuple(hit["heading_path"]))

    return tuple(replace(record, passages=tuple(map(completed, record.passages))) for record in records)


def _lacks_newline(file: BinaryIO) -> bool:
    """Whether the last line is unfinished; reads one byte only, because a run appends thousands of times."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _split_torn(content: bytes) -> tuple[bytes, bytes]:
    """Content up to the last complete record, and the incomplete line after it."""
    head, newline, tail = content.rpartition(b"\n")
    if not tail:
        return content, b""
    try:
        json.loads(tail)
    except ValueError:
        return head + newline, tail
    return content, b""
