"""The model that writes questions: replies are kept as they come, and nothing is asked twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ragft.console import counted, duration
from ragft.data.generate.model import key_of
from ragft.engine.many import ask_many
from ragft.errors import RagftError
from ragft.kept import Kept
from ragft.messages import Message
from ragft.stages.application import Application

if TYPE_CHECKING:
    from ragft.engine.base import Engine


def model_name(app: Application) -> str:
    """Identifies the model of `data.generate`: a server's, or the content of the base model."""
    server = app.config.data.generate.server
    return app.base_hash if server is None else f"{server.url} {server.model or ''}"


class WritingModel:
    """The model of `data.generate`, started and closed by whoever made it.

    Attributes:
        spent: `requests`, `prompt_tokens`, `answer_tokens` and `milliseconds` of what was asked now.
        unanswered: why requests failed, by their keys.
    """

    def __init__(self, app: Application, kept: Kept, runner: asyncio.Runner) -> None:
        """
        Args:
            kept: replies, `{text, cut_off}` by their keys.
            runner: in which the model is started, asked and closed.

        Raises:
            UsageError: the variable of its key holds none.
        """
        self.spent: Counter[str] = Counter()
        self.unanswered: dict[str, str] = {}
        self._app, self._settings = app, app.config.data.generate
        self._kept, self._runner = kept, runner
        self._engine = self._opened()
        self._answered = False

    def _opened(self) -> Engine:
        from ragft.engine.remote import RemoteEngine, key_in

        server = self._settings.server
        if server is None:
            return self._app.engine(self._app.base)
        key = key_in(server.key_variable, "data.generate.server")
        return RemoteEngine(
            server.url, server.model or "", key, timeout=self._settings.timeout, tries=self._settings.retries + 1
        )

    @property
    def where(self) -> str:
        """Who is asked, for a sentence."""
        return "the base model" if self._settings.server is None else self._settings.server.url

    async def start(self) -> None:
        """Loads the model, or asks the server which one it has.

        Raises:
            RagftError: it cannot be loaded, or the server does not say which one to ask.
        """
        from ragft.engine.remote import RemoteEngine

        await self._engine.start()
        if isinstance(self._engine, RemoteEngine) and not self._engine.model:
            try:
                self._engine.model = await self._engine.only_model()
            except RagftError as error:
                raise self._down(error) from None

    async def close(self) -> None:
        await self._engine.close()

    def said(
        self, asked: Sequence[Sequence[Message]], max_tokens: int, title: str
    ) -> list[dict[str, Any] | None]:  # fmt: skip
        """The reply to each conversation, in their order; None where a request failed.

        Raises:
            RagftError: the model does not answer any more; what it said is kept.
        """
        name = model_name(self._app)
        keys = [key_of(messages, name, max_tokens) for messages in asked]
        waiting = {key: one for key, one in zip(keys, asked, strict=True) if self._kept.get(key) is None}
        if waiting:
            size = self._settings.concurrency if self._settings.server else self._app.config.engine.max_num_seqs
            begin = time.monotonic()
            with self._app.reporter.progress(title) as advance:
                if not self._answered:  # the first request alone finds out whether anybody is there
                    first = next(iter(waiting))
                    self._runner.run(self._one(first, waiting.pop(first), max_tokens, alone=True))
                    took = (time.monotonic() - begin) * len(waiting) / size
                    if waiting:
                        requests = counted(len(waiting), "request")
                        self._app.reporter.say(f"{title}: {duration(took)} for {requests} more, as the first one took.")
                self._runner.run(
                    ask_many(
                        list(waiting), size, lambda key: self._one(key, waiting[key], max_tokens),
                        lambda done: advance(done, len(waiting), "requests"),
                    )
                )  # fmt: skip
            self.spent["milliseconds"] += round((time.monotonic() - begin) * 1000)
        return [self._kept.get(key) for key in keys]

    async def _one(self, key: str, messages: Sequence[Message], max_tokens: int, *, alone: bool = False) -> None:
        from ragft.engine.base import ChatRequest, EngineDead

        try:
            reply = await self._engine.chat(ChatRequest(messages, {"temperature": 0, "max_tokens": max_tokens}))
        except EngineDead as error:
            raise self._down(error) from None
        except RagftError as error:
            if alone:
                raise self._down(error) from None
            self.unanswered[key] = str(error)
            return
        self._answered = True
        self._kept.keep(key, {"text": reply.text, "cut_off": reply.finish_reason == "length"})
        self.spent["requests"] += 1
        self.spent["prompt_tokens"] += reply.prompt_tokens or 0
        self.spent["answer_tokens"] += reply.answer_tokens or 0

    def _down(self, error: RagftError) -> RagftError:
        return RagftError(
            f"{self.where} does not write questions ({str(error).rstrip('.')}): start it, or correct "
            f"data.generate.server; {len(self._kept)} replies are kept, and the same command goes on from there."
        )
