"""What reviewers decide, in a file to which decisions are only added: the newest that was not taken back counts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from ragft.database import Database

Verdict = Literal["accept", "edit", "reject"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

TABLE = """
    CREATE TABLE decision (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        time REAL NOT NULL,
        reviewer TEXT NOT NULL,
        row TEXT NOT NULL,
        name TEXT NOT NULL,
        verdict TEXT NOT NULL,
        reason TEXT NOT NULL,
        edited TEXT NOT NULL,
        settles INTEGER NOT NULL,
        undoes INTEGER UNIQUE
    );
    CREATE INDEX decision_by_reviewer ON decision (reviewer);
    CREATE INDEX decision_by_name ON decision (name);
    CREATE TRIGGER decisions_are_not_changed BEFORE UPDATE ON decision BEGIN
        SELECT RAISE (ABORT, 'decisions are only added');
    END;
"""
"""The table of decisions, for the migrations of whatever file holds it. A row whose `undoes` is no NULL takes that
decision back."""

MIGRATIONS = (
    TABLE
    + """
    CREATE TRIGGER decisions_are_not_deleted BEFORE DELETE ON decision BEGIN
        SELECT RAISE (ABORT, 'decisions are only added');
    END;
    """,
)
"""Those of a file that holds nothing else."""

_COLUMNS = "number, time, reviewer, row, name, verdict, reason, edited, settles"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a reviewer says of a row.

    Attributes:
        row: key of the row, by its content.
        name: the row's own id; empty where it states none.
        reason: why it is rejected; may stand with other verdicts, too.
        edited: the fields that were changed, as they should be; of `edit` alone.
        settles: whether it decides between others, and not as one more opinion.
        number, time: as it is kept: its place among all decisions, and seconds since the epoch.
    """

    reviewer: str
    row: str
    name: str
    verdict: Verdict
    reason: str = ""
    edited: Mapping[str, str] = field(default_factory=dict)
    settles: bool = False
    number: int = 0
    time: float = 0.0


class ReviewStore(Database):
    """The decisions in a file, which several processes may write at once; `close` it."""

    def __init__(self, path: Path, migrations: tuple[str, ...] = MIGRATIONS) -> None:
        """Opens a file of decisions, made if it is missing; raises as `Database`.

        Args:
            migrations: those of a file that holds other things beside the table.
        """
        super().__init__(path, migrations)

    def add(self, decisions: Iterable[Decision]) -> list[Decision]:
        """Keeps decisions, all or none; they are on disk when this returns.

        Raises:
            DatabaseFull, DatabaseFault: none was kept.
        """
        kept = []
        with self.writing() as file:
            for one in decisions:
                moment = time.time()
                found = file.execute(
                    "INSERT INTO decision (time, reviewer, row, name, verdict, reason, edited, settles) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        moment, one.reviewer, one.row, one.name, one.verdict, one.reason,
                        json.dumps(dict(one.edited), ensure_ascii=False), int(one.settles),
                    ),
                )  # fmt: skip
                kept.append(replace(one, number=found.lastrowid or 0, time=moment))
        return kept

    def undo(self, reviewer: str) -> Decision | None:
        """Takes back the newest decision of a reviewer that still counts, and returns it; None where there is none.

        What they had decided of the row before counts again.
        """
        with self.writing() as file:
            row = file.execute(
                f"SELECT {_COLUMNS} FROM decision AS one WHERE reviewer = ? AND undoes IS NULL AND NOT EXISTS "  # noqa: S608
                "(SELECT 1 FROM decision WHERE undoes = one.number) ORDER BY number DESC LIMIT 1",
                (reviewer,),
            ).fetchone()
            if row is None:
                return None
            undone = _decision(row)
            file.execute(
                "INSERT INTO decision (time, reviewer, row, name, verdict, reason, edited, settles, undoes) "
                "VALUES (?, ?, ?, ?, 'undo', '', '{}', 0, ?)",
                (time.time(), reviewer, undone.row, undone.name, undone.number),
            )
        return undone

    def decisions(self) -> Iterator[Decision]:
        """The decisions that still count, in the order in which they were made."""
        query = (
            f"SELECT {_COLUMNS} FROM decision AS one WHERE undoes IS NULL AND NOT EXISTS "  # noqa: S608
            "(SELECT 1 FROM decision WHERE undoes = one.number) ORDER BY number"
        )
        return map(_decision, self.rows(query))

    def version(self) -> tuple[int, int]:
        """Changes whenever a decision is added, taken back or deleted."""
        last, count = self.first("SELECT ifnull(max(number), 0), count(*) FROM decision") or (0, 0)
        return last, count


def _decision(row: tuple[object, ...]) -> Decision:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    edited, settles = json.loads(str(values["edited"])), bool(values["settles"])
    return Decision(**{**values, "edited": edited, "settles": settles})
