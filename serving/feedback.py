"""What users ask of one deployment and say about its answers, and the last answers that they may judge or choose from.

An answer is known by its id to the caller who got it, and to nobody else: what others are told of it is that there is
none. It is forgotten when `MOST` newer ones have come, or when the server ends; feedback that was given before may be
changed even then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

from ragft.database import DatabaseFull
from ragft.errors import RagftError
from ragft.feedback.database import FILE
from ragft.feedback.store import Answered, Feedback, FeedbackStore, Said
from ragft.feedback.votes import Ballot, Choice, Shown, Vote
from ragft.keys import Caller
from ragft.messages import Message
from ragft.stages.application import Application
from ragft.stages.feedback import Mask, masker, opened
from serving.asked import AskedLog
from serving.errors import ApiError

if TYPE_CHECKING:
    from serving.api.exchange import Exchange

T = TypeVar("T")
log = logging.getLogger("ragft.serving")

MOST = 10_000
"""Answers that are remembered; the oldest are forgotten first."""
MOST_CHARACTERS = 50_000_000
"""Of their questions, turns and texts together, where `serve.log_questions` keeps them."""
PRUNE_SECONDS = 3600.0
"""Between two looks whether feedback is older than `serve.feedback_days`."""


@dataclass(frozen=True)
class _Remembered:
    """An answer that somebody got.

    Attributes:
        asked: the same for answers to the same conversation; means nothing to another process.
    """

    answered: Answered
    asked: int


class FeedbackDesk:
    """Takes the feedback of one deployment, and votes between its answers.

    Attributes:
        asked: keeps the questions that were answered.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._with_texts = app.config.serve.log_questions
        self._answers: OrderedDict[tuple[str, str], _Remembered] = OrderedDict()
        self._characters = 0
        self._opening = threading.Lock()
        self._store: FeedbackStore | None = None
        self.asked = AskedLog(app, lambda: self._mask)

    def for_caller(self, caller: Caller) -> Callable[[Exchange, str | None, str], None]:
        """What notes an answer that this caller gets."""
        return partial(self._note, caller.id)

    def _note(self, caller: str, exchange: Exchange, answer_id: str | None, text: str) -> None:
        if self._with_texts:
            self.asked.note(caller, exchange, text)
        if answer_id:
            self._remember(caller, exchange, answer_id, text)

    def _remember(self, caller: str, exchange: Exchange, answer_id: str, text: str) -> None:
        asked, retrieved, part = exchange.asked, exchange.prompt.retrieved, exchange.asked.assignment
        answered = Answered(
            answer_id=answer_id, setup=asked.setup.name, model_version=exchange.model_version,
            index_version=retrieved.index_version if retrieved else None,
            arm=part.arm if part else None, experiment=part.experiment.id if part else None,
        )  # fmt: skip
        if self._with_texts:
            hits = exchange.prompt.hits
            answered = replace(
                answered, question=asked.question, answer=text,
                history=tuple(
                    {"role": turn["role"], "content": turn["content"]}
                    for turn in asked.history
                    if turn["role"] in ("user", "assistant")
                ),
                passages=tuple(
                    f"{hit.document_id}#{' > '.join(hit.heading_path)}" if hit.heading_path else hit.document_id
                    for hit in hits
                ),
            )  # fmt: skip
        turns = tuple((turn["role"], str(turn.get("content"))) for turn in asked.history)
        self._characters += _size(answered)
        if (before := self._answers.pop((answer_id, caller), None)) is not None:
            self._characters -= _size(before.answered)
        self._answers[answer_id, caller] = _Remembered(answered, hash((asked.question, turns)))
        while len(self._answers) > MOST or self._characters > MOST_CHARACTERS:
            self._characters -= _size(self._answers.popitem(last=False)[1].answered)

    async def knows(self, answer_id: str, caller: Caller) -> Answered | None:
        """The answer of this id that this caller got; None where there is none, or none any more."""
        if (remembered := self._answers.get((answer_id, caller.id))) is not None:
            return remembered.answered
        if (self._app.workspace / FILE).exists():
            return await asyncio.to_thread(self._kept, answer_id, caller.id)
        return None

    def to_choose_from(self, answer_ids: Sequence[str], caller: Caller) -> list[Answered] | None:
        """The answers of these ids, in their order; None unless this caller got all of them.

        Raises:
            ApiError: 400: they do not answer the same question behind the same turns.
        """
        found = [self._answers.get((answer_id, caller.id)) for answer_id in answer_ids]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return None
        if len({one.asked for one in known}) > 1:
            raise ApiError(400, "The answers are not to the same question, so they cannot be compared.", "answers")
        return [one.answered for one in known]

    async def take(self, answered: Answered, caller: Caller, said: Said) -> tuple[Feedback, bool]:
        """Keeps what a caller says, with personal data replaced; as `FeedbackStore.add`.

        Raises:
            ApiError: 507: the disk is full; 503: the database cannot be used. Nothing was kept.
        """
        return await _shielded(partial(self._take, answered, caller.id, said))

    async def vote(
        self, answers: Sequence[Answered], choice: Choice, caller: Caller, *, blind: bool, comment: str | None
    ) -> tuple[Vote, bool]:
        """Keeps which of these answers a caller prefers, with personal data replaced; as `FeedbackStore.vote`.

        Raises:
            ApiError: as `take`.
        """
        return await _shielded(partial(self._vote, answers, choice, caller.id, blind, comment))

    async def keep_young(self) -> None:
        """Deletes what is too old, from time to time, for as long as the server runs."""
        while True:
            if (self._app.workspace / FILE).exists():
                with contextlib.suppress(ApiError):
                    await asyncio.to_thread(self._prune)
            await asyncio.sleep(PRUNE_SECONDS)

    async def close(self) -> None:
        """Writes what is left, and closes the database."""
        await asyncio.to_thread(self.asked.close)
        if self._store is not None:
            await asyncio.to_thread(self._store.close)
            self._store = None

    @cached_property
    def _mask(self) -> Mask:
        return masker(self._app)

    def _take(self, answered: Answered, caller: str, said: Said) -> tuple[Feedback, bool]:
        with _told():
            masked, (corrected, comment) = self._without_personal_data(answered, said.corrected_answer, said.comment)
            return self._opened().add(masked, caller, replace(said, corrected_answer=corrected, comment=comment))

    def _vote(
        self, answers: Sequence[Answered], choice: Choice, caller: str, blind: bool, comment: str | None
    ) -> tuple[Vote, bool]:
        with _told():
            masked = [self._without_personal_data(answered)[0] for answered in answers]
            shown = tuple(
                Shown(
                    answer_id=one.answer_id, setup=one.setup, model_version=one.model_version,
                    index_version=one.index_version, arm=one.arm, experiment=one.experiment, answer=one.answer,
                )
                for one in masked
            )  # fmt: skip
            ballot = Ballot(
                shown=shown, choice=choice, blind=blind, question=masked[0].question, history=masked[0].history,
                comment=self._mask([answers[0].question, *(one.answer for one in answers), comment])[-1],
            )  # fmt: skip
            return self._opened().vote(ballot, caller)

    def _without_personal_data(
        self, answered: Answered, *beside: str | None
    ) -> tuple[Answered, list[str | None]]:  # fmt: skip
        """An answer with its question and history, and the texts that somebody wrote beside them."""
        # Of an answer that was kept before they are replaced already, and stay as they are.
        turns = [turn["content"] for turn in answered.history]
        question, answer, *rest = self._mask([answered.question, answered.answer, *turns, *beside])
        history: tuple[Message, ...] = tuple(
            {**turn, "content": text or ""} for turn, text in zip(answered.history, rest[: len(turns)], strict=True)
        )
        return replace(answered, question=question, answer=answer, history=history), rest[len(turns) :]

    def _kept(self, answer_id: str, caller: str) -> Answered | None:
        with _told():
            return self._opened().of(answer_id, caller)

    def _prune(self) -> None:
        with _told():
            self._opened().prune()

    def _opened(self) -> FeedbackStore:
        with self._opening:
            if self._store is None:
                self._store = opened(self._app)
            return self._store


async def _shielded(work: Callable[[], T]) -> T:
    """The result of work in a thread: a client that goes away must not leave one behind that nobody waits for."""
    return await asyncio.shield(asyncio.create_task(asyncio.to_thread(work)))


def _size(answered: Answered) -> int:
    texts = [answered.question or "", answered.answer or "", *answered.passages]
    return sum(map(len, texts)) + sum(len(turn["content"]) for turn in answered.history)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except DatabaseFull as error:
        log.error("feedback is not kept: %s", error)
        raise ApiError(507, "The disk is full, so the feedback was not kept.") from error
    except RagftError as error:
        log.error("feedback is not kept: %s", error)
        raise ApiError(503, "Feedback cannot be kept at the moment; the log says why.") from error
