"""Several micro-batches at once, each on one thread, instead of several threads in each product.

The products of a small model are over before the threads of one product find together, and what stands between the
products (norms, activations, attention row by row) is not parallel at all. Results are combined in a fixed order, so
the same number of workers gives the same bits.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from ragft.prompts import Rendered

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Workers:
    """A pool of threads that compute with one thread each."""

    def __init__(self, count: int) -> None:
        """
        Args:
            count: how many; 1 computes in the calling thread.
        """
        self.count = count
        self._pool = ThreadPoolExecutor(count, "trainer", torch.set_num_threads, (1,)) if count > 1 else None

    def map(self, work: Callable[[_In], _Out], items: Sequence[_In]) -> list[_Out]:
        """`work` of every item, in the order of the items; the first error is raised."""
        if self._pool is None or len(items) < 2:
            return [work(item) for item in items]
        results = list(self._pool.map(work, items))
        # A worker's choice of one thread reaches a setting of MKL that the whole process shares.
        torch.set_num_threads(torch.get_num_threads())
        return results

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def shares(rows: Sequence[Rendered], count: int) -> list[list[Rendered]]:
    """Rows dealt to at most `count` workers, the longest first and each to the one with the fewest tokens so far."""
    dealt: list[list[Rendered]] = [[] for _ in range(count)]
    tokens = [0] * count
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        least = tokens.index(min(tokens))
        dealt[least].append(row)
        tokens[least] += len(row.ids)
    return [share for share in dealt if share]


def return_free_memory() -> None:
    """Gives free memory back to the operating system, where the C library is one that can.

    glibc keeps an arena for each thread, and tensors of ever other sizes leave holes in it: resident memory of a run of
    288 steps had doubled by its end.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
