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
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from index.errors import IndexBusy, IndexFault, NoSnapshot, TooManyRemovals
from index.refresh.refresh import RefreshReport
from index.store.folder import CURRENT, current_id
from index.store.maintenance import rollback
from index.store.snapshot import Snapshot
from ragft.console import Silent
from ragft.engine.base import Engine, EngineDead
from ragft.errors import RagftError, UsageError
from ragft.feedback.database import check_store
from ragft.grounding import Grounder
from ragft.pipeline import Pipeline, Retriever
from ragft.setups import SETUPS, Setup
from ragft.stages.application import Application
from ragft.stages.index import refresh
from ragft.stages.live import adapter_of, is_live, version_of
from ragft.stages.live import engines as engines_of
from ragft.stages.prompt_choice import served
from ragft.stages.split import arms, own_models
from serving.errors import ApiError
from serving.feedback import FeedbackDesk
from serving.golden import GoldenLook
from serving.shared import Shared
from serving.split import Split
from serving.supervision import DeepLook, first_dead
from serving.switching import TUNED, ModelSwitch, changes
from serving.telemetry.record import RequestRecord, recorded

log = logging.getLogger("ragft.serving")

WATCH_SECONDS = 1.0  # between two looks whether the engines live; a question that meets a dead one learns it at once
GPU_MEMORY_SHARE = 0.9  # of a GPU, for all engines together

Load = Callable[[], Awaitable[Pipeline]]


