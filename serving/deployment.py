"""What the endpoint serves: its engines, its index, and whether they are ready.

Everything is loaded in the background, so that the process answers health checks from its first second on. The live
snapshot is replaced by one assignment, whether this process refreshed the index or another one did.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from functools import partial
from typing import Any

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from index.errors import IndexBusy, IndexFault, TooManyRemovals
from index.refresh.refresh import RefreshReport
from index.store.folder import CURRENT, current_id
from index.store.snapshot import Snapshot
from ragft.console import Silent
from ragft.engine.base import Engine, EngineDead
from ragft.errors import RagftError, UsageError
from ragft.pipeline import Pipeline, Retriever
from ragft.setups import SETUPS
from ragft.stages.application import Application
from ragft.stages.index import refresh
from ragft.stages.prompt_choice import served
from serving.errors import ApiError

log = logging.getLogger("ragft.serving")

POLL_SECONDS = 1.0  # between two looks whether another process has made another snapshot live
WATCH_SECONDS = 5.0  # between two looks whether the engines live; a question that meets a dead one learns it at once
GPU_MEMORY_SHARE = 0.9  # of a GPU, for all engines together

Load = Callable[[], Awaitable[Pipeline]]


class Deployment:
    """The deployed setups of one application, from loading to closing.

    Attributes:
        setups: the deployed ones as they are asked, the default first.
        failure: why nothing is served any more; None while all is well.
        draining: whether answers in progress are finished and new ones refused.
        started: when this process began, in seconds since the epoch.
        history: the snapshots that were live since then, the last one live.
    """

    def __init__(self, app: Application, load: Load | None = None) -> None:
        """
        Args:
            load: makes what answers questions, its engines started; None: `load_pipeline`.
        """
        self.app = app
        self.setups = [served(app, name) for name in app.config.serve.setups]
        self.on_ready: Callable[[], None] = lambda: None
        self.on_failure: Callable[[], None] = lambda: None
        self.failure: Exception | None = None
        self.draining = False
        self.started = time.time()
        self.history: list[dict[str, Any]] = []
        self._load = load or partial(load_pipeline, app)
        self._pipeline: Pipeline | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._refreshing = False

    async def status(self) -> str:
        """`ready`, or why not: `loading`, `failed`, `draining` or `engine dead`."""
        if self.failure is not None:
            return "engine dead" if isinstance(self.failure, EngineDead) else "failed"
        if self.draining:
            return "draining"
        if self._pipeline is None:
            return "loading"
        try:
            await _check_health(self._pipeline)
        except EngineDead:
            return "engine dead"
        return "ready"

    def ready(self) -> Pipeline:
        """What answers questions.

        Raises:
            ApiError: 503 while loading, after a failure and while draining.
        """
        if self._pipeline is None or self.draining:
            why = "shutting down" if self.draining else "not able to start" if self.failure else "still loading"
            raise ApiError(503, f"The endpoint is {why}: try again later.")
        return self._pipeline

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Loads in the background on entry, closes the engines on exit."""
        self._tasks.append(asyncio.create_task(self._start()))
        try:
            yield
        finally:
            self.draining = True
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._pipeline is not None:
                await _close(self._pipeline.engines.values())

    async def _start(self) -> None:
        try:
            self._pipeline = pipeline = await self._load()
        except Exception as error:
            self._fail("loading failed", error)
            return
        if pipeline.retriever is not None:
            self._note(pipeline.retriever.snapshot)
            self._tasks.append(asyncio.create_task(self._follow(pipeline.retriever)))
        self._tasks.append(asyncio.create_task(self._watch(pipeline)))
        self.on_ready()

    async def _watch(self, pipeline: Pipeline) -> None:
        """Ends the server when an engine has died, so that its supervisor starts a new one."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await _check_health(pipeline)
            except EngineDead as error:
                self._fail("an engine died", error)
                return

    def _fail(self, what: str, error: Exception) -> None:
        log.error("%s: %s", what, error)
        self.failure = error
        self.on_failure()

    async def refresh_index(
        self, *, told: Collection[str] | None = None, dry_run: bool = False, ask_gate: bool = True,
        allow_removal: bool = False,
    ) -> RefreshReport:  # fmt: skip
        """Brings the index up to date with the configured folder and serves the result; see `ragft.stages.index`.

        Raises:
            ApiError: 409 while another refresh runs, 422 if the documents cannot be indexed or too many of them would
                vanish, 404 without an index, 507 if the disk is full.
        """
        retriever = self.ready().retriever
        if retriever is None:
            raise ApiError(404, "No deployed setup retrieves, so there is no index to refresh.")
        if self._refreshing:
            raise ApiError(409, "A refresh is running already: wait until it is done.")
        self._refreshing = True
        work = partial(
            refresh, self.app, reporter=Silent(), told=told, dry_run=dry_run, ask_gate=ask_gate,
            allow_removal=allow_removal,
        )  # fmt: skip
        try:
            # Shielded: a client that goes away must not leave a thread writing while the next refresh begins.
            return await asyncio.shield(asyncio.create_task(self._refresh(work, retriever)))
        except IndexBusy as error:
            raise ApiError(409, "Another process is refreshing the index: wait until it is done.") from error
        except TooManyRemovals as error:
            # Numbers and no names: nothing that a client may not know.
            hint = 'the folder, or send {"allow_removal": true} if they are meant to go'
            raise ApiError(422, f"{str(error).partition('; check')[0]}; check {hint}.", "allow_removal") from error
        except (IndexFault, UsageError) as error:
            log.warning("refresh refused: %s", error)
            raise ApiError(422, "The documents cannot be indexed; the log says why.") from error
        except OSError as error:
            log.error("refresh failed: %s", error)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ApiError(507, "The disk of the index is full; the old snapshot serves on.") from error

    async def _refresh(self, work: Callable[[], RefreshReport], retriever: Retriever) -> RefreshReport:
        try:
            report = await asyncio.to_thread(work)
            await self._flip(retriever)
            return report
        finally:
            self._refreshing = False

    async def _follow(self, retriever: Retriever) -> None:
        """Serves the snapshot that `CURRENT` names, whoever wrote it; keeps the old one if the new is unusable."""
        seen: tuple[int, int] | None = None
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with contextlib.suppress(OSError):
                stat = (self.app.index_root / CURRENT).stat()
                if (signature := (stat.st_mtime_ns, stat.st_ino)) == seen:
                    continue
                seen = signature
                try:
                    await self._flip(retriever)
                except IndexFault as error:
                    log.error("the new snapshot is not served, the old one is: %s", error)
                except Exception:
                    log.exception("the new snapshot is not served, the old one is")

    async def _flip(self, retriever: Retriever) -> None:
        """Opens the snapshot that `CURRENT` names, tries it, and serves it from then on."""
        if not retriever.snapshot.is_current():
            retriever.snapshot = (await asyncio.to_thread(open_retriever, self.app)).snapshot
            self._note(retriever.snapshot)

    def _note(self, snapshot: Snapshot) -> None:
        if not self.history or self.history[-1]["id"] != snapshot.id:
            self.history.append({"id": snapshot.id, "since": time.time(), "chunks": snapshot.chunk_count})
            del self.history[:-100]


# What routes ask for by these names; `create_app` provides them.
Deployed = NamedDependency[SkipValidation[Deployment]]
Ready = NamedDependency[SkipValidation[Pipeline]]


async def _check_health(pipeline: Pipeline) -> None:
    for engine in pipeline.engines.values():
        await engine.check_health()


async def _close(engines: Any) -> None:
    for engine in engines:
        await engine.close()


def check_deployable(app: Application) -> None:
    """Refuses what would fail only after an engine has been loaded.

    Raises:
        UsageError: a deployed setup needs a model that is not there, or no setup is deployed.
        IndexFault: a deployed setup retrieves, and there is no index.
    """
    setups = app.config.serve.setups
    if not setups:
        raise UsageError("serve.setups names no setup to deploy.")
    try:
        app.model_folders(setups)
    except UsageError:  # of the base model
        raise
    except RagftError as error:
        raise UsageError(f"{error} Or deploy other setups with serve.setups.") from error
    if any(SETUPS[name].retrieval for name in setups):
        current_id(app.index_root)


async def load_pipeline(app: Application) -> Pipeline:
    """Opens the index and starts one engine for each model that the deployed setups need."""
    setups = app.config.serve.setups
    retriever = None
    # First, because it takes seconds: an index that this encoder did not build is refused before minutes of loading.
    if any(SETUPS[name].retrieval for name in setups):
        retriever = await asyncio.to_thread(open_retriever, app)
    folders = app.model_folders(setups)
    engines: dict[str, Engine] = {}
    try:
        for model, folder in folders.items():
            engines[model] = app.engine(
                folder, max_queued=app.config.serve.max_queued, gpu_memory_share=GPU_MEMORY_SHARE / len(folders)
            )
            await engines[model].start()
    except BaseException:
        await _close(engines.values())
        raise
    return Pipeline(app.config, engines, retriever)


def open_retriever(app: Application) -> Retriever:
    """Search over the live snapshot, after one search.

    Raises:
        IndexFault: there is no index, it is damaged, or another encoder built it.
    """
    # What is served is read once in full; files that it shares with the snapshot before were.
    retriever = app.retriever(Snapshot.open(app.index_root, check="always"))
    # One search builds what a snapshot builds lazily, and shows that it can be searched at all.
    retriever.search(["warm-up"], 1)
    return retriever
