"""What an audit looks for in each row, and a table of the rows where it was found.

A row is one line of a file of examples. Of each row a few numbers are kept, 70 bytes in all, so that a million rows
take little memory; texts are read again from the file where one has to be shown.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ragft.config.data import FaultKind

Kind = FaultKind
KINDS: tuple[Kind, ...] = get_args(Kind)

State = Literal["note", "warning", "error"]


@dataclass(frozen=True)
class About:
    """A kind of fault, for people.

    Attributes:
        title: of its finding.
        state: what it is where rows have it.
        told: what is said of so many rows; `{rows}` stands for them.
        advice: what to do about it.
    """

    title: str
    state: State
    told: str
    advice: str


ABOUT: Mapping[Kind, About] = {
    "schema": About("unreadable lines", "error", "{rows} that cannot be read", "Correct or drop the line."),
    "empty": About("empty rows", "error", "{rows} without a question or without an answer",
                   "Write what is missing, or drop it."),
    "truncated": About("truncated answers", "warning", "{rows} whose answer ends in the middle",
                       "Complete the answer or drop it."),
    "form": About(
        "form", "error", "{rows} not in the house format",
        "Write the answer in the format, or correct answer.format if it asks for too much.",
    ),
    "duplicate": About(
        "duplicates", "warning", "{rows} repeating an earlier one", "Drop them: a repeated row counts for more.",
    ),
    "near_duplicate": About(
        "near duplicates", "warning", "{rows} nearly repeating an earlier one, with the same answer",
        "Drop them, or reword them until they teach something new.",
    ),
    "contradiction": About(
        "contradictions", "warning", "{rows} with a question that others answer differently",
        "Decide which answer is right; neither is dropped by itself.",
    ),
    "evaluation": About(
        "overlap", "error", "{rows} holding an evaluation question with its answer",
        "Drop the row, or the question: an answer that was trained measures nothing.",
    ),
    "near_evaluation": About(
        "near copies", "warning", "{rows} near an evaluation question, with another answer",
        "Look at the pairs: a copy with a wrong answer is as bad as one with the right answer.",
    ),
    "source": About("sources of examples", "error", "{rows} with a source that is not there, or unclear",
                    "Correct the source."),
    "no_source": About(
        "examples without sources", "warning", "{rows} with an answer and no `sources`, trained beside "
        "passages without the answer", "Name the section that holds the answer.",
    ),
    "unsupported": About(
        "unsupported answers", "warning", "{rows} with an answer that is not in the sources",
        "Correct the answer or the source: such rows teach to make things up.",
    ),
    "language": About("language", "warning", "{rows} in another language than most",
                      "Drop or translate them, unless users will ask in it."),
    "length": About("length", "note", "{rows} much longer or shorter than the others, or too long to train",
                    "Look whether they hold one question and its answer."),
    "style": About("style", "warning", "{rows} unlike the others in form",
                   "Rewrite them like the others, or drop them."),
    "personal": About("personal data", "warning", "{rows} with personal data",
                      "`ragft data clean` replaces it by pseudonyms."),
    "toxic": About("toxic wording", "warning", "{rows} with insults or threats", "Read them; drop or rewrite them."),
    "groups": About("wording about groups", "warning", "{rows} with a statement about a whole group of people",
                    "Read them; drop or rewrite them."),
    "untidy": About("untidy text", "note", "{rows} with invisible or broken characters, or white space at the ends",
                    "`ragft data clean` tidies them."),
}  # fmt: skip

SHOWN = 20
"""Rows of a kind that are kept for the page and the findings; the file of rows has all of them."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One fault of one row.

    Attributes:
        row: number in the table.
        of: the row that it repeats or contradicts; -1: none.
        detail: what exactly; holds no personal value.
    """

    kind: Kind
    row: int
    detail: str = ""
    of: int = -1


class Table:
    """A few numbers of every row, in columns that grow; row numbers count over all files."""

    def __init__(self) -> None:
        self.file, self.line, self.offset = array("B"), array("I"), array("Q")
        self.identity, self.group = array("Q"), array("Q")
        self.question, self.said, self.answer = array("Q"), array("Q"), array("Q")
        self.characters, self.of, self.kinds = array("I"), array("i"), array("I")
        self.style, self.asked_in, self.answered_in, self.is_read = array("H"), array("B"), array("B"), array("B")

    def __len__(self) -> int:
        return len(self.line)

    def begin(self, file: int, line: int, offset: int) -> int:
        """A new row without anything known of it yet; returns its number."""
        for column, value in ((self.file, file), (self.line, line), (self.offset, offset), (self.of, -1)):
            column.append(value)
        for column in (
            self.identity, self.group, self.question, self.said, self.answer, self.characters, self.kinds, self.style,
            self.asked_in, self.answered_in, self.is_read,
        ):  # fmt: skip
            column.append(0)
        return len(self) - 1

    def rows_of(self, kind: Kind) -> npt.NDArray[np.int64]:
        """The rows with a fault, in order."""
        return np.flatnonzero(np.frombuffer(self.kinds, dtype=np.uint32) & bit(kind))

    def has(self, row: int, kind: Kind) -> bool:
        return bool(self.kinds[row] & bit(kind))


def bit(kind: Kind) -> int:
    """What stands for a kind in `Table.kinds`."""
    return 1 << KINDS.index(kind)


class Flags:
    """All faults: counted, the first of each kind kept, and each written to a file of one JSON object a line."""

    def __init__(self, table: Table, path: Path, named: Sequence[str]) -> None:
        """
        Args:
            path: of the file; it is for its owner only, because details quote rows.
            named: names of the files of examples.
        """
        self._table, self._named = table, named
        self.shown: dict[Kind, list[Flag]] = {kind: [] for kind in KINDS}
        self.ids: dict[int, str] = {}
        """Names of rows that are shown."""
        self.counts: Counter[Kind] = Counter()
        path.touch(mode=0o600)
        self._file = path.open("w", encoding="utf-8")

    def add(self, flag: Flag, identity: str = "") -> None:
        """Notes a fault; of one kind, a row counts once, with its first detail."""
        if self._table.has(flag.row, flag.kind):
            return
        self._table.kinds[flag.row] |= bit(flag.kind)
        if flag.of >= 0:
            self._table.of[flag.row] = flag.of
        self.counts[flag.kind] += 1
        if len(self.shown[flag.kind]) < SHOWN:
            self.shown[flag.kind].append(flag)
            self.ids.setdefault(flag.row, identity)
        self._file.write(json.dumps(self.told(flag), ensure_ascii=True) + "\n")

    def told(self, flag: Flag) -> dict[str, Any]:
        """A fault as it is written down."""
        values = {"kind": flag.kind, **({"detail": flag.detail} if flag.detail else {})}
        where = {"file": self._named[self._table.file[flag.row]], "line": self._table.line[flag.row]}
        return {**where, **values, **({"of_line": self._table.line[flag.of]} if flag.of >= 0 else {})}

    def close(self) -> None:
        self._file.close()
