"""The questions that one deployment answered, kept with `serve.log_questions` for `ragft drift`.

They are written by a thread of its own, so that no request waits for the disk. When the server is told to stop, all are
written; one that is killed loses those of its last moment. Where the disk is too slow or full, questions are lost and
counted, and answers go on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from blake3 import blake3

from ragft.background import GroupWriter
from ragft.errors import RagftError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.refusals import is_refusal
from ragft.evaluate.suites.abstention import best_scores
from ragft.feedback.asked import Asked, AskedStore
from ragft.stages.application import Application

if TYPE_CHECKING:
    from ragft.stages.feedback import Mask
    from serving.api.exchange import Exchange

log = logging.getLogger("ragft.serving")

MOST_CHARACTERS = 20_000_000
"""Of questions and answers together that wait to be written."""


class AskedLog:
    """Keeps the questions of one deployment.

    Attributes:
        lost: how many were not kept: they found no room, or could not be written.
    """

    def __init__(self, app: Application, mask: Callable[[], Mask]) -> None:
        """
        Args:
            mask: makes what replaces personal data; called by the thread that writes.
        """
        self.lost = 0
        self._app, self._mask = app, mask
        self._rules = Rules.of(app.config.answer)
        self._starting = threading.Lock()
        self._writer: GroupWriter[tuple[Asked, str]] | None = None
        self._store: AskedStore | None = None

    def note(self, caller: str, exchange: Exchange, text: str) -> None:
        """Keeps an answered question soon; returns at once.

        Args:
            text: the answer, which is looked at and not kept.
        """
        asked, retrieved = exchange.asked, exchange.prompt.retrieved
        query = retrieved.query if retrieved is not None and retrieved.query != asked.question else None
        row = Asked(
            time=time.time(), caller=caller, unit=self._unit(exchange), setup=asked.setup.name,
            model_version=exchange.model_version, index_version=retrieved.index_version if retrieved else None,
            encoder=exchange.encoder, question=asked.question, query=query or None,
            scores={} if exchange.found is None else best_scores(exchange.found.hits),
            refused=exchange.refused is not None, grounded=exchange.grounded,
        )  # fmt: skip
        size = len(row.question) + len(row.query or "") + len(text)
        if not self._started().put((row, text), size):
            self.lost += 1

    def flush(self) -> None:
        """Returns when all that was noted so far is on disk, or lost."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Writes what is left, and closes the database."""
        if self._writer is not None:
            self._writer.close()
        if self._store is not None:
            self._store.close()

    def _unit(self, exchange: Exchange) -> str:
        """What stands for the user or the conversation; who says nothing of either is known by their first turn."""
        asked = exchange.asked
        turns = (turn["content"] for turn in asked.history if turn["role"] == "user")
        first = next(filter(None, turns), asked.question)  # a turn may be empty, the question is not
        known = {"user": asked.user, "conversation": asked.ragft.conversation, "first-turn": first}
        kind, value = next((kind, value) for kind, value in known.items() if value)
        return str(blake3(f"{self._app.config.name}\0{kind}\0{value}".encode()).hexdigest()[:16])

    def _started(self) -> GroupWriter[tuple[Asked, str]]:
        with self._starting:
            if self._writer is None:
                self._writer = GroupWriter(self._write, "ragft-asked", MOST_CHARACTERS)
            return self._writer

    def _write(self, group: list[tuple[Asked, str]]) -> None:
        try:
            mask = self._mask()
            rows = [
                replace(
                    row, question=question or "", query=query,
                    refused=row.refused or is_refusal(text, self._rules, asked=row.question),
                )
                for row, text in group
                for question, query in (mask([row.question, row.query]),)
            ]  # fmt: skip
            if self._store is None:
                self._store = AskedStore(self._app.workspace, self._app.config.serve.feedback_days)
            self._store.add(rows)
        except Exception as error:
            self.lost += len(group)
            log.error("%d questions are not kept: %s", len(group), error, exc_info=not isinstance(error, RagftError))
