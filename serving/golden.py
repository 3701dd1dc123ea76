"""The golden questions of one deployment, asked over the snapshot that serves when somebody looks."""

from __future__ import annotations

import asyncio
from typing import Any

from ragft.pipeline import Retriever
from ragft.stages.application import Application
from ragft.stages.golden_ranks import GoldenRanks, golden_ranks


class GoldenLook:
    """Asks them once for a snapshot and a version of their file, however many look at the same time."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._lock = asyncio.Lock()
        self._kept: tuple[Any, GoldenRanks] | None = None

    async def look(self, retriever: Retriever) -> GoldenRanks:
        """Where their sources rank; raises as `golden_ranks`."""
        # Shielded with the lock: who does not wait for it must not leave a thread behind while the next one begins.
        return await asyncio.shield(asyncio.create_task(self._look(retriever)))

    async def _look(self, retriever: Retriever) -> GoldenRanks:
        async with self._lock:
            key = (retriever.index_version, self._file())
            if self._kept is None or self._kept[0] != key:
                self._kept = (key, await asyncio.to_thread(golden_ranks, self._app, retriever))
            return self._kept[1]

    def _file(self) -> tuple[int, int] | None:
        path = self._app.config.index.refresh.gate.questions
        try:
            stat = None if path is None else path.stat()
        except OSError:
            stat = None
        return None if stat is None else (stat.st_mtime_ns, stat.st_size)
