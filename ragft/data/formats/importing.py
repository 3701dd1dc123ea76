"""Rows of other tools become rows of ragft, one after the other; what cannot be held is told, and nothing vanishes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from blake3 import blake3

from index.durable import replacing
from ragft.console import counted
from ragft.data.examples import example_of
from ragft.data.formats.layouts import IMPORTED, LAYOUTS, Layout, Unheld, layout_of
from ragft.data.formats.lost import Lost, restored
from ragft.data.formats.reading import SAMPLE, Read, rows_in
from ragft.data.jsonl import refuse_existing, to_lines
from ragft.errors import UsageError

Form = Literal[
    "auto", "sharegpt", "alpaca", "openai", "openai-preference", "preference", "prompt-completion", "vertex", "ragft",
    "hf", "csv",
]  # fmt: skip
_TOLD = 10
"""Rows that are told one by one; a file holds all."""


@dataclass
class Told:
    """What became of the rows.

    Attributes:
        weightless: rows whose answer has weight 0: they are there, and do not count.
        unheld: rows that no row of ragft can be.
        kept: fields that ragft does not read, by how many rows keep them under `imported`.
        restored: rows that got back what an export had no place for; `added`: those that it left out.
        unclaimed: rows of the export that did not come back.
    """

    format: str
    rows: int = 0
    held: int = 0
    weightless: int = 0
    unheld: int = 0
    same_ids: int = 0
    restored: int = 0
    added: int = 0
    unclaimed: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)
    unheld_file: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "kept": dict(self.kept)}

    def sentences(self) -> list[str]:
        """For people, one thing each."""
        told = [f"{self.held:,} of {counted(self.rows, 'row')} ({LAYOUTS[self.format].title}) became examples"]
        if self.weightless:
            told.append(f"{counted(self.weightless, 'row')} of them with weight 0, which no training reads")
        if self.kept:
            fields = ", ".join(f"{name} ({count:,})" for name, count in self.kept.most_common(12))
            told.append(f"Kept under `{IMPORTED}`, which ragft does not read: {fields}")
        if self.same_ids:
            told.append(f"{counted(self.same_ids, 'row')} had an id that an earlier one has: it is under `{IMPORTED}`")
        if self.restored or self.added:
            told.append(f"Restored what the export had no place for: {self.restored:,} rows; added {self.added:,}")
        if self.unclaimed:
            told.append(f"{counted(self.unclaimed, 'row')} of the export did not come back, or came back edited")
        if self.unheld:
            told += [f"Not held: {one}" for one in self.first]
            more = f"{counted(self.unheld, 'row')} could not be held"
            told.append(f"{more}; all are in {self.unheld_file}, each with its reason")
        return told


def import_rows(
    path: Path, out: Path, *, form: Form = "auto", split: str | None = None, names: Mapping[str, str] | None = None,
    lost: Path | None = None, advance: Callable[[int], None] = lambda _: None,
) -> Told:  # fmt: skip
    """Writes the rows of another tool's file as examples of ragft.

    Args:
        path: a file, or a folder of Hugging Face's datasets.
        out: the file of examples; rows that cannot be held go into `NAME.unheld.jsonl` beside it.
        form: the layout, or `csv` or `hf` for how the file is read; `auto`: both are told by their shape.
        names: columns by the field of ragft that they hold.
        lost: what the export of these rows had no place for.
        advance: is told how many rows were read, now and then.

    Raises:
        UsageError: the file cannot be read, its layout is not clear, no row of it can be held, or the file of
            those that cannot exists already; then nothing is written.
    """
    read = rows_in(path, form, split, names or {})
    first = list(islice(read, SAMPLE))
    if not first:
        raise UsageError(f"{path} holds no rows: name a file with a row for each example.")
    layout = LAYOUTS.get(form)
    if layout is None:
        readable = [values for _, values in first if isinstance(values, dict)]
        if not readable:
            where, reason = first[0]
            raise UsageError(f"No row of {path} can be read; {where}: {reason}.")
        layout = layout_of(readable, str(path))
    kept_back = Lost(lost) if lost else None
    beside = out.with_name(f"{out.stem}.unheld.jsonl")
    refuse_existing(beside)
    with ExitStack() as stack:
        file = stack.enter_context(replacing(out))
        importer = _Importer(layout, kept_back, beside, stack)
        importer.write(chain(first, read), file, advance)
        if not importer.told.held:
            raise UsageError(
                f"None of the {importer.told.rows} rows of {path} became an example. "
                f"{importer.told.first[0] if importer.told.first else 'There is none'}."
            )
    return importer.told


class _Importer:
    """Writes one row after the other; memory holds eight bytes of each id."""

    def __init__(self, layout: Layout, lost: Lost | None, beside: Path, stack: ExitStack) -> None:
        """`stack` closes the file `beside`, which is made when it is needed."""
        self.told = Told(layout.name)
        self._layout, self._lost, self._beside, self._stack = layout, lost, beside, stack
        self._unheld: BinaryIO | None = None
        self._ids: set[bytes] = set()

    def write(self, rows: Iterator[Read], file: BinaryIO, advance: Callable[[int], None]) -> None:
        for where, values in rows:
            self.told.rows += 1
            try:
                file.write(self._line(where, values))
            except Unheld as error:
                self._note(where, str(error), values)
            if self.told.rows % 1024 == 0:
                advance(self.told.rows)
        if self._lost is not None:
            for row in self._lost.left_out():
                file.write(self._written(row))
                self.told.added += 1
            self.told.unclaimed = self._lost.unclaimed

    def _line(self, where: str, values: dict[str, Any] | str) -> bytes:
        if isinstance(values, str):
            raise Unheld(values)
        row = self._layout.row(values, where)
        if self._lost is not None and (fields := self._lost.fields(values)) is not None:
            row = restored(row, fields)
            self.told.restored += 1
        return self._written(row, where)

    def _written(self, row: dict[str, Any], where: str = "line 1") -> bytes:
        row = self._with_own_id(row)
        try:
            example = example_of(row, where)
            line = to_lines([row])
        except UnicodeEncodeError:
            raise Unheld("it holds half a character, which cannot be written") from None
        except UsageError as error:
            raise Unheld(str(error)) from None
        except ValueError:
            raise Unheld("it holds a number that is not finite") from None
        self.told.held += 1
        self.told.weightless += example is None
        self.told.kept.update(row.get(IMPORTED, {}).keys())
        return line

    def _with_own_id(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row, whose id is its own: one that an earlier row has is kept beside what else came with it."""
        identity = row.get("id")
        if identity is None:
            return row
        mark = blake3(str(identity).encode("utf-8", "surrogatepass")).digest(8)
        if mark not in self._ids:
            self._ids.add(mark)
            return row
        self.told.same_ids += 1
        others = {name: value for name, value in row.items() if name != "id"}
        return {**others, IMPORTED: {**row.get(IMPORTED, {}), "id": identity}}

    def _note(self, where: str, reason: str, values: Any) -> None:
        self.told.unheld += 1
        if len(self.told.first) < _TOLD:
            self.told.first.append(f"{where}: {reason}")
        if self._unheld is None:
            self._unheld = self._stack.enter_context(replacing(self._beside))
            self.told.unheld_file = str(self._beside)
        told = {"where": where, "reason": reason, "row": values if isinstance(values, dict) else None}
        self._unheld.write(json.dumps(told, ensure_ascii=True).encode() + b"\n")
