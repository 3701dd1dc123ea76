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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from index.encoders.encoder import Encoder
from index.encoders.reranker import CrossEncoderReranker
from index.errors import IndexBusy, IndexFault, TooManyRemovals
from index.refresh.planning import check_encoder
from index.refresh.refresh import RefreshReport, refresh
from index.search.search import search
from index.store.snapshot import CURRENT, Snapshot, current_id
from ragft.config import Config, workspace_of
from ragft.engine.base import Engine
from ragft.engine.vllm import VllmEngine
from ragft.errors import EngineDead, UsageError
from ragft.indexing import refresh_settings
from ragft.models import load_encoder, resolve_reranker
from ragft.pipeline import Pipeline, Retriever
from ragft.setups import SETUPS, Setup
from ragft.stages.gate import gate_of
from serving.errors import ApiError

log = logging.getLogger("ragft.serving")

POLL_SECONDS = 1.0

WATCH_SECONDS = 5.0
"""How often the engines are asked whether they live. A question that meets a dead one learns it at once."""


class ChatBackend(Protocol):
    """Generates for `/v1/chat/completions`."""

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any] | AsyncIterator[str]:
        """Answers the JSON object of a request: with a JSON object, or, where it says `stream`, with an async
        generator of server-sent events that ends with `data: [DONE]`. Closing the generator frees the slot.

        Raises:
            ChatError: the request is not valid, or the queue is full.
            EngineDead: the engine cannot answer any more.
        """


@dataclass(frozen=True)
class Loaded:
    """Engines that have started and an index that is open.

    Attributes:
        chats: one per engine, by the same names (`Setup.model`).
        retriever: None where no deployed setup retrieves.
    """

    engines: Mapping[str, Engine]
    chats: Mapping[str, ChatBackend]
    retriever: Retriever | None


Load = Callable[[], Awaitable[Loaded]]


@dataclass
class Deployment:
    """The deployed setups of one application, from loading to closing."""

    config: Config
    load: Load
    on_ready: Callable[[], None] = lambda: None
    on_failure: Callable[[], None] = lambda: None
    failure: BaseException | None = None
    draining: bool = False
    started: float = field(default_factory=time.time)
    history: list[dict[str, Any]] = field(default_factory=list)
    _loaded: Loaded | None = None
    _pipeline: Pipeline | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _refreshing: bool = False

    @property
    def setups(self) -> list[Setup]:
        """The deployed setups, the default first."""
        return [SETUPS[name] for name in self.config.serve.setups]

    @property
    def index_root(self) -> Path:
        """The folder of the index."""
        return workspace_of(self.config) / "index"

    async def status(self) -> str:
        """`ready`, or why not: `loading`, `failed`, `draining` or `engine dead`."""
        if self.draining:
            return "draining"
        if self.failure is not None:
            return "engine dead" if isinstance(self.failure, EngineDead) else "failed"
        if self._loaded is None:
            return "loading"
        try:
            for engine in self._loaded.engines.values():
                await engine.check_health()
        except EngineDead:
            return "engine dead"
        return "ready"

    def ready(self) -> tuple[Pipeline, Loaded]:
        """What answers questions.

        Raises:
            ApiError: 503 while loading, after a failure and while draining.
        """
        if self._loaded is None or self._pipeline is None or self.draining:
            why = "shutting down" if self.draining else "not able to start" if self.failure else "still loading"
            raise ApiError(503, f"The endpoint is {why}: try again later.")
        return self._pipeline, self._loaded

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Loads in the background on entry, closes the engines on exit."""
        self._tasks.append(asyncio.create_task(self._start()))
        try:
            yield
        finally:
            self.draining = True
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._loaded is not None:
                for engine in self._loaded.engines.values():
                    await engine.close()

    async def _start(self) -> None:
        try:
            loaded = await self.load()
        except Exception as error:
            self.failure = error
            log.error("loading failed: %s", error)
            self.on_failure()
            return
        self._pipeline = Pipeline(self.config, loaded.engines, loaded.retriever)
        self._loaded = loaded
        if loaded.retriever is not None:
            self._note(loaded.retriever.snapshot)
            self._tasks.append(asyncio.create_task(self._follow(loaded.retriever)))
        self._tasks.append(asyncio.create_task(self._watch(loaded)))
        self.on_ready()

    async def _watch(self, loaded: Loaded) -> None:
        """Ends the server when an engine has died: whoever supervises it starts a new one, which nothing here can."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                for engine in loaded.engines.values():
                    await engine.check_health()
            except EngineDead as error:
                log.error("an engine died: %s", error)
                self.failure = error
                self.on_failure()
                return

    async def refresh_index(
        self, *, dry_run: bool = False, ask_gate: bool = True, allow_removal: bool = False
    ) -> RefreshReport:
        """Brings the index up to date with the configured folder and serves the result.

        Args:
            ask_gate: whether the golden questions of the configuration may hold the snapshot back.
            allow_removal: lets any number of documents vanish, this once.

        Raises:
            ApiError: 409 while another refresh runs, 422 if the documents cannot be indexed or too many of them would
                vanish, 404 without an index, 507 if the disk is full.
        """
        _, loaded = self.ready()
        retriever = loaded.retriever
        if retriever is None:
            raise ApiError(404, "No deployed setup retrieves, so there is no index to refresh.")
        if self._refreshing:
            raise ApiError(409, "A refresh is running already: wait until it is done.")
        self._refreshing = True
        try:
            # Shielded: a client that goes away must not leave a thread writing while the next refresh begins.
            return await asyncio.shield(asyncio.create_task(self._refresh(retriever, dry_run, ask_gate, allow_removal)))
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

    async def _refresh(self, retriever: Retriever, dry_run: bool, ask_gate: bool, allow_removal: bool) -> RefreshReport:
        try:
            report = await asyncio.to_thread(
                refresh,
                self.index_root,
                self.config.index.documents,
                retriever.encoder,
                refresh_settings(self.config, allow_removal=1.0 if allow_removal else None),
                dry_run=dry_run,
                gate=gate_of(self.config, retriever.encoder) if ask_gate and not dry_run else None,
            )
            if not dry_run:
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
                stat = (self.index_root / CURRENT).stat()
                signature = (stat.st_mtime_ns, stat.st_ino)
                if signature != seen:
                    seen = signature
                    try:
                        await self._flip(retriever)
                    except IndexFault as error:
                        log.error("the new snapshot is not served, the old one is: %s", error)
                    except Exception:
                        log.exception("the new snapshot is not served, the old one is")

    async def _flip(self, retriever: Retriever) -> None:
        """Opens the snapshot that `CURRENT` names, tries it, and serves it from then on."""
        if retriever.snapshot.is_current():
            return
        snapshot = await asyncio.to_thread(_open, self.index_root, retriever.encoder)
        retriever.snapshot = snapshot
        self._note(snapshot)

    def _note(self, snapshot: Snapshot) -> None:
        if not self.history or self.history[-1]["id"] != snapshot.id:
            self.history.append({"id": snapshot.id, "since": time.time(), "chunks": snapshot.chunk_count})
            del self.history[:-100]


