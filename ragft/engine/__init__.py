"""Engines generate text: `base` says what one is, `backends` lists them, and `open` is where all of them are made."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.engine.backends import BACKENDS
from ragft.templates import TemplateOptions

if TYPE_CHECKING:
    from ragft.config import EngineSection
    from ragft.engine.adapter import Adapter
    from ragft.engine.base import Engine
    from ragft.engine.live import Find


def open(  # noqa: A001
    folder: Path, settings: EngineSection, *, seed: int = 0, max_queued: int | None = None,
    gpu_memory_share: float = 0.9, template: TemplateOptions = TemplateOptions(), model: str = "tuned",  # noqa: B008
    forked: bool = False,
) -> Engine:  # fmt: skip
    """The engine over a model's folder, not started yet.

    Args:
        folder: the model, as safetensors.
        settings: which engine, and how it runs.
        seed: seeds sampling where a request brings no seed.
        max_queued: requests that may wait before new ones are refused; None: any number.
        gpu_memory_share: share of a GPU's memory for weights and attention cache; ignored on a CPU.
        template: what the model's chat template is told besides the conversation.
        model: `base` or `tuned`, for engines that are elsewhere.
        forked: the engine's process may be forked from this one, which saves it from importing everything once more.
            Only where no other thread runs in this process until the engine has started (idle ones do no harm), and
            for few answers: OpenMP's threads are not bound to cores. Ignored on a GPU.
    """
    backend = BACKENDS[settings.backend]
    make = getattr(importlib.import_module(backend.module), backend.engine)
    engine: Engine = make(
        folder, settings, seed=seed, max_queued=max_queued, gpu_memory_share=gpu_memory_share, template=template,
        model=model, forked=forked,
    )  # fmt: skip
    return engine


def open_live(
    base: Path, adapters: Mapping[str, Adapter | None], settings: EngineSection, find: Find, **others: Any
) -> dict[str, Engine]:
    """Engines that share one vLLM engine over a base model, not started yet.

    Args:
        base: the model, as safetensors.
        adapters: of each model by name; None: the base model alone.
        find: see `ragft.engine.live.LiveEngine`.
        others: of `open`.
    """
    from ragft.engine.live import LiveEngine, Shared
    from ragft.engine.vllm import VllmEngine

    rank = max((adapter.room for adapter in adapters.values() if adapter is not None), default=None)
    shared = Shared(VllmEngine(base, settings, adapter_rank=rank, **others))
    return {name: LiveEngine(shared, adapter, find) for name, adapter in adapters.items()}
