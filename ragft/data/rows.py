"""Training rows: what one is, and how many of them wait until they can be shuffled."""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragft.data.jsonl import LinesOf, to_lines
from ragft.data.shares import Kind
from ragft.prompts import Message


@dataclass(frozen=True)
class Row:
    """One training conversation, ready for the renderer.

    Attributes:
        kind: `gold`: the passages hold the answer; `refusal`: they do not, and the answer says so; `closed-book`: there
            are no passages; `general`: an instruction from elsewhere.
        passages: chunk ids, as numbered in the prompt.
        gold: positions (from 1) of the passages that hold the answer: of each source the one that is cited, then those
            that say the same elsewhere.
        rejected: a worse answer, whose citations are numbered as those of the answer; empty where there is none.
        adversarial: one of the passages gives an order, which the answer does not follow.
        made_up: positions (from 1) of the passages about something that does not exist; see `ragft.data.fictitious`.
    """

    example_id: str
    kind: Kind
    messages: tuple[Message, ...]
    passages: tuple[str, ...] = ()
    gold: tuple[int, ...] = ()
    rejected: str = ""
    adversarial: bool = False
    made_up: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        """The row that `to_json` wrote."""
        lists = ("messages", "passages", "gold", "made_up")
        return cls(**{**values, **{key: tuple(values.get(key, ())) for key in lists}})


class WaitingRows:
    """Rows that wait until all are made."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._file = path, path.open("wb") if path else None
        self._rows: list[Row] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, row: Row) -> None:
        self._count += 1
        if self._file:
            self._file.write(to_lines([row.to_json()]))
        else:
            self._rows.append(row)

    def shuffled(self, draw: random.Random) -> Sequence[Row]:
        """All rows in random order."""
        if not self._file or not self._path:
            draw.shuffle(self._rows)
            return tuple(self._rows)
        self._file.close()
        order = array("I", range(self._count))
        draw.shuffle(order)
        return LinesOf(self._path, Row.from_json, order)