class Deployment:
    """The deployed setups of one application, from loading to closing.

    Attributes:
        domain: name of the application's domain.
        prefix: what the names of models begin with: nothing where the server has this domain alone.
        named: the deployed setups by the names of models, the default first.
        grounder: refuses, or says whether answers stand on their passages, as `serve.grounding` says.
        retriever: searches the index, also while models load; None before it is open, and where no setup retrieves.
        setups: the deployed ones as they are asked, the default first.
        failure: why nothing is served any more; None while all is well.
        draining: whether answers in progress are finished and new ones refused.
        started: when this process began, in seconds since the epoch.
        history: the snapshots that were live since then, the last one live.
        rebuilding: whether an engine has died and is being rebuilt.
        refreshes: how many refreshes through this server ended how: `published`, `unchanged`, `held`, `planned` (a dry
            run) or `failed`; `unusable` are snapshots of whatever origin that were not served.
        deep_look: see `DeepLook`.
        models: exchanges the tuned model.
        restarts: how many attempts to rebuild an engine ended how; see `Supervisor`.
        shared: what this deployment has in common with the others of its server.
        feedback: what users say about answers, and the answers that they may say something about.
        golden: where the sources of golden questions rank.
        split: the experiment that requests may take part in; None: there is none.
        drift_kept: what was last told of drift and when, by its days; see `serving.api.drift`.
    """

    def __init__(self, app: Application, load: Load | None = None, shared: Shared | None = None) -> None:
        """
        Args:
            load: makes what answers questions, its engines started; None: `load_pipeline`.
            shared: None: it is alone in its server.
        """
        self.app = app
        self.domain = app.config.name
        self.shared = shared or Shared([app])
        self.split = Split(app) if app.config.serve.split.arms else None
        self.feedback = FeedbackDesk(app)
        self.drift_kept: dict[float, tuple[float, dict[str, Any]]] = {}
        self.golden = GoldenLook(app)
        self.setups = [served(app, name) for name in app.config.serve.setups]
        self.prefix = f"{self.domain}/" if self.shared.several else ""
        self.named = {f"{self.prefix}{setup.name}": setup for setup in self.setups}
        self.grounder = Grounder(app.config)
        self.retriever: Retriever | None = None
        # When the index can be searched, which is before the models have loaded.
        self.on_index: Callable[[], None] = lambda: None
        # When questions are answered: after loading, and again when an engine was rebuilt.
        self.on_ready: Callable[[], None] = lambda: None
        self.on_failure: Callable[[], None] = lambda: None
        self.failure: Exception | None = None
        self.draining = False
        self.started = time.time()
        self.history: list[dict[str, Any]] = []
        self.rebuilding = False
        self.refreshes = Counter(published=0, unchanged=0, held=0, planned=0, failed=0, unusable=0)
        self.restarts = self.shared.supervisor.outcomes
        self.deep_look = DeepLook(app.config.serve.deep_health_timeout)
        self.models = ModelSwitch(
            app.registry, self._open_engine, partial(version_of, app), app.config.serve.drain_seconds
        )
        self._own_models = own_models(app, self.split.arms.values()) if self.split is not None else {}
        self._load = load or partial(load_pipeline, app, self.shared, self._own_models, self._search_with)
        self._pipeline: Pipeline | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._refreshing = False

    @property
    def models_asked(self) -> dict[str, Setup]:
        """What a conversation may name as its model: the setups, and the experiment."""
        split = {} if self.split is None else {f"{self.prefix}{self.split.model.name}": self.split.model}
        return {**self.named, **split}

    @property
    def pipeline(self) -> Pipeline | None:
        """What was loaded; None while loading. Questions go to `ready()`."""
        return self._pipeline

    @property
    def state(self) -> str:
        """`ready`, or why not: `loading`, `failed`, `draining`, `engine dead` or `engine restarting`, as known here."""
        if self.failure is not None:
            return "engine dead" if isinstance(self.failure, EngineDead) else "failed"
        if self.draining:
            return "draining"
        if self._pipeline is None:
            return "loading"
        return "engine restarting" if self.rebuilding else "ready"

    async def status(self) -> str:
        """As `state`, after asking the engines."""
        if self._pipeline is not None and self.state == "ready" and await first_dead(self._pipeline.engines.values()):
            return "engine dead"
        return self.state

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
        # What is logged of this is logged with the domain.
        with recorded(RequestRecord("", "", domain=self.domain)):
            self._tasks.append(asyncio.create_task(self._start()))
            self._tasks.append(asyncio.create_task(self.feedback.keep_young()))
        try:
            yield
        finally:
            await self.stop()
            if self.split is not None:
                await self.split.close()
            await self.feedback.close()
            if self._pipeline is not None:
                await _close(self._pipeline.engines.values())
            await self.shared.close()

    async def stop(self) -> None:
        """Ends what runs in the background: nothing is loaded, followed or rebuilt any more."""
        self.draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start(self) -> None:
        try:
            if self.split is not None:
                self.split.open()
            self._pipeline = pipeline = await self._load()
        except Exception as error:
            self._fail("loading failed", error)
            return
        if pipeline.retriever is not None and self.retriever is None:  # another `load` opened it
            self._search_with(pipeline.retriever)
        if TUNED in pipeline.engines:
            self.models.note(pipeline.engines[TUNED])
            self._tasks.append(asyncio.create_task(self.models.follow(pipeline)))
        self._tasks.append(asyncio.create_task(self._watch(pipeline)))
        self.on_ready()

    def _search_with(self, retriever: Retriever) -> None:
        """The index can be searched from now on, and follows `CURRENT`, also where the models never load."""
        self.retriever = retriever
        self._note(retriever.snapshot)
        self._tasks.append(asyncio.create_task(self._follow(retriever)))
        self.on_index()

    async def _watch(self, pipeline: Pipeline) -> None:
        """Rebuilds an engine that has died; if that fails, ends the server, whose own supervisor may start it anew."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if await first_dead(pipeline.engines.values()) is None:
                continue
            self.rebuilding = True
            try:
                async with self.shared.rebuilding:
                    # Another domain may have had the engine rebuilt that it shares with this one, or failed to.
                    found = await first_dead(pipeline.engines.values())
                    if found is not None and not self.draining:
                        await self.shared.supervisor.rebuild(*found)
            except EngineDead as error:
                self._fail("an engine died", error)
                return
            finally:
                self.rebuilding = False
            self.on_ready()

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

    async def _refresh(self, work: partial[RefreshReport], retriever: Retriever) -> RefreshReport:
        try:
            report = await asyncio.to_thread(work)
            await self._flip(retriever)
            self.refreshes[_outcome(report, work.keywords["dry_run"])] += 1
            return report
        except IndexBusy:
            raise
        except Exception:
            self.refreshes["failed"] += 1
            raise
        finally:
            self._refreshing = False

    async def _follow(self, retriever: Retriever) -> None:
        """Serves the snapshot that `CURRENT` names, whoever wrote it; keeps the old one if the new is unusable."""
        async for _ in changes(self.app.index_root / CURRENT):
            try:
                await self._flip(retriever)
            except IndexFault as error:
                self.refreshes["unusable"] += 1
                log.error("the new snapshot is not served, the old one is: %s", error)
            except Exception:
                self.refreshes["unusable"] += 1
                log.exception("the new snapshot is not served, the old one is")

    async def roll_back_index(self, snapshot: str | None) -> tuple[str, str]:
        """Serves an earlier snapshot, by default the one before the live one; returns the ids that served and serves.

        Raises:
            ApiError: 404: there is no such snapshot, or nothing to go back to; 409: another process writes the index;
                422: the snapshot is damaged.
        """
        retriever = self.ready().retriever
        if retriever is None:
            raise ApiError(404, "No deployed setup retrieves, so there is no index to roll back.")
        before = retriever.index_version
        try:
            await asyncio.to_thread(rollback, self.app.index_root, snapshot)
            await self._flip(retriever)
        except NoSnapshot as error:
            raise ApiError(404, "There is no such snapshot to go back to; GET /admin/versions lists them.") from error
        except IndexBusy as error:
            raise ApiError(409, "Another process is writing the index: wait until it is done.") from error
        except IndexFault as error:
            log.error("the snapshot is not served: %s", error)
            raise ApiError(422, "The snapshot is damaged; the live one serves on, and the log says why.") from error
        return before, retriever.index_version

    def _open_engine(self, folder: Path) -> Engine:
        return _open_one(self.app, TUNED, folder, self.shared.engine_count())

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


def _outcome(report: RefreshReport, dry_run: bool) -> str:
    if dry_run:
        return "planned"
    return "held" if report.held else "published" if report.published else "unchanged"


async def _close(engines: Any) -> None:
    for engine in engines:
        await engine.close()


def check_deployable(app: Application) -> None:
    """Refuses what would fail only after an engine has been loaded.

    Raises:
        UsageError: a deployed setup, or an arm of `serve.split`, needs a model that is not there, or cannot be served
            as `serve.adapters` says; or no setup is deployed; or a newer ragft wrote the feedback.
        IndexFault: a deployed setup retrieves, and there is no index.
    """
    setups = app.config.serve.setups
    if not setups:
        raise UsageError("serve.setups names no setup to deploy.")
    arms(app)
    check_store(app.workspace)
    try:
        for folder in app.model_folders(setups).values():
            if is_live(app, folder):
                adapter_of(app, folder)
    except UsageError:  # of the base model
        raise
    except RagftError as error:
        raise UsageError(f"{error} Or deploy other setups with serve.setups.") from error
    if any(SETUPS[name].retrieval for name in setups):
        current_id(app.index_root)


async def load_pipeline(
    app: Application, shared: Shared | None = None, own_models: Mapping[str, Path] = MappingProxyType({}),
    search_with: Callable[[Retriever], None] = lambda _: None,
) -> Pipeline:  # fmt: skip
    """Opens the index and starts one engine for each model that the deployed setups need.

    Args:
        shared: has the engines and encoders that several domains use; whoever closes it closes the base model's engine.
        own_models: folders of further models, by the names of their engines.
        search_with: gets what searches the index as soon as it is open, before any engine starts.
    """
    setups, shared = app.config.serve.setups, shared or Shared([app])
    retriever = None
    # First, because it takes seconds: an index that this encoder did not build is refused before minutes of loading.
    if any(SETUPS[name].retrieval for name in setups):
        await asyncio.to_thread(shared.lend_encoder, app)
        retriever = await asyncio.to_thread(open_retriever, app)
        search_with(retriever)
    folders, count = {**app.model_folders(setups), **own_models}, shared.engine_count()
    engines: dict[str, Engine] = {}
    if app.config.serve.adapters == "live":  # one engine for all of them, which no other domain has
        opened = open_engines(app, folders, count)
        for model in folders:
            engines[model] = await shared.engine(app, f"live {model}", partial(opened.__getitem__, model))
    else:
        for model, folder in folders.items():
            engines[model] = await shared.engine(app, model, partial(_open_one, app, model, folder, count))
    return Pipeline(app.config, engines, retriever)


def _open_one(app: Application, model: str, folder: Path, count: int) -> Engine:
    return open_engines(app, {model: folder}, count)[model]


def open_engines(app: Application, folders: Mapping[str, Path], count: int) -> dict[str, Engine]:
    """Engines of `count` that serve side by side, not started yet; with live adapters these are one of them."""
    share = GPU_MEMORY_SHARE / count
    return engines_of(app, folders, max_queued=app.config.serve.max_queued, gpu_memory_share=share)


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
