"""LoRA adapters that an engine applies while it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM makes room for (its `max_lora_rank`)."""


@dataclass(frozen=True)
class Adapter:
    """A plain LoRA adapter in PEFT's format.

    Attributes:
        version: identifies base and adapter together by their content, 16 hex digits.
        rank: the largest of its layers; at most the last one of `RANKS`.
    """

    folder: Path
    version: str
    rank: int

    @property
    def room(self) -> int:
        """The smallest of `RANKS` that it fits in."""
        return next(rank for rank in RANKS if rank >= self.rank)
