"""Measures how long the stages of a search or a refresh take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("encode", "filter", "dense", "lexical", "fuse", "hits", "rerank", "expand")


class Timings:
    """Collects the milliseconds of each stage, for one search or refresh at a time.

    Attributes:
        milliseconds: by stage, in the order in which the stages first ended.
    """

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @property
    def seconds(self) -> dict[str, float]:
        """The same in seconds, rounded to a tenth of a millisecond."""
        return {stage: round(spent / 1000, 4) for stage, spent in self.milliseconds.items()}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the wall time of a block to a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + (time.perf_counter() - begin) * 1000
