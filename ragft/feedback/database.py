"""`feedback.sqlite`, the database in the workspace of a domain: what users asked, what they say about answers, and
which they prefer.

Knows nothing of HTTP, and of its tables only what they share: rows have a time and a caller. The endpoint and commands
may use one file at the same time. What reviewers decide about a feedback stands beside it, and goes when it goes.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Literal, get_args

from ragft.database import Database, DatabaseFault
from ragft.feedback import votes
from ragft.review.decisions import TABLE

FILE = "feedback.sqlite"
Table = Literal["feedback", "asked", "vote"]
TABLES: tuple[Table, ...] = get_args(Table)

_SECONDS_PER_DAY = 86_400.0

MIGRATIONS = (
    """
    CREATE TABLE feedback (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        time REAL NOT NULL,
        caller TEXT NOT NULL,
        answer_id TEXT NOT NULL,
        thumb TEXT NOT NULL,
        reason TEXT,
        corrected_answer TEXT,
        source TEXT,
        comment TEXT,
        setup TEXT NOT NULL,
        arm TEXT,
        experiment TEXT,
        model_version TEXT NOT NULL,
        index_version TEXT,
        question TEXT,
        answer TEXT,
        history TEXT NOT NULL,
        passages TEXT NOT NULL,
        UNIQUE (answer_id, caller)
    );
    CREATE INDEX feedback_by_caller ON feedback (caller);
    CREATE INDEX feedback_by_time ON feedback (time);
    """,
    TABLE,
    """
    CREATE TRIGGER decisions_of_feedback AFTER DELETE ON feedback BEGIN
        DELETE FROM decision WHERE name = OLD.id;
    END;
    """,
    """
    CREATE TABLE asked (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        time REAL NOT NULL,
        caller TEXT NOT NULL,
        unit TEXT NOT NULL,
        setup TEXT NOT NULL,
        model_version TEXT NOT NULL,
        index_version TEXT,
        encoder TEXT,
        question TEXT NOT NULL,
        query TEXT,
        scores TEXT NOT NULL,
        refused INTEGER NOT NULL,
        grounded TEXT
    );
    CREATE INDEX asked_by_caller ON asked (caller);
    CREATE INDEX asked_by_time ON asked (time);
    """,
    votes.MIGRATION,
)
"""As for `Database`."""


class FeedbackDatabase(Database):
    """The database of one domain; `close` it. May be used from several threads."""

    def __init__(self, workspace: Path, days: int | None = None) -> None:
        """Opens the database of a workspace, made if it is missing, and deletes what is too old.

        Args:
            days: what is kept is deleted so many days after it was given or asked; None: never.

        Raises:
            UsageError: a newer ragft wrote it.
            DatabaseFault: it cannot be opened.
        """
        super().__init__(workspace / FILE, MIGRATIONS)
        self._days = days
        if self._delete_old():
            # Where another process is reading, a later `prune` does it; the file can be used all the same.
            with contextlib.suppress(DatabaseFault):
                self.scrub()

    def delete(self, caller: str) -> dict[Table, int]:
        """Deletes what a caller has said and asked, so that it cannot be read from the file either.

        Returns:
            How many rows of each table there were.

        Raises:
            DatabaseFault: nothing was deleted, or what was is still in the file beside the database, because another
                process is reading: delete once more.
        """
        with self.writing() as file:
            counts = {
                table: file.execute(f"DELETE FROM {table} WHERE caller = ?", (caller,)).rowcount  # noqa: S608
                for table in TABLES
            }
        self.scrub()
        return counts

    def prune(self) -> int:
        """Deletes what is older than its days, so that it cannot be read from the file either.

        Returns:
            How many rows there were.

        Raises:
            DatabaseFault: as `delete`.
        """
        if self._days is None:
            return 0
        count = self._delete_old()
        # Always: what was deleted before may still be in the file beside the database, see `scrub`.
        self.scrub()
        return count

    def _delete_old(self) -> int:
        if self._days is None:
            return 0
        oldest = time.time() - self._days * _SECONDS_PER_DAY
        with self.writing() as file:
            return sum(
                file.execute(f"DELETE FROM {table} WHERE time < ?", (oldest,)).rowcount  # noqa: S608
                for table in TABLES
            )


def check_store(workspace: Path) -> None:
    """Refuses a workspace whose feedback this ragft cannot read; makes nothing.

    Raises:
        UsageError: a newer ragft wrote it.
        DatabaseFault: it cannot be opened.
    """
    if (workspace / FILE).exists():
        FeedbackDatabase(workspace).close()
