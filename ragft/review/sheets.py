"""A review as a sheet for any spreadsheet, one per reviewer: what is written, and what is taken of what comes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ragft.errors import UsageError
from ragft.review.board import Standing
from ragft.review.decisions import VERDICTS, Decision
from ragft.review.items import Item
from ragft.review.review import Review, checked_name
from ragft.tables import table_bytes, table_rows, table_text, text_of_cell

ROW, REVIEWER, DECISION, REASON = "row", "reviewer", "decision", "reason"
_SINGLE_BYTES = "cp1252"
"""What spreadsheets on Windows write where they are not told UTF-8."""


def sheet_of(review: Review, reviewer: str) -> bytes:
    """The sheet of a reviewer: every item, with what they have decided so far."""
    fields = list(dict.fromkeys(name for item in review.items for name in item.fields))
    columns = [ROW, "place", REVIEWER, DECISION, REASON, *fields, "evidence", "remark"]

    def rows() -> Iterator[Mapping[str, str]]:
        for standing in review.standings():
            item, said = standing.item, standing.said.get(reviewer)
            support = review.passages.of(item)
            found = [f"{one.evidence.strip()} ({one.source})" for one in support.passages if one.evidence]
            yield {
                **dict.fromkeys(columns, ""), ROW: item.key, "place": item.name or item.label, REVIEWER: reviewer,
                DECISION: said.verdict if said else "", REASON: said.reason if said else "",
                **item.fields, **(said.edited if said else {}),
                "evidence": "\n".join(found), "remark": support.remark,
            }  # fmt: skip

    return table_bytes(columns, rows())


@dataclass
class Returned:
    """What a sheet that came back says.

    Attributes:
        decisions: new ones.
        same: rows whose decision is known already.
        open: rows without a decision.
        faults: what is wrong with the rows that are not taken, each in a sentence with its row.
    """

    decisions: list[Decision] = field(default_factory=list)
    same: int = 0
    open: int = 0
    faults: list[str] = field(default_factory=list)


def read_sheet(path: Path, review: Review, reviewer: str | None = None) -> Returned:
    """Reads a sheet that `sheet_of` wrote and a person has filled in: UTF-8, UTF-16 or the Windows code page 1252,
    with commas, semicolons or tabs.

    Args:
        reviewer: whose sheet it must be; None: whoever it names.

    Raises:
        UsageError: it cannot be read as a sheet, lacks a column, or is of another reviewer, or of none: nothing of it
            can be taken.
    """
    found = Returned()
    _, encoding = table_text(path, "decisions", "--import", _SINGLE_BYTES)
    by_key = {one.item.key: one for one in review.standings()}
    names, seen = {reviewer} if reviewer else set[str](), dict[str, str]()
    rows = table_rows(path, "decisions", "--import", otherwise=_SINGLE_BYTES, fault=found.faults.append)
    for where, cells in rows:
        _refuse_lost_columns(cells, review.items, path)
        if named := text_of_cell(cells[REVIEWER].strip()):
            names.add(_name(named, reviewer, encoding, where))
        if len(names) != 1:
            raise UsageError(f"{where}: " + _whose(sorted(names), reviewer))
        try:
            key = cells[ROW].strip()
            if key in seen:
                raise UsageError(f"the row stands in {seen[key]}, too; delete one of the two.")
            standing = by_key.get(key) or by_key[review.item(key).key]
            decision = _decision(cells, standing, review, next(iter(names)), encoding)
        except UsageError as error:
            found.faults.append(f"{where}: {error}")
            continue
        seen[key] = where.rpartition(", ")[2]
        if decision is None:
            found.open += 1
        elif _is_known(decision, standing):
            found.same += 1
        else:
            found.decisions.append(decision)
    return found


def _decision(
    cells: Mapping[str, str], standing: Standing, review: Review, reviewer: str, encoding: str
) -> Decision | None:
    """What a row says; None where it says nothing."""
    item = standing.item
    given = {name: _restored(text_of_cell(cells[name]), item.fields[name], encoding) for name in item.fields}
    word = cells[DECISION].strip().casefold()
    changed = item.changed(given)
    if not word:
        if changed:
            raise UsageError(f"{next(iter(changed))!r} was changed, and no decision is given; write edit.")
        return None
    verdict = next((one for one in VERDICTS if one == word), None)
    if verdict is None:
        raise UsageError(f"the decision is {cells[DECISION].strip()!r}; write {', '.join(VERDICTS)}, or nothing.")
    if changed and verdict == "edit":
        _refuse_lost_characters(item, changed, encoding)
    return review.decision(item, reviewer, verdict, reason=text_of_cell(cells[REASON]), fields=given)


def _name(named: str, reviewer: str | None, encoding: str, where: str) -> str:
    """Whose row it is; an encoding may have put `?` for letters of the name."""
    name = checked_name(named if reviewer is None else _restored(named, reviewer, encoding))
    if "?" in named and name != reviewer and not encoding.startswith("utf"):
        raise UsageError(
            f"{where}: the reviewer {named!r} was saved in {encoding}, which may lack letters of the name: save the "
            "sheet as CSV in UTF-8, or say whose it is with --reviewer."
        )
    return name


def _restored(text: str, original: str, encoding: str) -> str:
    """The text that a cell had before an encoding without some of its characters put `?` for them."""
    lost = original.encode(encoding, "replace").decode(encoding)
    return original if lost != original and text == lost else text


def _refuse_lost_characters(item: Item, changed: Mapping[str, str], encoding: str) -> None:
    for name, text in changed.items():
        gone = [letter for letter in item.fields[name] if not _holds(encoding, letter)]
        if gone and "?" in text:
            raise UsageError(
                f"{name!r} was saved in {encoding}, which has no {gone[0]!r}: save the sheet as CSV in UTF-8."
            )


def _holds(encoding: str, letter: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _is_known(decision: Decision, standing: Standing) -> bool:
    said = standing.said.get(decision.reviewer)
    return said is not None and (said.verdict, said.reason, dict(said.edited)) == (
        decision.verdict, decision.reason, dict(decision.edited)
    )  # fmt: skip


def _refuse_lost_columns(cells: Mapping[str, str], items: Sequence[Item], path: Path) -> None:
    wanted = [ROW, REVIEWER, DECISION, REASON, *dict.fromkeys(name for item in items for name in item.fields)]
    if missing := [name for name in wanted if name not in cells]:
        raise UsageError(f"{path} has lost the column {missing[0]!r}: fill in a sheet that --export wrote.")


def _whose(names: Sequence[str], reviewer: str | None) -> str:
    if not names:
        return "it does not say whose sheet this is: fill in the column 'reviewer', or give --reviewer."
    if reviewer is not None:
        other = next(name for name in names if name != reviewer)
        return f"this is a sheet of {other!r}, not of {reviewer!r}; leave --reviewer out to take it as theirs."
    return f"two reviewers, {names[0]!r} and {names[1]!r}, in one sheet; give each their own."
