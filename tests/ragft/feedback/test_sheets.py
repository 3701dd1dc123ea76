"""Feedback is reviewed in a spreadsheet: what comes back is what was written, or what a person made of it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from ragft.errors import UsageError
from ragft.feedback.sheets import KEEP, SheetWriter, reviewed
from ragft.feedback.store import Answered, Feedback, FeedbackStore, Said

ANSWERED = Answered(answer_id="a", setup="hybrid", model_version="m", question="=1+1?", answer="Nine.")


def rewritten(path: Path, kept: list[Feedback], **changed: str) -> None:
    """Writes a sheet, and what a spreadsheet makes of it after a person has edited each row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = SheetWriter(file)
        for one in kept:
            writer.add(one)
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{**row, **changed} for row in csv.DictReader(file)]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        plain = csv.DictWriter(file, rows[0])
        plain.writeheader()
        plain.writerows(rows)


HARD = ["=cmd()", "+1", "-1", "@a", "'", "'=x", "''-", "'n' is", "a\nb", 'a "b", c;d', "ß 漢 \u2028 ."]


def test_every_text_comes_back(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path) as store:
        written = [
            store.add(replace(ANSWERED, answer_id=text), "me", Said(thumb="bad", corrected_answer=text))[0]
            for text in HARD
        ]
        rewritten(tmp_path / "sheet.csv", written, **{KEEP: "Yes"})
        assert list(reviewed(tmp_path / "sheet.csv", store)) == written


def test_only_rows_that_were_said_yes_to_are_taken_as_they_stand_there(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path) as store:
        kept, _ = store.add(ANSWERED, "me", Said(thumb="good"))
        sheet = tmp_path / "sheet.csv"
        rewritten(sheet, [kept])
        assert list(reviewed(sheet, store)) == []
        rewritten(sheet, [kept], **{KEEP: "x", "corrected_answer": "Ten.", "source": "a.md", "answer": "never read"})
        assert list(reviewed(sheet, store)) == [replace(kept, corrected_answer="Ten.", source="a.md")]
        rewritten(sheet, [kept], **{KEEP: "perhaps"})
        with pytest.raises(UsageError, match=r"line 2: 'keep' holds 'perhaps'"):
            list(reviewed(sheet, store))
        rewritten(sheet, [kept], **{KEEP: "yes"})
        store.delete("me")
        with pytest.raises(UsageError, match="may have been deleted"):
            list(reviewed(sheet, store))
        sheet.write_text("id,keep\n")
        with pytest.raises(UsageError, match="no column 'question'"):
            list(reviewed(sheet, store))
