"""The questions that were answered, with how: what `ragft drift` compares, kept where `serve.log_questions` is on.

No answer is kept here. Texts come with personal data replaced already.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from ragft.feedback.database import FeedbackDatabase

_AT_ONCE = 500  # rows that one statement names; SQLite takes 32,766 values at most


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question that was answered.

    Attributes:
        time: when the answer was whole, in seconds since the epoch.
        caller: the caller's id, never their key.
        unit: hex digits that stand for the user or the conversation: questions of one are not independent.
        index_version, encoder: snapshot that was searched, and the fingerprint of its encoder; None without retrieval.
        query: what was searched for instead of a follow-up; None of other questions.
        scores: the best of what was found, by the names in `ragft.evaluate.suites.abstention.SIGNALS`.
        refused: whether the answer refuses, in whatever words.
        grounded: see `serve.grounding`; None where there was nothing to look up.
    """

    time: float
    caller: str
    unit: str
    setup: str
    model_version: str
    index_version: str | None = None
    encoder: str | None = None
    question: str
    query: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    refused: bool = False
    grounded: str | None = None


_COLUMNS = tuple(field.name for field in fields(Asked))


class AskedStore(FeedbackDatabase):
    """The answered questions of one domain; `close` it. May be used from several threads."""

    def add(self, rows: Iterable[Asked]) -> None:
        """Keeps questions; all of them are on disk when this returns.

        Raises:
            DatabaseFull, DatabaseFault: none was kept.
        """
        values = [tuple(_value(one, name) for name in _COLUMNS) for one in rows]
        statement = f"INSERT INTO asked ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
        with self.writing() as file:
            file.executemany(statement, values)

    def sample(self, since: float, until: float, most: int, seed: int) -> tuple[list[Asked], int]:
        """At most so many of the questions of a time, drawn with a seed, in their order; and how many there were.

        Args:
            since, until: seconds since the epoch; the first is in it, the second is not.
        """
        found = self.rows("SELECT number FROM asked WHERE time >= ? AND time < ? ORDER BY number", (since, until))
        numbers = [number for (number,) in found]
        drawn = numbers if len(numbers) <= most else sorted(random.Random(seed).sample(numbers, most))
        rows: list[Asked] = []
        for first in range(0, len(drawn), _AT_ONCE):
            some = drawn[first : first + _AT_ONCE]
            query = (
                f"SELECT {', '.join(_COLUMNS)} FROM asked WHERE number IN ({', '.join('?' * len(some))}) "  # noqa: S608
                "ORDER BY number"
            )
            rows += map(_asked, self.rows(query, some))
        return rows, len(numbers)


def _value(one: Asked, name: str) -> Any:
    return msgspec.json.encode(one.scores).decode() if name == "scores" else getattr(one, name)


def _asked(row: tuple[Any, ...]) -> Asked:
    values = dict(zip(_COLUMNS, row, strict=True))
    scores = msgspec.json.decode(values["scores"], type=dict[str, float])
    return Asked(**{**values, "scores": scores, "refused": bool(values["refused"])})
