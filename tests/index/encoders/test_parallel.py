"""The pool of workers with one thread each: order, laziness, and what it leaves of the caller's threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

from index.encoders.parallel import OneThreadWorkers


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def where(_: int) -> tuple[bool, int]:
    """Whether this is the calling thread, and how many threads torch computes with here."""
    return threading.current_thread() is threading.main_thread(), torch.get_num_threads()


@pytest.mark.usefixtures("two_threads")
def test_workers_compute_with_one_thread_each_and_the_caller_keeps_its_own() -> None:
    with closing(OneThreadWorkers(3)) as workers:
        assert workers.map(where, range(5)) == [(False, 1)] * 5
        assert workers.map(where, range(1)) == [(False, 1)]
        fresh: list[int] = []
        thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    assert (torch.get_num_threads(), fresh) == (2, [2])


@pytest.mark.usefixtures("two_threads")
def test_worker_that_computes_late_still_uses_one_thread() -> None:
    both = threading.Barrier(2)

    def late(number: int) -> int:
        both.wait(60)
        return torch.get_num_threads() if number else 0

    with closing(OneThreadWorkers(2)) as workers:
        assert workers.map(late, [0, 0]) == [0, 0]
        assert workers.map(late, [1, 1]) == [1, 1]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("count", "items"), [(2, 1), (1, 5), (0, 5)])
def test_too_few_items_or_workers_are_left_to_the_calling_thread(count: int, items: int) -> None:
    with closing(OneThreadWorkers(count, min_parallel=2)) as workers:
        assert workers.map(where, range(items)) == [(True, 2)] * items


def test_results_come_in_order_and_as_soon_as_they_are_there() -> None:
    last = threading.Event()

    def work(number: int) -> int:
        if number == 2:
            assert last.wait(60)
        return number

    with closing(OneThreadWorkers(2)) as workers:
        results = workers.imap(work, range(4))
        assert [next(results), next(results)] == [0, 1]
        last.set()
        assert list(results) == [2, 3]


def test_first_error_is_raised() -> None:
    with closing(OneThreadWorkers(2)) as workers, pytest.raises(ZeroDivisionError):
        workers.map(lambda number: 1 // number, [1, 0, 2])
