"""What users ask of one deployment and say about its answers, and the last answers that they may say something about.

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
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from ragft.database import DatabaseFull
from ragft.errors import RagftError
from ragft.feedback.database import FILE
from ragft.feedback.store import Answered, Feedback, FeedbackStore, Said
from ragft.keys import Caller
from ragft.stages.application import Application
from ragft.stages.feedback import masker, opened
from serving.asked import AskedLog
from serving.errors import ApiError

if TYPE_CHECKING:
    from serving.api.exchange import Exchange

log = logging.getLogger("ragft.serving")

MOST = 10_000
"""Answers that are remembered; the oldest are forgotten first."""
MOST_CHARACTERS = 50_000_000
"""Of their questions, turns and texts together, where `serve.log_questions` keeps them."""
PRUNE_SECONDS = 3600.0
"""Between two looks whether feedback is older than `serve.feedback_days`."""


class FeedbackDesk:
    """Takes the feedback of one deployment.

    Attributes:
        asked: keeps the questions that were answered.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._with_texts = app.config.serve.log_questions
        self._answers: OrderedDict[tuple[str, str], Answered] = OrderedDict()
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
        self._characters += _size(answered)
        if (before := self._answers.pop((answer_id, caller), None)) is not None:
            self._characters -= _size(before)
        self._answers[answer_id, caller] = answered
        while len(self._answers) > MOST or self._characters > MOST_CHARACTERS:
            self._characters -= _size(self._answers.popitem(last=False)[1])

    async def knows(self, answer_id: str, caller: Caller) -> Answered | None:
        """The answer of this id that this caller got; None where there is none, or none any more."""
        answered = self._answers.get((answer_id, caller.id))
        if answered is None and (self._app.workspace / FILE).exists():
            return await asyncio.to_thread(self._kept, answer_id, caller.id)
        return answered

    async def take(self, answered: Answered, caller: Caller, said: Said) -> tuple[Feedback, bool]:
        """Keeps what a caller says, with personal data replaced; as `FeedbackStore.add`.

        Raises:
            ApiError: 507: the disk is full; 503: the database cannot be used. Nothing was kept.
        """
        # Shielded: a client that goes away must not leave a thread behind that nobody waits for at the end.
        return await asyncio.shield(asyncio.create_task(asyncio.to_thread(self._take, answered, caller.id, said)))

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
    def _mask(self) -> Callable[[str], str]:
        return masker(self._app)

    def _take(self, answered: Answered, caller: str, said: Said) -> tuple[Feedback, bool]:
        with _told():
            masked = replace(
                said, corrected_answer=self._masked(said.corrected_answer), comment=self._masked(said.comment)
            )
            # Of an answer that was kept before they are replaced already, and stay as they are.
            answered = replace(
                answered, question=self._masked(answered.question), answer=self._masked(answered.answer),
                history=tuple({**turn, "content": self._mask(turn["content"])} for turn in answered.history),
            )  # fmt: skip
            return self._opened().add(answered, caller, masked)

    def _kept(self, answer_id: str, caller: str) -> Answered | None:
        with _told():
            return self._opened().of(answer_id, caller)

    def _prune(self) -> None:
        with _told():
            self._opened().prune()

    def _masked(self, text: str | None) -> str | None:
        return None if text is None else self._mask(text)

    def _opened(self) -> FeedbackStore:
        with self._opening:
            if self._store is None:
                self._store = opened(self._app)
            return self._store


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
