"""The table of engines: what `engine.backend` may name, and the class that each is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backend:
    """One kind of engine.

    Attributes:
        module: where it is; imported when an engine of this kind is opened.
        engine: the class there; it is made with the arguments of `ragft.engine.open`.
    """

    name: str
    title: str
    module: str
    engine: str


_TABLE = (
    Backend("vllm", "vLLM in this process", "ragft.engine.vllm", "VllmEngine"),
    Backend("remote", "the servers of `engine.servers`", "ragft.engine.pool", "PoolEngine"),
)
BACKENDS = {backend.name: backend for backend in _TABLE}
