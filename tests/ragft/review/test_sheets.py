"""Sheets come back from any spreadsheet: what is right is taken, and what is not is told with its row."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from support.reviews import reviewing, say, write_rows

from ragft.errors import UsageError
from ragft.review.review import Review, checked_name
from ragft.review.sheets import Returned, read_sheet, sheet_of

HARD = "=1+1 „Größe“ 漢\n'x; y, z\u2028 'tis"
Change = Callable[[list[dict[str, str]]], object]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [
        {"id": "e1", "question": "Größe €?", "answer": HARD},
        {"id": "e2", "question": "Zwei?", "answer": "-2"},
        {"id": "e3", "question": "Drei?", "answer": "drei"},
    ]
    return write_rows(tmp_path / "examples.jsonl", rows)


def returned(
    review: Review, folder: Path, change: Change, encoding: str = "utf-8-sig", divider: str = ",",
    reviewer: str | None = None, lost: str = "", of: str = "Anna",
) -> Returned:  # fmt: skip
    """Writes the sheet of a reviewer, lets a spreadsheet save it, and reads it."""
    rows = list(csv.DictReader(io.StringIO(sheet_of(review, of).decode("utf-8-sig"), newline="")))
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    change(rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [name for name in rows[0] if name != lost], delimiter=divider, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    sheet = folder / "sheet.csv"
    sheet.write_bytes(text.getvalue().encode(encoding, "replace"))
    return read_sheet(sheet, review, reviewer)


def decide(rows: list[dict[str, str]]) -> None:
    rows[0]["decision"] = "Accept"
    rows[1] |= {"decision": " edit", "answer": "=2"}
    rows[2] |= {"decision": "reject", "reason": "-"}


@pytest.mark.parametrize(
    ("encoding", "divider"), [("utf-8-sig", ","), ("utf-8", ";"), ("utf-16", "\t"), ("cp1252", ";")]
)
def test_what_any_spreadsheet_saves_is_taken(file: Path, encoding: str, divider: str) -> None:
    with reviewing(file) as (review, _):
        found = returned(review, file.parent, decide, encoding, divider)
        assert found.faults == [] and found.open == 0
        assert [(one.verdict, one.reviewer, one.reason) for one in found.decisions] == [
            ("accept", "Anna", ""), ("edit", "Anna", ""), ("reject", "Anna", "-")
        ]  # fmt: skip
        assert found.decisions[1].edited == {"answer": "=2"}
        review.store.add(found.decisions)
        # Written again, the sheet has the decisions, and brings nothing new.
        again = returned(review, file.parent, lambda rows: None, encoding, divider)
        assert (again.decisions, again.same, again.faults) == ([], 3, [])


def test_what_is_wrong_is_told_with_its_row_and_the_rest_is_taken(file: Path) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        rows[0] |= {"decision": "accept", "row": "e1"}
        rows[1] |= {"decision": "perhaps"}
        rows[2] |= {"decision": "accept"}
        rows.append({**rows[2], "decision": "reject"})

    with reviewing(file) as (review, _):
        found = returned(review, file.parent, change)
    assert [one.name for one in found.decisions] == ["e3"]
    assert [fault.partition("sheet.csv, ")[2] for fault in found.faults] == [
        "row 2: examples.jsonl has no row 'e1' (any more): it was edited since, or its id was changed.",
        "row 3: the decision is 'perhaps'; write accept, edit, reject, or nothing.",
        "row 5: the row stands in row 4, too; delete one of the two.",
    ]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"answer": "drei!"}, "'answer' was changed, and no decision is given"),
        ({"decision": "accept", "answer": "drei!"}, "'answer' was changed; say edit"),
        ({"decision": "edit"}, "nothing in it was changed"),
        ({"decision": "reject"}, "rejected without a reason"),
        ({"decision": "edit", "answer": ""}, "is empty"),
    ],
)
def test_a_row_that_contradicts_itself_is_not_guessed_at(file: Path, changed: dict[str, str], told: str) -> None:
    with reviewing(file) as (review, _):
        found = returned(review, file.parent, lambda rows: rows[2].update(changed))
    assert found.decisions == [] and found.open == 2
    assert len(found.faults) == 1 and told in found.faults[0] and "row 4" in found.faults[0]


def test_an_edit_that_lost_characters_is_not_taken(file: Path) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        rows[0] |= {"decision": "edit", "answer": rows[0]["answer"] + " und mehr"}

    with reviewing(file) as (review, _):
        found = returned(review, file.parent, change, "cp1252")
        assert "was saved in cp1252, which has no '漢'" in found.faults[0] and not found.decisions
        assert len(returned(review, file.parent, change).decisions) == 1


def test_a_sheet_without_a_column_or_of_another_person_is_refused_whole(file: Path) -> None:
    with reviewing(file) as (review, _):
        say(review, "Anna", 0, "accept")
        for more, told in (
            ({"lost": "row"}, "lost the column 'row'"),
            ({"lost": "answer"}, "lost the column 'answer'"),
            ({"reviewer": "Ben"}, "a sheet of 'Anna', not of 'Ben'"),
        ):
            with pytest.raises(UsageError, match=told):
                returned(review, file.parent, lambda rows: None, **more)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="two reviewers, 'Anna' and 'Cleo'"):
            returned(review, file.parent, lambda rows: rows[1].update(reviewer="Cleo"))
        with pytest.raises(UsageError, match="does not say whose"):
            returned(review, file.parent, lambda rows: [row.update(reviewer="") for row in rows])
        (file.parent / "sheet.csv").write_bytes(b"row;\x81\n")
        with pytest.raises(UsageError, match="not UTF-8 text"):
            read_sheet(file.parent / "sheet.csv", review)
        assert len(list(review.store.decisions())) == 1


@pytest.mark.parametrize("name", ["@ben", "=cmd()", "'-x", "Zoe\u0308 漢"])
def test_a_reviewer_keeps_their_name_whatever_it_looks_like(file: Path, name: str) -> None:
    with reviewing(file) as (review, _):
        for reviewer in (None, checked_name(name)):
            found = returned(review, file.parent, decide, reviewer=reviewer, of=checked_name(name))
            assert {one.reviewer for one in found.decisions} == {checked_name(name)}
    assert checked_name("Zoe\u0308") == "Zo\u00eb"


def test_a_name_that_lost_letters_is_not_another_reviewer(file: Path) -> None:
    with reviewing(file) as (review, _):
        with pytest.raises(UsageError, match=r"'\?ukasz' was saved in cp1252.*--reviewer"):
            returned(review, file.parent, decide, "cp1252", of="Łukasz")
        found = returned(review, file.parent, decide, "cp1252", reviewer="Łukasz", of="Łukasz")
        assert {one.reviewer for one in found.decisions} == {"Łukasz"}