def _open(root: Path, encoder: Encoder) -> Snapshot:
    # What is served is read once in full; files that it shares with the snapshot before were.
    snapshot = Snapshot.open(root, check="always")
    check_encoder(snapshot, encoder)
    # One search builds what a snapshot builds lazily, and shows that it can be searched at all.
    search(snapshot, encoder, ["warm-up"], k=1)
    return snapshot


def check_deployable(config: Config, model_folders: Mapping[str, Path]) -> None:
    """Refuses what would fail only after the engine has been loaded.

    Raises:
        UsageError: a deployed setup needs a model that is not there, or no setup is deployed.
        IndexFault: a deployed setup retrieves, and there is no index.
    """
    if not config.serve.setups:
        raise UsageError("serve.setups names no setup to deploy.")
    for name in config.serve.setups:
        if SETUPS[name].model not in model_folders:
            raise UsageError(
                f"Setup {name!r} needs the {SETUPS[name].model} model, which is not there: run `ragft finetune` and "
                "`ragft merge` first, or deploy other setups with serve.setups."
            )
    if any(SETUPS[name].retrieval for name in config.serve.setups):
        current_id(workspace_of(config) / "index")


async def load_vllm(config: Config, model_folders: Mapping[str, Path]) -> Loaded:
    """Opens the index and starts one vLLM engine per model that the deployed setups need.

    Args:
        model_folders: by `Setup.model`.
    """
    setups = [SETUPS[name] for name in config.serve.setups]
    names = list(dict.fromkeys(setup.model for setup in setups))
    engines: dict[str, VllmEngine] = {}
    # First, because it takes seconds: an index that this encoder did not build is refused before minutes of loading.
    retriever = None
    if any(setup.retrieval for setup in setups):
        retriever = await asyncio.to_thread(open_retriever, config)
    try:
        for name in names:
            engine = VllmEngine(
                model_folders[name],
                config.engine,
                served_name=name,
                seed=config.seed,
                max_queued=config.serve.max_queued,
                gpu_memory_share=0.9 / len(names),
            )
            await engine.start()
            engines[name] = engine
        chats = {name: await engine.openai_chat() for name, engine in engines.items()}
    except BaseException:
        for engine in engines.values():
            await engine.close()
        raise
    return Loaded(engines, chats, retriever)


def open_retriever(config: Config) -> Retriever:
    """The encoder of the configuration and the live snapshot of its workspace.

    Raises:
        IndexFault: there is no index, it is damaged, or another encoder built it.
    """
    encoder = load_encoder(config.index)
    reranker = None
    if config.index.rerank is not None:
        reranker = CrossEncoderReranker(resolve_reranker(config.index.rerank), dtype=encoder.dtype)
    return Retriever(_open(workspace_of(config) / "index", encoder), encoder, config, reranker)
