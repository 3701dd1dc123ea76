"""SQLite files whose every write is on disk when it returns, for several threads and processes at once.

A process that is killed leaves each write whole or not there at all. What a file holds is said by those who use it, as
migrations: each makes of a file of the version before it one of its own.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ragft.errors import RagftError, UsageError

_WRITE_TIMEOUT = 20.0
"""Seconds to wait for another process's write."""


class DatabaseFault(RagftError):
    """The file cannot be used at the moment; nothing in it was changed."""


class DatabaseFull(DatabaseFault):
    """There is no room on the disk; nothing in the file was changed."""


class Database:
    """An open file; `close` it. May be used from several threads."""

    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        """Opens the file, made if it is missing, for its owner alone, and brings it to the newest version.

        Args:
            migrations: SQL statements; the version of a file is how many of them have been applied, and those that were
                published are never changed.

        Raises:
            UsageError: a newer ragft wrote it.
            DatabaseFault: it cannot be opened.
        """
        self.path = path
        self._migrations = migrations
        self._turn = threading.RLock()
        self._seen: tuple[int, int] | None = None
        with self._turn, self._told():
            self._file = self._open()

    def close(self) -> None:
        """Closes it; closing it twice does nothing."""
        with self._turn:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def first(self, query: str, values: Any = ()) -> tuple[Any, ...] | None:
        """The first row of a query; None where there is none."""
        with self._turn, self._told():
            row: tuple[Any, ...] | None = self._current().execute(query, values).fetchone()
        return row

    def rows(self, query: str, values: Any = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one after the other, so that there may be any amount."""
        with self._told():
            with self._turn:
                found = self._current().execute(query, values)
            yield from found

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, which is on disk at the end of the block.

        Raises:
            DatabaseFull, DatabaseFault: nothing was written.
        """
        with self._turn, self._told():
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

    def scrub(self) -> None:
        """Empties the log beside the file, in which deleted rows still stand.

        Raises:
            DatabaseFault: another process is reading, so that they still do.
        """
        with self._turn, self._told():
            (busy, *_) = self._file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise DatabaseFault(
                f"It was deleted, but {self.path}-wal still holds it, because another process is reading: try again."
            )

    def _current(self) -> sqlite3.Connection:
        """The connection; another one where the file was moved away or replaced, and nobody would find what is kept."""
        if _place(self.path) != self._seen:
            self._file.close()
            self._file = self._open()
        return self._file

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The files that SQLite makes beside it take its mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        file = sqlite3.connect(self.path, timeout=_WRITE_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            _migrate(file, self.path, self._migrations)
        except BaseException:
            file.close()
            raise
        self._seen = _place(self.path)
        return file

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Says faults of the file and of the disk in a sentence."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_FULL:
                raise DatabaseFull(f"There is no room on the disk for {self.path}: free some space.") from error
            if code is not None and code & 0xFF == sqlite3.SQLITE_BUSY:
                raise DatabaseFault(f"Another process is writing {self.path}: try again.") from error
            raise DatabaseFault(f"{self.path} cannot be read or written ({error}).") from error
        except OSError as error:
            raise DatabaseFault(f"{self.path} cannot be used: {error.strerror}.") from error


def put(file: sqlite3.Connection, table: str, row: Mapping[str, Any], same: Sequence[str]) -> str:
    """Writes a row in place of the one that has the same values in some columns, if there is one.

    Args:
        file: in a transaction.
        row: by column, with a new `id`.
        same: the columns, which are unique together.

    Returns:
        The id of the row: the new one, or that of the row whose place it took.
    """
    new = ", ".join(f"{name} = excluded.{name}" for name in row if name not in ("id", *same))
    statement = (
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(same)}) DO UPDATE SET {new} RETURNING id"
    )
    (identity,) = file.execute(statement, list(row.values())).fetchone()
    return str(identity)


def _migrate(file: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    """Brings a file to the newest version.

    Raises:
        UsageError: a newer ragft wrote it; it is not touched.
    """
    (version,) = file.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise UsageError(
            f"{path} has version {version}, and this ragft reads up to {len(migrations)}: use the ragft that wrote "
            "it, or move the file away to begin another one."
        )
    _log_ahead(file)
    file.execute("PRAGMA synchronous = FULL")
    file.execute("PRAGMA secure_delete = ON")
    if version == len(migrations):
        return
    file.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        (version,) = file.execute("PRAGMA user_version").fetchone()
        for number, migration in enumerate(migrations[version:], start=version + 1):
            for statement in _statements(migration):
                file.execute(statement)
            file.execute(f"PRAGMA user_version = {number}")
        file.execute("COMMIT")
    except BaseException:
        if file.in_transaction:
            file.execute("ROLLBACK")
        raise


def _log_ahead(file: sqlite3.Connection) -> None:
    """Turns the write-ahead log on. SQLite itself does not wait where two open a new file at once."""
    end = time.monotonic() + _WRITE_TIMEOUT
    while True:
        try:
            file.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; one that makes a trigger holds semicolons itself."""
    begun = ""
    for part in filter(str.strip, script.split(";")):
        begun += part + ";"
        if sqlite3.complete_statement(begun):
            yield begun
            begun = ""


def _place(path: Path) -> tuple[int, int] | None:
    """Which file stands there; None: there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
