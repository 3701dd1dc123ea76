"""What users say about answers: `feedback.sqlite` in the workspace of a domain.

Knows nothing of HTTP. A feedback is on disk when `add` returns, and a process that is killed leaves each one whole or
not there at all. The endpoint and commands may use one file at the same time.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from ragft.errors import RagftError, UsageError
from ragft.messages import Message

FILE = "feedback.sqlite"

Thumb = Literal["good", "bad"]
Reason = Literal["wrong", "incomplete", "outdated", "unsupported", "off-topic", "refused", "style", "other"]
"""Why an answer is bad. `unsupported`: its sources do not say so; `refused`: the documents do hold the answer."""
THUMBS: tuple[Thumb, ...] = get_args(Thumb)

_WRITE_TIMEOUT = 20.0
"""Seconds to wait for another process's write."""
_SECONDS_PER_DAY = 86_400.0

# Each makes of a database of the version before it one of its own. The version is how many have been applied; those
# that were published are never changed.
_MIGRATIONS = (
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
)


class FeedbackFault(RagftError):
    """The database cannot be used at the moment; nothing in it was changed."""


class FeedbackFull(FeedbackFault):
    """There is no room on the disk; nothing in the database was changed."""


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


class FeedbackStore:
    """The feedback of one domain; `close` it. May be used from several threads."""

    def __init__(self, workspace: Path, days: int | None = None) -> None:
        """Opens the database of a workspace, made if it is missing, and deletes what is too old.

        Args:
            days: feedback is deleted so many days after it was given; None: never.

        Raises:
            UsageError: a newer ragft wrote it.
            FeedbackFault: it cannot be opened.
        """
        self.path = workspace / FILE
        self._days = days
        self._turn = threading.RLock()
        self._seen: tuple[int, int] | None = None
        with self._turn, _told(self.path):
            self._file = self._open()
        self.prune()

    def close(self) -> None:
        """Closes it; closing it twice does nothing."""
        with self._turn:
            self._file.close()

    def __enter__(self) -> FeedbackStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, answered: Answered, caller: str, said: Said) -> tuple[Feedback, bool]:
        """Keeps what a caller says, in place of what they said about the same answer before.

        What was said before is gone: the last word counts, and nobody's data is kept without need.

        Returns:
            The feedback, which is on disk, and whether it took the place of an earlier one.

        Raises:
            FeedbackFull, FeedbackFault: nothing was kept.
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
        with self._writing() as file:
            (identity,) = file.execute(statement, values).fetchone()
        return Feedback(**{**row, "id": identity}), identity != made

    def of(self, answer_id: str, caller: str) -> Feedback | None:
        """What a caller has said about an answer; None where they have not."""
        return self._one("answer_id = ? AND caller = ?", answer_id, caller)

    def get(self, identity: str) -> Feedback | None:
        """The feedback of this id; None where there is none."""
        return self._one("id = ?", identity)

    def _one(self, where: str, *values: str) -> Feedback | None:
        with self._turn, _told(self.path):
            query = f"SELECT {', '.join(_COLUMNS)} FROM feedback WHERE {where}"  # noqa: S608  no value stands in it
            row = self._current().execute(query, values).fetchone()
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
        with _told(self.path):
            for row in self._file.execute(query, given):
                yield _feedback(row)

    def delete(self, caller: str) -> int:
        """Deletes what a caller has said, so that it cannot be read from the file either; returns how many there were.

        Raises:
            FeedbackFault: nothing was deleted, or what was is still in the file beside the database, because another
                process is reading: delete once more.
        """
        with self._writing() as file:
            count = file.execute("DELETE FROM feedback WHERE caller = ?", (caller,)).rowcount
        self._scrub()
        return count

    def prune(self) -> int:
        """Deletes what is older than its days; returns how many there were.

        Raises:
            FeedbackFault: nothing was deleted.
        """
        if self._days is None:
            return 0
        oldest = time.time() - self._days * _SECONDS_PER_DAY
        with self._writing() as file:
            count = file.execute("DELETE FROM feedback WHERE time < ?", (oldest,)).rowcount
        if count:
            self._scrub()
        return count

    def _scrub(self) -> None:
        """Empties the log beside the database, in which deleted rows still stand."""
        with self._turn, _told(self.path):
            (busy, *_) = self._file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise FeedbackFault(
                f"It was deleted, but {self.path}-wal still holds it, because another process is reading: try again."
            )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, which is on disk at the end of the block."""
        with self._turn, _told(self.path):
            file = self._current()
            file.execute("BEGIN IMMEDIATE")
            try:
                yield file
                file.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                if file.in_transaction:
                    file.execute("ROLLBACK")
                raise

    def _current(self) -> sqlite3.Connection:
        """The connection; another one where the file was moved away or replaced, and nobody would find what is kept."""
        if _place(self.path) != self._seen:
            self._file.close()
            self._file = self._open()
        return self._file

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # For its owner alone; the files that SQLite makes beside it take its mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        file = sqlite3.connect(self.path, timeout=_WRITE_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            _migrate(file, self.path)
        except BaseException:
            file.close()
            raise
        self._seen = _place(self.path)
        return file


def check_store(workspace: Path) -> None:
    """Refuses a workspace whose feedback this ragft cannot read; makes nothing.

    Raises:
        UsageError: a newer ragft wrote it.
        FeedbackFault: it cannot be opened.
    """
    if (workspace / FILE).exists():
        FeedbackStore(workspace).close()


def _migrate(file: sqlite3.Connection, path: Path) -> None:
    """Brings a database to the newest version.

    Raises:
        UsageError: a newer ragft wrote it; it is not touched.
    """
    (version,) = file.execute("PRAGMA user_version").fetchone()
    if version > len(_MIGRATIONS):
        raise UsageError(
            f"{path} has version {version}, and this ragft reads up to {len(_MIGRATIONS)}: use the ragft that wrote "
            "it, or move the file away to begin another one."
        )
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = FULL")
    file.execute("PRAGMA secure_delete = ON")
    if version == len(_MIGRATIONS):
        return
    file.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        (version,) = file.execute("PRAGMA user_version").fetchone()
        for number, migration in enumerate(_MIGRATIONS[version:], start=version + 1):
            for statement in filter(str.strip, migration.split(";")):
                file.execute(statement)
            file.execute(f"PRAGMA user_version = {number}")
        file.execute("COMMIT")
    except BaseException:
        if file.in_transaction:
            file.execute("ROLLBACK")
        raise


def _place(path: Path) -> tuple[int, int] | None:
    """Which file stands there; None: there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Says faults of the database and of the disk in a sentence."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_FULL:
            raise FeedbackFull(f"There is no room on the disk for {path}: free some space.") from error
        if code is not None and code & 0xFF == sqlite3.SQLITE_BUSY:
            raise FeedbackFault(f"Another process is writing {path}: try again.") from error
        raise FeedbackFault(f"The feedback in {path} cannot be read or written ({error}).") from error
    except OSError as error:
        raise FeedbackFault(f"{path} cannot be used: {error.strerror}.") from error


def _feedback(row: tuple[Any, ...]) -> Feedback:
    values = dict(zip(_COLUMNS, row, strict=True))
    return msgspec.convert({**values, **{name: msgspec.json.decode(values[name]) for name in _LISTS}}, Feedback)
