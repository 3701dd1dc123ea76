"""What an export has no place for, in a file of its own: by the content of the exported row, so that rows may be
shuffled, split or left out before they come back.

A line is `{"row": DIGEST, "fields": {...}}`, the fields of ragft's row that the exported one reads otherwise (null: it
has none), or `{"left_out": {...}, "reason": "..."}`, a whole row that the target cannot hold.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from ragft.data.jsonl import each_line, object_at
from ragft.errors import UsageError


def digest_of(values: Mapping[str, Any]) -> str:
    """Identifies an exported row by what it says."""
    text = json.dumps(values, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return blake3(text.encode()).hexdigest()[:24]


def lost_between(original: Mapping[str, Any], read_back: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that turn the row that comes back into the original one; None: it has no such field."""
    names = [*original, *(name for name in read_back if name not in original)]
    return {name: original.get(name) for name in names if original.get(name) != read_back.get(name)}


def restored(row: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """A row that came back, with what the target had no place for."""
    whole = {**row, **fields}
    ordered = [*fields, *row]  # `id` comes first again
    return {name: whole[name] for name in dict.fromkeys(ordered) if whole[name] is not None}


class Lost:
    """A file of what an export had no place for; memory holds places, not rows."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UsageError: it cannot be read, or a line is of something else.
        """
        self._path = path
        self._places: dict[str, deque[int]] = defaultdict(deque)
        self._left_out: list[int] = []
        for line in each_line(path, "lost fields", "--lost"):
            values = object_at(line.raw, f"{path}, line {line.number}")
            if "left_out" in values:
                self._left_out.append(line.offset)
            elif isinstance(values.get("row"), str) and isinstance(values.get("fields"), dict):
                self._places[values["row"]].append(line.offset)
            else:
                raise UsageError(
                    f"{path}, line {line.number} is not of what an export had no place for: name a file that "
                    "`ragft data export` wrote beside its folder."
                )

    def fields(self, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """What belongs to an exported row, once for each that says the same; None where there is nothing left."""
        places = self._places.get(digest_of(values))
        fields: dict[str, Any] | None = self._at(places.popleft())["fields"] if places else None
        return fields

    @property
    def unclaimed(self) -> int:
        """Rows of which none came back so far."""
        return sum(map(len, self._places.values()))

    def left_out(self) -> Iterator[dict[str, Any]]:
        """The rows that the target could not hold."""
        for offset in self._left_out:
            row: dict[str, Any] = self._at(offset)["left_out"]
            yield row

    def _at(self, offset: int) -> dict[str, Any]:
        with self._path.open("rb") as file:
            file.seek(offset)
            return object_at(file.readline(), str(self._path))
