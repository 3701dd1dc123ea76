"""Rows of tables as documents, `file.csv#ID`: the settings say which field of a row holds what.

Knows fields and their values, nothing of the files that they come from. If no row of a table has a text, each is served
as lines `column: value` under the name of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from index.documents.document import Document, Metadata, Skipped, Value
from index.documents.formats.labels import labels_of
from index.documents.formats.properties import flat
from index.documents.formats.settings import Fields, Unreadable
from index.documents.formats.tables import Names, Row, Table

_MOST_LISTED = 3
"""Number of faulty rows that are listed; the others are only counted."""

_NOT_PLAIN = (bool, list, dict)
_LONGEST_ID = 512
_LONGEST_METADATA = 256
"""Longest value, in characters, that is kept as metadata without being asked for; longer ones are text."""


def documents_of(name: str, tables: Sequence[Table], fields: Fields) -> list[Document | Skipped]:
    """A document for each row of a file's tables, and one `Skipped` for all rows that could not be read.

    Raises:
        Unreadable: none of the rows can be read.
    """
    documents: dict[str, Document] = {}
    faults: list[str] = []
    for table in tables:
        reading = _Reading(name, table, fields)
        for row in table.rows:
            try:
                document = reading.document(row)
                if document.id in documents:
                    raise Unreadable(f"duplicate id {document.id.removeprefix(name + '#')!r}")
                documents[document.id] = document
            except Unreadable as error:
                faults.append(f"{row.place}: {error}")
    listed = "; ".join(faults[:_MOST_LISTED]) + ("; ..." if len(faults) > _MOST_LISTED else "")
    if not documents:
        raise Unreadable(f"no row can be read ({listed or 'there are none'})")
    if faults:
        return [*documents.values(), Skipped(name, f"{len(faults)} of {len(documents) + len(faults)} rows ({listed})")]
    return [*documents.values()]


@dataclass(frozen=True)
class _Reading:
    """Reads the rows of one table."""

    name: str
    table: Table
    fields: Fields
    _known: dict[int, _Places] = field(default_factory=dict)
    """The places of names, by the identity of the names, which the rows hold: comparing them takes longer."""

    def document(self, row: Row) -> Document:
        """The document that a row is.

        Raises:
            Unreadable: the row has no text, or its id or labels cannot be understood.
        """
        if row.fault:
            raise Unreadable(row.fault)
        places = self._places(row.names)
        if places.fault:
            raise Unreadable(places.fault)
        text = self._text(row, places.text) if self._has_text else _lines(row, places.lines)
        identity = f"{self.name}#{self.table.scope}{self._id(row, places.id)}"
        labels = row.values[places.labels] if places.labels is not None else None
        try:
            return Document.of(
                identity,
                _normalised(text),
                title=_title(row, places.title) or (identity if self._has_text else self.table.title),
                labels=labels_of(labels, "the row") if labels is not None else (),
                metadata=_metadata(row, places.metadata, keeps_all=self.fields.metadata is None),
                is_markdown=False,
            )
        except UnicodeEncodeError:
            raise Unreadable("half a character (a lone surrogate)") from None
        except RecursionError:
            raise Unreadable("its values are nested too deeply") from None

    @cached_property
    def _has_text(self) -> bool:
        """Whether any row has a text of its own."""
        texts = ((row, self._places(row.names).text) for row in self.table.rows)
        return any(place is not None and row.shown[place].strip() for row, place in texts)

    @cached_property
    def _has_ids(self) -> bool:
        """Whether every row has an id of its own."""
        ids: set[str] = set()
        rows = [row for row in self.table.rows if not row.fault]
        for row in rows:
            place = self._places(row.names).id
            if place is not None and (identity := _identity(row, place)):
                ids.add(identity)
        return len(ids) == len(rows)

    def _text(self, row: Row, place: int | None) -> str:
        if place is None or not _is_plain(row, place) or not row.shown[place].strip():
            raise Unreadable(f"no text in the field {self.fields.text!r}")
        return row.shown[place]

    def _id(self, row: Row, place: int | None) -> str:
        """Identifies a row in its table: its own id, or else its number.

        The field of ids may be meant otherwise in a table that was not made for us, the number of an order in each line
        of the order: it counts only if it identifies every row.
        """
        if place is None or not row.shown[place] or not (self._has_text or self._has_ids):
            return str(row.number)
        identity = _identity(row, place)
        if not identity:
            raise Unreadable(f"the field {self.fields.id!r} is not an id: a short text or a number")
        return identity

    def _places(self, names: Names) -> _Places:
        found = self._known.get(id(names))
        if found is None:
            found = self._known[id(names)] = _places(names, self.fields)
        return found


class _Places(NamedTuple):
    """Where rows that share their names have what; None for what they lack.

    Attributes:
        lines: places of what is served of a row without a text.
        fault: which name is ambiguous; empty if none is.
    """

    text: int | None
    title: int | None
    id: int | None
    labels: int | None
    lines: tuple[int, ...]
    metadata: tuple[int, ...]
    fault: str = ""


@lru_cache(maxsize=1024)
def _places(names: Names, fields: Fields) -> _Places:
    found: dict[str, list[int]] = {}
    folded: dict[str, list[int]] = {}
    for place, name in enumerate(names.names):
        found.setdefault(name, []).append(place)
        folded.setdefault(name.casefold(), []).append(place)

    def named(name: str) -> list[int]:
        """Places of a name; in another case, it will do if there is only one."""
        other = folded.get(name.casefold(), [])
        return found.get(name) or (other if len(other) == 1 else [])

    candidates = [named(name) for name in (fields.text, fields.title, fields.id)]
    # Not in another case: who may see a row is not guessed, and whoever reads the file has refused such a name.
    candidates.append(found.get(fields.labels, []))
    # What nobody sees may say who may see the row and which it is, but not be served as its text.
    candidates[:2] = [[place for place in places if place not in names.hidden] for places in candidates[:2]]
    text, title, identity, labels = (places[0] if places else None for places in candidates)
    visible = [place for place in range(len(names.names)) if place != labels and place not in names.hidden]
    if fields.metadata is None:
        metadata = [place for place in visible if place not in (text, title, identity)]
        metadata = [place for place in metadata if len(found[names.names[place]]) == 1]
    else:
        chosen = [found.get(name) or _below(names, name) or named(name) for name in fields.metadata]
        metadata = [place for places in chosen for place in places]
    needed = [place for places in candidates for place in places] + metadata
    repeated = next((name for name, places in found.items() if len(places) > 1 and set(needed) & set(places)), None)
    fault = f"two columns are named {repeated!r}" if repeated is not None else ""
    return _Places(text, title, identity, labels, tuple(visible), tuple(metadata), fault)


def _below(names: Names, name: str) -> list[int]:
    """The fields of the object in a field of this name."""
    return [place for place, path in enumerate(names.names) if path.startswith(f"{name}.")]


def _lines(row: Row, places: Sequence[int]) -> str:
    """What a reader sees of a row, a line for each value."""
    values = ((row.names.names[place], row.shown[place].strip()) for place in places)
    lines = [f"{name}: {value}" for name, value in values if value]
    if not lines:
        raise Unreadable("no value")
    return "\n".join(lines)


def _title(row: Row, place: int | None) -> str:
    return " ".join(row.shown[place].split()) if place is not None and _is_plain(row, place) else ""


def _metadata(row: Row, places: Sequence[int], keeps_all: bool) -> Metadata:
    """Values of these fields that are not blank; unless they were chosen, only those that are short."""
    names, shown, values = row.names.names, row.shown, row.values
    texts: dict[str, Value] = {}
    others: dict[str, Any] = {}
    for place in places:
        if shown[place] and (not keeps_all or len(shown[place]) <= _LONGEST_METADATA):
            value = values[place]
            if not isinstance(value, str):
                others[names[place]] = value
            elif value := value.strip():
                texts[names[place]] = value
    return {**texts, **flat(others)} if others else texts


def _is_plain(row: Row, place: int) -> bool:
    """Whether a value is a text or a number."""
    return not isinstance(row.values[place], _NOT_PLAIN)


def _identity(row: Row, place: int) -> str:
    """The value of a field if it may be an id, else nothing."""
    identity = row.shown[place].strip()
    return identity if len(identity) <= _LONGEST_ID and identity.isprintable() and _is_plain(row, place) else ""


def _normalised(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
