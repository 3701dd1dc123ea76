"""What users say about answers, in the database of a domain.

A feedback is on disk when `add` returns, a vote when `vote` does.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import msgspec

from ragft.database import put
from ragft.feedback import votes
from ragft.feedback.database import FeedbackDatabase
from ragft.messages import Message

Thumb = Literal["good", "bad"]
Reason = Literal["wrong", "incomplete", "outdated", "unsupported", "off-topic", "refused", "style", "other"]
"""Why an answer is bad. `unsupported`: its sources do not say so; `refused`: the documents do hold the answer."""
THUMBS: tuple[Thumb, ...] = get_args(Thumb)


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


class FeedbackStore(FeedbackDatabase):
    """The feedback of one domain; `close` it. May be used from several threads."""

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
        written = {name: msgspec.json.encode(row[name]).decode() if name in _LISTS else row[name] for name in _COLUMNS}
        with self.writing() as file:
            identity = put(file, "feedback", written, ("answer_id", "caller"))
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

    def vote(self, ballot: votes.Ballot, caller: str) -> tuple[votes.Vote, bool]:
        """Keeps which of several answers a caller prefers, in place of their earlier choice between the same ones.

        Returns:
            The vote, which is on disk, and whether it took the place of an earlier one.

        Raises:
            DatabaseFull, DatabaseFault: nothing was kept.
        """
        with self.writing() as file:
            return votes.add(file, ballot, caller)

    def votes(self, *, caller: str | None = None) -> Iterator[votes.Vote]:
        """The votes in the order in which they first came; only those of a caller, where one is named."""
        return votes.each(self.rows, caller=caller)


def _feedback(row: tuple[Any, ...]) -> Feedback:
    values = dict(zip(_COLUMNS, row, strict=True))
    return msgspec.convert({**values, **{name: msgspec.json.decode(values[name]) for name in _LISTS}}, Feedback)
