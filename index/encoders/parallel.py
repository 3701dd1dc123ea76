"""Several batches at once, each on one thread, instead of several threads in each product.

The products of a small model are over before the threads of one product find together (20 times slower on two busy
cores), and what stands between the products (norms, activations, tokenisation) is not parallel at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class OneThreadWorkers:
    """A pool of workers that compute with one of torch's threads each; safe to call from several threads."""

    def __init__(self, count: int, min_parallel: int = 1) -> None:
        """With fewer items or fewer workers (`count`) than `min_parallel`, the calling thread uses all its threads."""
        self.count = count
        self._min_parallel = min_parallel
        in_parallel = count >= min_parallel
        self._pool = ThreadPoolExecutor(count, "one-thread", _take_one_thread) if in_parallel else None

    def map(self, work: Callable[[_In], _Out], items: Sequence[_In]) -> list[_Out]:
        """`work` of every item, in the order of the items; raises the first error."""
        return list(self.imap(work, items))

    def imap(self, work: Callable[[_In], _Out], items: Sequence[_In]) -> Iterator[_Out]:
        """As `map`, but each result is handed out as soon as it and those before it are there."""
        import torch

        if self._pool is None or len(items) < self._min_parallel:
            yield from map(work, items)
            return
        try:
            yield from self._pool.map(work, items)
        finally:
            # A worker's choice of one thread reaches a setting of MKL that the whole process shares.
            torch.set_num_threads(torch.get_num_threads())

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


def _take_one_thread() -> None:
    import torch

    # A thread's first computation takes over what the process has set by then, so it must have been before.
    torch.get_num_threads()
    torch.set_num_threads(1)
