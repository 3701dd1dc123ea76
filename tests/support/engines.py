"""One real vLLM engine for the whole session: it takes the better part of a minute to start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ragft.config import EngineSection
from ragft.engine.vllm import VllmEngine
from ragft.models import resolve_model

MODEL = "smollm2-135m-instruct"
SETTINGS = EngineSection(max_model_len=1024, max_tokens=32, max_num_seqs=8, kv_cache_mib=128)

_T = TypeVar("_T")
_shared: EngineThread | None = None


class EngineThread:
    """An engine and the event loop that it lives in, in a thread of their own."""

    def __init__(self, engine: VllmEngine) -> None:
        self.engine = engine
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, _T], seconds: float = 240.0) -> _T:
        """Runs a coroutine in the engine's loop and returns its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def close(self) -> None:
        self.call(self.engine.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)


def start_engine(folder: Path | None = None, settings: EngineSection = SETTINGS, **more: Any) -> EngineThread:
    """A started engine over the packaged model, or the model in a folder; `more` is the engine's."""
    pytest.importorskip("vllm")
    thread = EngineThread(VllmEngine(folder or resolve_model(MODEL), settings, **more))
    thread.call(thread.engine.start(), 900.0)
    return thread


def shared_engine(config: pytest.Config) -> EngineThread:
    """The engine of this session, which ends with it."""
    global _shared
    if _shared is None:
        _shared = start_engine()
        config.add_cleanup(_shared.close)
    return _shared
