"""JSONL: every line is an object, and a row of a table; nested fields are named by their path, `meta.title`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from index.documents.document import Document, Skipped
from index.documents.formats.encoding import decode
from index.documents.formats.labels import nested_keys
from index.documents.formats.rows import documents_of
from index.documents.formats.settings import Fields, ReadSettings, Unreadable
from index.documents.formats.tables import Names, Row, Table, is_attempt, refuse_unclear_labels


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """A document for each object, and one `Skipped` for all that could not be read.

    Raises:
        Unreadable: the file is binary or blank, or none of its lines can be read.
    """
    text = decode(data)
    if not text.strip():
        raise Unreadable("empty")
    fields = settings.fields_of(name)
    lines = [(line, content) for line, content in enumerate(text.split("\n"), start=1) if content.strip()]
    reading = _Lines(fields)
    rows = [reading.row(number, line, content) for number, (line, content) in enumerate(lines, start=1)]
    return documents_of(name, [Table(PurePosixPath(name).stem, rows)], fields)


class _Lines:
    """Reads the lines of one file."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object)
        self._keys: set[str] = set()
        """Keys of all objects of a line, nested ones without their path."""
        self._harmless: set[str] = set()
        """Keys of the lines above that are no attempt to label, whatever they belong to."""

    def row(self, number: int, line: int, content: str) -> Row:
        """The row that a line holds."""
        place = f"line {line}"
        self._keys.clear()
        try:
            value = self._decoder.decode(content)
            if not isinstance(value, dict):
                raise Unreadable("not a JSON object")
            if not self._keys <= self._harmless:
                refuse_unclear_labels(nested_keys(value), "the row", self._fields)
                self._harmless |= {key for key in self._keys if not self._is_near(key)}
            leaves = list(_leaves(value, self._fields.labels))
            shown = [_shown(leaf) for _, leaf in leaves]
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            return Row(place, number, fault=f"not valid JSON ({reason})")
        except Unreadable as error:
            return Row(place, number, fault=str(error))
        return Row(place, number, Names(tuple(name for name, _ in leaves)), [leaf for _, leaf in leaves], shown)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object each of whose keys is there once, so that no second `labels` opens what the first one closes."""
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"duplicate key {next(name for name in names if names.count(name) > 1)!r}")
        self._keys.update(found)
        return found

    def _is_near(self, key: str) -> bool:
        return is_attempt(key) or key.casefold() == self._fields.labels.rpartition(".")[2].casefold()


def _leaves(content: Mapping[str, Any], labels: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of an object and of the objects inside it, but for the labels, which are never taken apart."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name != labels:
            yield from _leaves(value, labels, f"{name}.")
        else:
            yield name, value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        return ", ".join(_shown(item) for item in value)
    return json.dumps(value, ensure_ascii=False)
