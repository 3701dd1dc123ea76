"""JSONL: every line is an object, and a row of a table; nested fields are named by their path, `meta.title`."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

from index.documents.document import Document, Skipped
from index.documents.formats.encoding import decode
from index.documents.formats.labels import nested_keys
from index.documents.formats.rows import documents_of
from index.documents.formats.settings import Fields, ReadSettings, Unreadable
from index.documents.formats.tables import Names, Row, Table, is_attempt, refuse_unclear_labels

_BLANKS = " \t\r\n"
_NESTED = frozenset([list, dict])


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
        self._shapes: dict[tuple[str, ...], Names] = {}
        """One `Names` for all lines with the same fields."""

    def row(self, number: int, line: int, content: str) -> Row:
        """The row that a line holds."""
        place = f"line {line}"
        self._keys.clear()
        try:
            content = content.strip(_BLANKS)
            value, end = self._decoder.raw_decode(content)
            if end < len(content):
                raise ValueError("Extra data")
            if not isinstance(value, dict):
                raise Unreadable("not a JSON object")
            if not self._keys <= self._harmless:
                refuse_unclear_labels(nested_keys(value), "the row", self._fields)
                self._harmless |= {key for key in self._keys if not self._is_near(key)}
            names, values = _leaves(value, self._fields.labels)
            shown = [value if type(value) is str else _shown(value) for value in values]
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            return Row(place, number, fault=f"not valid JSON ({reason})")
        except Unreadable as error:
            return Row(place, number, fault=str(error))
        return Row(place, number, self._shape(tuple(names)), values, shown)

    def _shape(self, names: tuple[str, ...]) -> Names:
        shape = self._shapes.get(names)
        if shape is None:
            shape = self._shapes[names] = Names(names)
        return shape

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


def _leaves(content: dict[str, Any], labels: str, prefix: str = "") -> tuple[list[str], list[Any]]:
    """Names and values of the fields of an object and of the objects inside it, but for the labels, which are never
    taken apart."""
    if dict not in set(map(type, content.values())):
        return [prefix + key for key in content], list(content.values())
    names: list[str] = []
    values: list[Any] = []
    for key, value in content.items():
        name = prefix + key
        if type(value) is dict and name != labels:
            inner_names, inner_values = _leaves(value, labels, f"{name}.")
            names += inner_names
            values += inner_values
        else:
            names.append(name)
            values.append(value)
    return names, values


def _shown(value: Any) -> str:
    kind = type(value)
    if kind is str or kind is int:
        return str(value)
    if value is None:
        return ""
    if kind is list and _NESTED.isdisjoint(map(type, value)):
        return ", ".join([_shown(item) for item in value])
    return json.dumps(value, ensure_ascii=False)
