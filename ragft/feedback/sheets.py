"""Feedback as a table for people who review it in a spreadsheet, and what they made of it.

A cell that a spreadsheet would take for a formula gets an apostrophe before it, which reading takes away again.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from ragft.errors import UsageError
from ragft.feedback.store import Feedback, FeedbackStore

KEEP = "keep"
COLUMNS = (
    KEEP, "id", "thumb", "reason", "setup", "question", "answer", "corrected_answer", "source", "comment"
)  # fmt: skip
_EDITED = ("question", "corrected_answer", "source")
_YES, _NO = ("yes", "y", "x", "1", "true"), ("", "no", "n", "0", "false")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


class SheetWriter:
    """Writes feedback into a sheet, one row after the other."""

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        self._writer.writerow(COLUMNS)

    def add(self, one: Feedback) -> None:
        """Adds a row."""
        self._writer.writerow(_cell(getattr(one, name, None)) for name in COLUMNS)


def reviewed(path: Path, store: FeedbackStore) -> Iterator[Feedback]:
    """The feedback that a sheet says yes to in the column `keep`, with question, correction and source as edited there.

    Raises:
        UsageError: it cannot be read, lacks a column or names feedback that there is not, or `keep` holds another
            word.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in (KEEP, "id", *_EDITED) if name not in (rows.fieldnames or ())]
            if missing:
                raise UsageError(f"{path} has no column {missing[0]!r}: review what `ragft feedback export` wrote.")
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                if _is_kept((row[KEEP] or "").strip().casefold(), where):
                    question, corrected, source = (_text(row[name]) for name in _EDITED)
                    found = _found(row["id"], store, where)
                    yield replace(found, question=question, corrected_answer=corrected, source=source)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a sheet ({error}): save it as CSV in UTF-8.") from None


def _found(identity: str | None, store: FeedbackStore, where: str) -> Feedback:
    one = store.get(_text(identity) or "")
    if one is None:
        raise UsageError(f"{where}: there is no feedback {identity!r}: it may have been deleted; leave the line out.")
    return one


def _is_kept(word: str, where: str) -> bool:
    if word not in (*_YES, *_NO):
        raise UsageError(f"{where}: {KEEP!r} holds {word!r}: write yes, or leave it empty.")
    return word in _YES


def _cell(value: str | None) -> str:
    text = value or ""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _text(cell: str | None) -> str | None:
    text = (cell or "").strip()
    return (text[1:] if text[:1] == "'" and text[1:2] in _FORMULA else text) or None
