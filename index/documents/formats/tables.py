"""JSONL and CSV: every row is a document, `file.jsonl#ID`; the settings say which field holds what."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from index.documents.document import Document, Skipped
from index.documents.formats.encoding import decode
from index.documents.formats.properties import flat, labels_of
from index.documents.formats.settings import Fields, ReadSettings, Unreadable

_DELIMITERS = ",;\t|"
_MOST_LISTED = 3
"""Number of faulty rows that are listed; the others are only counted."""

_LONGEST_ID = 512


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """A document for each row that has text, and one `Skipped` for all rows that could not be read.

    Raises:
        Unreadable: the file is binary or blank, or none of its rows can be read.
    """
    text = decode(data)
    if not text.strip():
        raise Unreadable("empty")
    rows = _objects(text) if name.lower().endswith((".jsonl", ".ndjson")) else _records(name, text)
    documents: dict[str, Document] = {}
    faults: list[str] = []
    for number, (line, row) in enumerate(rows, start=1):
        try:
            document = _document(name, number, row, settings.fields)
            if document.id in documents:
                raise Unreadable(f"duplicate id {document.id.removeprefix(name + '#')!r}")
            documents[document.id] = document
        except Unreadable as error:
            faults.append(f"line {line}: {error}")
    listed = "; ".join(faults[:_MOST_LISTED]) + ("; ..." if len(faults) > _MOST_LISTED else "")
    if not documents:
        raise Unreadable(f"no row can be read ({listed or 'there are none'})")
    if faults:
        return [*documents.values(), Skipped(name, f"{len(faults)} of {len(documents) + len(faults)} rows ({listed})")]
    return [*documents.values()]


def _objects(text: str) -> Iterator[tuple[int, object]]:
    """Line number and value of each line of a JSONL text; an `Unreadable` in place of an invalid value."""
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                yield line, json.loads(content)
            except (ValueError, RecursionError) as error:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                yield line, Unreadable(f"not valid JSON ({reason})")


def _records(name: str, text: str) -> Iterator[tuple[int, object]]:
    """Line number and columns of each record of a CSV text, except the first, which names the columns."""
    head = text.split("\n", 1)[0]
    delimiter = "\t" if name.lower().endswith(".tsv") else max(_DELIMITERS, key=head.count)
    # The limit of the csv module (131,072 characters per field) is global and too small; the size of files is limited.
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        if len(set(columns)) != len(columns):
            raise Unreadable("two columns have the same name")
        for record in reader:
            if len(record) > len(columns):
                yield reader.line_num, Unreadable(f"{len(record)} cells for {len(columns)} columns")
            elif any(cell.strip() for cell in record):
                yield reader.line_num, dict(zip(columns, record, strict=False))
    except csv.Error as error:
        yield reader.line_num, Unreadable(f"not valid CSV ({error}); nothing below this line is read")


def _document(name: str, number: int, row: object, fields: Fields) -> Document:
    if isinstance(row, Unreadable):
        raise row
    if not isinstance(row, Mapping):
        raise Unreadable("not a JSON object")
    text = row.get(fields.text)
    if not isinstance(text, str) or not text.strip():
        raise Unreadable(f"no text in the field {fields.text!r}")
    identity = f"{name}#{_id(row.get(fields.id), fields.id, number)}"
    title, labels = row.get(fields.title), row.get(fields.labels)
    title = " ".join(str(title).split()) if isinstance(title, str | int | float) else ""
    try:
        return Document.of(
            identity,
            text.replace("\r\n", "\n").replace("\r", "\n"),
            title=title or identity,
            labels=labels_of(labels, "the row") if labels is not None else (),
            metadata=flat({key: row[key] for key in fields.metadata if row.get(key) not in (None, "")}),
            is_markdown=False,
        )
    except UnicodeEncodeError:
        raise Unreadable("half a character (a lone surrogate)") from None


def _id(value: Any, field: str, number: int) -> str:
    """Identifies a row in its file: its own id, or else its number."""
    if value is None or value == "":
        return str(number)
    identity = str(value).strip()
    if isinstance(value, bool | list | dict) or not identity.isprintable() or not 0 < len(identity) <= _LONGEST_ID:
        raise Unreadable(f"the field {field!r} is not an id: a short text or a number")
    return identity
