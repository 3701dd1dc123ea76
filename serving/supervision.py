"""Engines that died are rebuilt here, from the very folders that they served, and engines that hang are found out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ragft.engine.base import ChatRequest, Engine, EngineBusy, EngineDead
from ragft.messages import turn

if TYPE_CHECKING:
    from ragft.pipeline import Pipeline, Retriever

log = logging.getLogger("ragft.serving")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before an attempt to rebuild an engine; each waits twice as long
STABLE_SECONDS = 600.0  # an engine that lived so long since died of something new
KEPT_SECONDS = 10.0  # that the result of a deep look stands: it costs a token and a search


class Supervisor:
    """Rebuilds engines that died.

    Attributes:
        outcomes: how the attempts ended so far: `rebuilt` or `failed`.
    """

    def __init__(self, attempts: int) -> None:
        """`attempts` in a row, for all engines together; 0: none."""
        self.outcomes = Counter(rebuilt=0, failed=0)
        self._attempts = attempts
        self._used = 0
        self._rebuilt_at = 0.0

    async def rebuild(self, engine: Engine, death: EngineDead) -> None:
        """Closes and starts an engine until it lives.

        Raises:
            EngineDead: the attempts are used up; the message says why the last one failed.
        """
        # What was there when the server became ready was frozen, the dead engine with it.
        gc.unfreeze()
        reason: Exception = death
        if time.monotonic() - self._rebuilt_at > STABLE_SECONDS:
            self._used = 0
        while self._used < self._attempts:
            pause = min(FIRST_PAUSE * 2**self._used, LONGEST_PAUSE)
            self._used += 1
            log.error("attempt %d of %d to rebuild an engine in %.0f s: %s", self._used, self._attempts, pause, reason)
            with contextlib.suppress(Exception):
                await engine.close()
            await asyncio.sleep(pause)
            try:
                await engine.start()
                await engine.check_health()
            except Exception as error:
                self.outcomes["failed"] += 1
                reason = error
                continue
            self.outcomes["rebuilt"] += 1
            self._rebuilt_at = time.monotonic()
            log.warning("the engine was rebuilt and answers again, with model %s", engine.version)
            return
        if self._attempts == 0:
            raise death
        raise EngineDead(f"The engine died, and {self._attempts} attempts to rebuild it failed: {reason}") from reason


async def first_dead(engines: Iterable[Engine]) -> tuple[Engine, EngineDead] | None:
    """The first engine that cannot answer any more, and how it says so; None: all live."""
    for engine in engines:
        try:
            await engine.check_health()
        except EngineDead as error:
            return engine, error
    return None


class DeepLook:
    """One token from every engine and one search, with a deadline: what hangs answers other health checks.

    Looks are seldom: whoever asks meanwhile gets the result of the one before.
    """

    def __init__(self, deadline: float) -> None:
        """`deadline` in seconds, for each part."""
        self._deadline = deadline
        self._looking = asyncio.Lock()
        self._result: tuple[float, dict[str, Any]] | None = None

    async def look(self, pipeline: Pipeline) -> dict[str, Any]:
        """`ok`, and of each part its `status` and `milliseconds`.

        An engine is `ok`, `busy` (its queue is full, so it lives), `hung`, `dead` or `failed`; the index is `ok`,
        `hung` or `unreadable`.
        """
        async with self._looking:
            now = time.monotonic()
            if self._result is None or now - self._result[0] > KEPT_SECONDS:
                self._result = (now, await self._look(pipeline))
            return {**self._result[1], "seconds_ago": round(now - self._result[0], 1) if now > self._result[0] else 0.0}

    async def _look(self, pipeline: Pipeline) -> dict[str, Any]:
        names = list(pipeline.engines)
        looks = [self._timed(_ask(pipeline.engines[name])) for name in names]
        if pipeline.retriever is not None:
            looks.append(self._timed(_search(pipeline.retriever)))
        parts = await asyncio.gather(*looks)
        result: dict[str, Any] = {"engines": dict(zip(names, parts, strict=False))}
        if pipeline.retriever is not None:
            result["index"] = {**parts[-1], "version": pipeline.retriever.index_version}
        return {"ok": all(part["status"] in ("ok", "busy") for part in parts), **result}

    async def _timed(self, work: Any) -> dict[str, Any]:
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(self._deadline):
                status = await work
        except TimeoutError:
            status = "hung"
        return {"status": status, "milliseconds": round((time.perf_counter() - begin) * 1000, 1)}


async def _ask(engine: Engine) -> str:
    try:
        await engine.chat(ChatRequest([turn("user", "Are you there?")], {"max_tokens": 1, "temperature": 0}))
    except EngineBusy:
        return "busy"
    except EngineDead:
        return "dead"
    except TimeoutError:
        raise
    except Exception:
        log.exception("the engine did not answer the deep health check")
        return "failed"
    return "ok"


async def _search(retriever: Retriever) -> str:
    try:
        await asyncio.to_thread(retriever.search, ["Are you there?"], 1)
    except TimeoutError:
        raise
    except Exception:
        log.exception("the index could not be searched by the deep health check")
        return "unreadable"
    return "ok"
