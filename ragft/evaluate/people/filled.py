"""Filled sheets as they come back: checked row by row against the key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragft.errors import UsageError
from ragft.evaluate.people.sheets import CHOICES, COLUMNS, Item, Key
from ragft.tables import table_rows


@dataclass(frozen=True)
class Filled:
    """One person's choices, by item; items without one are missing.

    Attributes:
        person: as the sheet says, or the name of its file.
    """

    person: str
    choices: dict[str, str]


def read_sheets(paths: Sequence[Path], key: Key, *, partial: bool) -> list[Filled]:
    """The sheets in files, each checked against the key.

    Args:
        partial: take a sheet on which choices are missing.

    Raises:
        UsageError: a sheet is half filled, edited, or another one, or two are of one person; the message names the row.
    """
    found: list[Filled] = []
    for path in paths:
        sheet = _read(path, key, partial)
        if sheet.person in [other.person for other in found]:
            raise UsageError(
                f"{path} is of {sheet.person!r}, as another sheet is: name the person in the column `person`."
            )
        found.append(sheet)
    return found


def sheet_named(path: Path) -> str:
    """The sheet that the first row of a file is of.

    Raises:
        UsageError: the file is no sheet.
    """
    for where, row in table_rows(path, "choices", "the sheet"):
        return _of_columns(row, where)["sheet"].strip()
    raise UsageError(f"{path} is no sheet: it holds no rows.")


def _read(path: Path, key: Key, partial: bool) -> Filled:
    known = {item.item: item for item in key.items}
    choices, rows, names, missing = dict[str, str](), dict[str, str](), dict[str, str](), list[str]()
    for where, cells in table_rows(path, "choices", "the sheet"):
        row = _of_columns(cells, where)
        place = where.rpartition(", ")[2]
        if row["sheet"].strip() != key.sheet:
            raise UsageError(
                f"{where}: this is sheet {row['sheet'].strip()!r}, and the key is of sheet {key.sheet}: name the key "
                "that was made with it."
            )
        name = row["item"].strip()
        # Spreadsheets take 007 for a number.
        name = name.zfill(3) if name.isdecimal() else name
        if name not in known:
            raise UsageError(f"{where}: the sheet has no item {name!r}; restore the column `item`.")
        if name in rows:
            raise UsageError(f"{where}: item {name} stands in {rows[name]} already; delete one of them.")
        rows[name] = place
        item = Item(name, row["question"], row["reference"], row["answer_1"], row["answer_2"])
        if item.hash != known[name].hash:
            raise UsageError(
                f"{where}: the texts of item {name} are not those of the sheet; restore them, and change nothing but "
                "`choice` and `person`."
            )
        if person := row["person"].strip():
            names.setdefault(person, where)
        choice = row["choice"].strip().lower()
        if not choice:
            missing.append(place)
        elif choice not in CHOICES:
            raise UsageError(f"{where}: the choice is {row['choice']!r}; write 1, 2 or tie.")
        else:
            choices[name] = choice
    if len(names) > 1:
        raise UsageError(
            f"{list(names.values())[1]}: another person than in the rows before; write one name in all of them."
        )
    gone = [name for name in known if name not in rows]
    if (missing or gone) and not partial:
        where = f"the first in {missing[0]}" if missing else f"item {gone[0]}, whose row is missing, for one"
        raise UsageError(
            f"{path}: {len(missing) + len(gone)} of {len(known)} items have no choice, {where}: complete the sheet, or "
            "import it as it is with --partial."
        )
    return Filled(next(iter(names), path.stem), choices)


def _of_columns(row: dict[str, str], where: str) -> dict[str, str]:
    if gone := [column for column in COLUMNS if column not in row]:
        raise UsageError(f"{where}: the column {gone[0]!r} is missing; this is no sheet, or its header was changed.")
    return row
