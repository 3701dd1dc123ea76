"""Another model under traffic: in place where only its weights differ, else in a second engine beside the old one.

With live adapters, in place means that the adapter is read into the engine that serves and no weights are loaded.

Whoever deploys, this server by a request or another process by `ragft models deploy`, the model that the workspace
names is the one that serves a few seconds later. One that cannot be loaded changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from ragft.artifacts import Artifact
from ragft.engine.base import Engine, EngineDead, NotInPlace
from ragft.errors import RagftError
from ragft.finetune.registry import Registry
from ragft.pipeline import Pipeline
from serving.errors import ApiError

log = logging.getLogger("ragft.serving")

POLL_SECONDS = 1.0  # between two looks whether another process has made something else current
TUNED = "tuned"

Open = Callable[[Path], Engine]
Version = Callable[[Path], str]


async def changes(path: Path) -> AsyncIterator[None]:
    """Yields when a file was replaced, the first time at once; a file that is not there has not changed."""
    seen: tuple[int, int] | None = None
    while True:
        await asyncio.sleep(POLL_SECONDS)
        with contextlib.suppress(OSError):
            stat = path.stat()
            if (signature := (stat.st_mtime_ns, stat.st_ino)) != seen:
                seen = signature
                yield


class ModelSwitch:
    """Exchanges the tuned model of a pipeline.

    Attributes:
        history: the models that served since the process began, the last one serves.
    """

    def __init__(self, registry: Registry, open_engine: Open, version_of: Version, drain_seconds: float) -> None:
        """
        Args:
            open_engine: the engine over a model's folder, not started yet.
            version_of: the version that an engine over a model's folder has; raises a RagftError where none can be.
            drain_seconds: how long the old engine's answers may take before it is closed.
        """
        self.history: list[dict[str, Any]] = []
        self._registry, self._drain_seconds = registry, drain_seconds
        self._open, self._version_of = open_engine, version_of
        self._switching = asyncio.Lock()
        self._exchanges = 0  # that run; a look whether another process has deployed something is none

    @contextlib.contextmanager
    def _exchanging(self) -> Iterator[None]:
        self._exchanges += 1
        try:
            yield
        finally:
            self._exchanges -= 1

    def note(self, engine: Engine) -> None:
        """Remembers which model serves from now on."""
        if not self.history or self.history[-1]["version"] != engine.version:
            self.history.append({"version": engine.version, "since": time.time()})
            del self.history[:-100]

    async def follow(self, pipeline: Pipeline) -> None:
        """Serves the model that the workspace names, whoever deployed it; an unusable one is said and not served."""
        async for _ in changes(self._registry.current_path):
            try:
                async with self._switching:
                    await self._serve(pipeline, self._registry.deployed().folder)
            except RagftError as error:
                log.error("the deployed model is not served, the old one is: %s", error)
            except Exception:
                log.exception("the deployed model is not served, the old one is")

    async def deploy(self, pipeline: Pipeline, choose: Callable[[], Artifact]) -> dict[str, Any]:
        """Serves a model, and deploys it in the workspace once it does.

        Args:
            choose: which; raises a RagftError where there is none.

        Returns:
            `model`, its fingerprint; `model_version`; `before`, the version that served; `how`: `in place`, `beside`
            or `unchanged`; and `seconds`.

        Raises:
            ApiError: 404: no tuned setup is deployed, or there is no such model; 409: another exchange is running; 422:
                the model cannot be loaded; 503: the engine died of it.
        """
        if TUNED not in pipeline.engines:
            raise ApiError(404, "No deployed setup uses the tuned model, so there is none to exchange.")
        if self._exchanges:
            raise ApiError(409, "Another model is being deployed: wait until it serves.")
        # Shielded: a client that goes away must not leave an exchange half done.
        return await asyncio.shield(asyncio.create_task(self._deploy(pipeline, choose)))

    async def _deploy(self, pipeline: Pipeline, choose: Callable[[], Artifact]) -> dict[str, Any]:
        with self._exchanging():
            async with self._switching:
                try:
                    model = await asyncio.to_thread(choose)
                except RagftError as error:
                    log.warning("nothing to deploy: %s", error)
                    raise ApiError(404, "There is no such model; GET /admin/versions lists them.", "model") from error
                return await self._served(pipeline, model)

    async def _served(self, pipeline: Pipeline, model: Artifact) -> dict[str, Any]:
        begin, before = time.perf_counter(), pipeline.engines[TUNED].version
        try:
            how = await self._serve(pipeline, model.folder)
        except EngineDead as error:
            log.error("the engine died of another model: %s", error)
            raise ApiError(503, "The engine could not load the model and is restarted with the old one.") from error
        except RagftError as error:
            log.error("the model is not served, the old one is: %s", error)
            raise ApiError(422, "The model cannot be loaded; the old one serves on, and the log says why.") from error
        await asyncio.to_thread(self._registry.deploy, model)
        return {
            "model": model.fingerprint, "model_version": pipeline.engines[TUNED].version, "before": before, "how": how,
            "seconds": round(time.perf_counter() - begin, 3),
        }  # fmt: skip

    async def _serve(self, pipeline: Pipeline, folder: Path) -> str:
        engine = pipeline.engines[TUNED]
        if await asyncio.to_thread(self._version_of, folder) == engine.version:
            return "unchanged"
        with self._exchanging():
            how = await self._exchange(pipeline, engine, folder)
        self.note(pipeline.engines[TUNED])
        log.warning("model %s serves from now on (%s)", pipeline.engines[TUNED].version, how)
        return how

    async def _exchange(self, pipeline: Pipeline, engine: Engine, folder: Path) -> str:
        try:
            await engine.replace(folder)
        except NotInPlace as error:
            log.warning("%s A second engine is started.", error)
        else:
            return "in place"
        fresh = self._open(folder)
        try:
            await fresh.start()
        except BaseException:
            await fresh.close()
            raise
        pipeline.engines[TUNED] = fresh
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_seconds):
                await engine.drain()
        await engine.close()
        return "beside"
