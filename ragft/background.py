"""Writing behind the back of whoever asks: a thread that is given items one by one and writes them in groups.

No request waits for the disk. All that was put is written before `close` returns; a process that is killed loses what
it put within the last moment, about `PAUSE` and one group's writing.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger("ragft")

T = TypeVar("T")

MOST = 1000
"""Items of a group."""
PAUSE = 0.1
"""Seconds between two groups: waking up and forcing to disk for every single item would cost more than the rest."""


class GroupWriter(Generic[T]):
    """Writes items in groups, in the order in which they were put, in a thread of its own."""

    def __init__(self, write: Callable[[list[T]], None], name: str, room: int | None = None) -> None:
        """
        Args:
            write: writes a group; what it raises is logged, and the items of the group are gone.
            name: of the thread.
            room: how much may wait, as `put` counts it; None: any amount.
        """
        self._write, self._room = write, room
        self._waiting, self._closed = 0, False
        self._counting = threading.Lock()
        self._hurry = threading.Event()
        self._items: queue.SimpleQueue[tuple[T, int] | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T, size: int = 1) -> bool:
        """Has an item written soon; returns at once, and whether there was room for it, which a closed one has not."""
        with self._counting:
            if self._closed or (self._room is not None and self._waiting + size > self._room):
                return False
            self._waiting += size
            self._items.put((item, size))
        return True

    def flush(self) -> None:
        """Returns when all that was put so far is written."""
        done = threading.Event()
        with self._counting:
            if is_open := not self._closed:
                self._items.put(done)
        self._hurry.set()
        if is_open:
            done.wait()
        else:
            self._thread.join()

    def close(self) -> None:
        """Writes what is left and ends; closing it twice does nothing."""
        with self._counting:
            if not self._closed:
                self._closed = True
                self._items.put(None)  # the last one: nobody puts anything behind it
        self._hurry.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            group = [self._items.get()]
            with contextlib.suppress(queue.Empty):
                while len(group) < MOST:
                    group.append(self._items.get_nowait())
            items = [one for one in group if isinstance(one, tuple)]
            if items:
                try:
                    self._write([item for item, _ in items])
                except Exception:
                    log.exception("%s: %d items are not written", self._thread.name, len(items))
                with self._counting:
                    self._waiting -= sum(size for _, size in items)
            for one in group:
                if isinstance(one, threading.Event):
                    one.set()
                elif one is None:
                    return
            self._hurry.wait(PAUSE)
            self._hurry.clear()
