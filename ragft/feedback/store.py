"""What users say about answers: `feedback.sqlite` in the workspace of a domain.

Knows nothing of HTTP. A feedback is on disk when `add` returns, and a process that is killed leaves each one whole or
not there at all. The endpoint and commands may use one file at the same time. What reviewers decide about a feedback
stands beside it, and goes when it goes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from ragft.database import Database
from ragft.messages import Message
from ragft.review.decisions import TABLE

FILE = "feedback.sqlite"

Thumb = Literal["good", "bad"]
Reason = Literal["wrong", "incomplete", "outdated", "unsupported", "off-topic", "refused", "style", "other"]
"""Why an answer is bad. `unsupported`: its sources do not say so; `refused`: the documents do hold the answer."""
THUMBS: tuple[Thumb, ...] = get_args(Thumb)

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
)
"""As for `Database`."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An answer that feedback may be about.

    Attributes:
        answer_id: that of the completion, or of the response.
        arm, experiment: of traffic that is split; None where it is not.
        index_version: None for a setup without retrieval.
        question, answer: None where `serve.log_questions` is off.
        history: the user's and the assistant's turns before the question; empty where it is off.
        passages: where those of the prompt stand, in their order, as examples name sources; empty where it is off.
    """

    answer_id: str
    setup: str
    model_version: str
    index_version: str | None = None
    arm: str | None = None
    experiment: str | None = None
    question: str | None = None
    answer: str | None = None
    history: tuple[Message, ...] = ()
    passages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a user says about an answer.

    Attributes:
        corrected_answer: what the answer should have been.
        source: where that stands, as `document` or `document#section`.
    """

    thumb: Thumb
    reason: Reason | None = None
    corrected_answer: str | None = None
    source: str | None = None
    comment: str | None = None


@dataclass(frozen=True, kw_only=True)
class Feedback(Answered, Said):
    """A feedback as it is kept.

    Attributes:
        id: stays when its caller changes their mind.
        time: when it was given last, in seconds since the epoch.
        caller: the caller's id, never their key.
    """

    id: str
    time: float
    caller: str


_COLUMNS = tuple(field.name for field in fields(Feedback))
_LISTS = ("history", "passages")  # kept as JSON


class FeedbackStore(Database):
    """The feedback of one domain; `close` it. May be used from several threads."""

    def __init__(self, workspace: Path, days: int | None = None) -> None:
        """Opens the database of a workspace, made if it is missing, and deletes what is too old.

        Args:
            days: feedback is deleted so many days after it was given; None: never.

        Raises:
            UsageError: a newer ragft wrote it.
            DatabaseFault: it cannot be opened.
        """
        super().__init__(workspace / FILE, MIGRATIONS)
        self._days = days
        self.prune()

    def add(self, answered: Answered, caller: str, said: Said) -> tuple[Feedback, bool]:
        """Keeps what a caller says, in place of what they said about the same answer before.

        What was said before is gone: the last word counts, and nobody's data is kept without need.

        Returns:
            The feedback, which is on disk, and whether it took the place of an earlier one.

        Raises:
            DatabaseFull, DatabaseFault: nothing was kept.
        """
        made = secrets.token_hex(6)
        new = {
            one.name: getattr(of, one.name) for kind, of in ((Answered, answered), (Said, said)) for one in fields(kind)
        }
        row = {**new, "id": made, "time": time.time(), "caller": caller}
        values = [msgspec.json.encode(row[name]).decode() if name in _LISTS else row[name] for name in _COLUMNS]
        kept = [name for name in _COLUMNS if name not in ("id", "answer_id", "caller")]
        statement = (
            f"INSERT INTO feedback ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "  # noqa: S608
            f"ON CONFLICT (answer_id, caller) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in kept)} "
            "RETURNING id"
        )
        with self.writing() as file:
            (identity,) = file.execute(statement, values).fetchone()
        return Feedback(**{**row, "id": identity}), identity != made

    def of(self, answer_id: str, caller: str) -> Feedback | None:
        """What a caller has said about an answer; None where they have not."""
        return self._one("answer_id = ? AND caller = ?", answer_id, caller)

    def get(self, identity: str) -> Feedback | None:
        """The feedback of this id; None where there is none."""
        return self._one("id = ?", identity)

    def _one(self, where: str, *values: str) -> Feedback | None:
        # No value stands in the query.
        row = self.first(f"SELECT {', '.join(_COLUMNS)} FROM feedback WHERE {where}", values)  # noqa: S608
        return None if row is None else _feedback(row)

    def each(
        self, *, thumb: Thumb | None = None, caller: str | None = None, newest: bool = False
    ) -> Iterator[Feedback]:
        """The feedback in the order in which it first came, one after the other, so that there may be any amount.

        Args:
            thumb, caller: only this; None: all.
            newest: begin with the last one.
        """
        wanted = {"thumb": thumb, "caller": caller}
        given = {name: value for name, value in wanted.items() if value is not None}
        where = " AND ".join(["1", *(f"{name} = :{name}" for name in given)])
        order = "DESC" if newest else "ASC"
        query = f"SELECT {', '.join(_COLUMNS)} FROM feedback WHERE {where} ORDER BY number {order}"  # noqa: S608
        return map(_feedback, self.rows(query, given))

    def delete(self, caller: str) -> int:
        """Deletes what a caller has said, so that it cannot be read from the file either; returns how many there were.

        Raises:
            DatabaseFault: nothing was deleted, or what was is still in the file beside the database, because another
                process is reading: delete once more.
        """
        with self.writing() as file:
            count = file.execute("DELETE FROM feedback WHERE caller = ?", (caller,)).rowcount
        self.scrub()
        return count

    def prune(self) -> int:
        """Deletes what is older than its days; returns how many there were.

        Raises:
            DatabaseFault: nothing was deleted.
        """
        if self._days is None:
            return 0
        oldest = time.time() - self._days * _SECONDS_PER_DAY
        with self.writing() as file:
            count = file.execute("DELETE FROM feedback WHERE time < ?", (oldest,)).rowcount
        if count:
            self.scrub()
        return count


def check_store(workspace: Path) -> None:
    """Refuses a workspace whose feedback this ragft cannot read; makes nothing.

    Raises:
        UsageError: a newer ragft wrote it.
        DatabaseFault: it cannot be opened.
    """
    if (workspace / FILE).exists():
        FeedbackStore(workspace).close()


def _feedback(row: tuple[Any, ...]) -> Feedback:
    values = dict(zip(_COLUMNS, row, strict=True))
    return msgspec.convert({**values, **{name: msgspec.json.decode(values[name]) for name in _LISTS}}, Feedback)
