"""What the deployments of one server have in common: an engine over the same base model, an encoder, one rebuilding.

Tuned models are never shared: each is exchanged by its own domain alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ragft.engine.base import Engine
from ragft.setups import SETUPS
from ragft.stages.application import Application
from ragft.stages.split import arms, own_models
from serving.supervision import Supervisor

if TYPE_CHECKING:
    from index.encoders.encoder import Encoder
    from index.encoders.reranker import Reranker


class Shared:
    """What the deployments of one server have in common.

    Attributes:
        several: whether the server has more than one domain.
        supervisor: rebuilds their engines; whoever asks it to holds `rebuilding`.
        rebuilding: held by the one deployment that has a dead engine rebuilt, so that an engine of several is once.
        embedding_turn: held while texts are embedded for a client: one at a time, so that searches find a free thread.
    """

    def __init__(self, apps: Sequence[Application]) -> None:
        self._apps = apps
        self.several = len(apps) > 1
        self.supervisor = Supervisor(apps[0].config.serve.engine_restarts)
        self.rebuilding = asyncio.Lock()
        self.embedding_turn = asyncio.Lock()
        self._engines: dict[str, Engine] = {}  # as they were opened; another may have taken the place of a tuned one
        self._starting = asyncio.Lock()
        self._encoders: dict[str, Encoder] = {}
        self._rerankers: dict[str, Reranker | None] = {}
        self._lending = threading.Lock()

    def engine_count(self) -> int:
        """How many engines serve side by side; all models of an application with live adapters are in one."""
        lively = sum(app.config.serve.adapters == "live" for app in self._apps)
        merged = [app for app in self._apps if app.config.serve.adapters == "merged"]
        needed = [(app, {SETUPS[name].model for name in app.config.serve.setups}) for app in merged]
        bases = {_base_of(app) for app, models in needed if "base" in models}
        own = sum(len(own_models(app, arms(app).values())) for app in merged if app.config.serve.split.arms)
        return lively + len(bases) + sum("tuned" in models for _, models in needed) + own

    async def engine(self, app: Application, model: str, open_one: Callable[[], Engine]) -> Engine:
        """The started engine over one of an application's models, opened by the first that asks for one like it."""
        key = _base_of(app) if model == "base" else f"{model} of {app.config.name}"
        async with self._starting:
            if key not in self._engines:
                engine = open_one()
                try:
                    await engine.start()
                except BaseException:
                    await engine.close()
                    raise
                self._engines[key] = engine
            return self._engines[key]

    def lend_encoder(self, app: Application) -> None:
        """Gives an application the encoder and the reranker of an earlier one that runs the same. Takes seconds."""
        settings = app.config.index.encoder.model_dump_json(exclude={"model", "training"})
        with self._lending:
            key = f"{app.encoder_folder.resolve()} {settings}"
            if key not in self._encoders:
                self._encoders[key] = app.encoder
            app.encoder = self._encoders[key]
            if app.reranker_folder is not None:
                key = f"{app.reranker_folder.resolve()} {app.encoder.dtype}"
                if key not in self._rerankers:
                    self._rerankers[key] = app.reranker
                app.reranker = self._rerankers[key]

    async def close(self) -> None:
        """Closes every engine that was opened here."""
        for engine in self._engines.values():
            await engine.close()


def _base_of(app: Application) -> str:
    """All that decides the engine over the base model of an application."""
    # `max_tokens` is for each request to say.
    settings = app.config.engine.model_dump_json(exclude={"max_tokens"})
    return f"{app.base.resolve()} {settings} {app.config.seed} {app.config.prompt.template_options}"
