"""Which of several answers to one question somebody prefers: a vote, and how votes are kept beside feedback.

Knows its table and nothing of who opens the database: `ragft.feedback.store` calls these functions, in a transaction of
its own where they write. The setups of a vote are what the server knows of the answers, never what a client says.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import msgspec

from ragft.database import put
from ragft.messages import Message

Choice = int | Literal["tie", "none"]
"""The place of the best answer, from 1; `tie`: all are equally good; `none`: no answer is good."""

MIGRATION = """
    CREATE TABLE vote (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        time REAL NOT NULL,
        caller TEXT NOT NULL,
        ballot TEXT NOT NULL,
        blind INTEGER NOT NULL,
        choice TEXT NOT NULL,
        shown TEXT NOT NULL,
        question TEXT,
        history TEXT NOT NULL,
        comment TEXT,
        UNIQUE (ballot, caller)
    );
    CREATE INDEX vote_by_caller ON vote (caller);
    CREATE INDEX vote_by_time ON vote (time);
"""
"""Makes of a database without votes one with them; published, so it is never changed."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An answer that was to choose from.

    Attributes:
        arm, experiment: of traffic that is split; None where it is not.
        index_version: None for a setup without retrieval.
        answer: its text; None where `serve.log_questions` is off.
    """

    answer_id: str
    setup: str
    model_version: str
    index_version: str | None = None
    arm: str | None = None
    experiment: str | None = None
    answer: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ballot:
    """What a caller chose, and from what.

    Attributes:
        shown: the answers from left to right, or from top to bottom, as they were shown.
        blind: whether the names of the setups were hidden until the choice was made.
        question: None where `serve.log_questions` is off.
        history: the turns before it; empty where it is off.
    """

    shown: tuple[Shown, ...]
    choice: Choice
    blind: bool
    question: str | None = None
    history: tuple[Message, ...] = ()
    comment: str | None = None


@dataclass(frozen=True, kw_only=True)
class Vote(Ballot):
    """A ballot as it is kept.

    Attributes:
        id: stays when its caller changes their mind.
        time: when it was given last, in seconds since the epoch.
        caller: the caller's id, never their key.
    """

    id: str
    time: float
    caller: str

    @property
    def best(self) -> Shown | None:
        """The answer that was chosen; None for `tie` and `none`."""
        return self.shown[self.choice - 1] if isinstance(self.choice, int) else None


_COLUMNS = tuple(field.name for field in fields(Vote))
_LISTS = ("shown", "history")  # kept as JSON


def add(file: sqlite3.Connection, ballot: Ballot, caller: str) -> tuple[Vote, bool]:
    """Keeps a ballot, in place of the caller's earlier one about the same answers.

    Returns:
        The vote, and whether it took the place of an earlier one.
    """
    made = secrets.token_hex(6)
    vote = Vote(**vars(ballot), id=made, time=time.time(), caller=caller)
    row = {name: _written(name, getattr(vote, name)) for name in _COLUMNS} | {"ballot": _same(ballot.shown)}
    identity = put(file, "vote", row, ("ballot", "caller"))
    return replace(vote, id=identity), identity != made


def each(rows: Callable[[str, Any], Iterator[tuple[Any, ...]]], *, caller: str | None = None) -> Iterator[Vote]:
    """The votes in the order in which they first came; only those of a caller, where one is named.

    Args:
        rows: gives the rows of a query with these values.
    """
    query = f"SELECT {', '.join(_COLUMNS)} FROM vote WHERE ? IN (caller, '') ORDER BY number"  # noqa: S608
    for row in rows(query, (caller or "",)):
        values = dict(zip(_COLUMNS, row, strict=True))
        read = {name: msgspec.json.decode(values[name]) for name in (*_LISTS, "choice")}
        yield msgspec.convert({**values, **read, "blind": bool(values["blind"])}, Vote)


def _written(name: str, value: Any) -> Any:
    if name == "shown":
        value = [asdict(one) for one in value]
    return msgspec.json.encode(value).decode() if name in (*_LISTS, "choice") else value


def _same(shown: Sequence[Shown]) -> str:
    """The same text for the same answers, in whatever order they were shown."""
    return hashlib.sha256("\0".join(sorted(one.answer_id for one in shown)).encode()).hexdigest()[:32]
