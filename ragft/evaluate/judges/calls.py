"""Asks a judge each thing once: replies are kept in a file that outlives the process that wrote them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from index.durable import locked
from ragft.errors import RagftError
from ragft.evaluate.judges.endpoint import Endpoint, NotAccepted, NotAnswered, Reply, down
from ragft.evaluate.judges.rubric import Ask

PATIENCE = 8
"""Requests in a row, each already repeated, after which a judge counts as down."""


class Cache:
    """Replies by the content of what was asked, in a file of JSON lines that is only ever appended to."""

    def __init__(self, path: Path, file: BinaryIO, replies: dict[str, Reply]) -> None:
        self.path, self._file, self._replies = path, file, replies

    def get(self, key: str) -> Reply | None:
        return self._replies.get(key)

    def __len__(self) -> int:
        return len(self._replies)

    def keep(self, key: str, reply: Reply) -> None:
        """Keeps a reply; it is on disk when this returns."""
        line = json.dumps({"key": key, "reply": reply.text, "cut_off": reply.cut_off}, ensure_ascii=True)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._replies[key] = reply


@contextmanager
def opened_cache(path: Path) -> Iterator[Cache]:
    """The cache in a file; an incomplete last line, which a killed process left, is removed.

    Raises:
        RagftError: another process uses it, or a line of it is no reply.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(path.with_suffix(".lock"), remove=True), path.open("ab+") as file:
            yield Cache(path, file, _read(path, file))
    except BlockingIOError:
        raise RagftError(f"Another process is asking a judge and writes {path}: wait until it ends.") from None


def _read(path: Path, file: BinaryIO) -> dict[str, Reply]:
    file.seek(0)
    content = file.read()
    whole = content.rpartition(b"\n")[0]
    if len(whole) + 1 < len(content) or (content and not content.endswith(b"\n")):
        file.truncate(len(whole) + 1 if whole else 0)
    replies: dict[str, Reply] = {}
    for number, line in enumerate(whole.split(b"\n") if whole else (), start=1):
        try:
            values = json.loads(line)
            replies[str(values["key"])] = Reply(str(values["reply"]), bool(values["cut_off"]))
        except (ValueError, KeyError, TypeError):
            raise RagftError(f"{path}, line {number} is no reply of a judge: delete the line.") from None
    return replies


@dataclass
class _Fate:
    """How the requests fare: how many in a row got no answer, and what ended all of them."""

    unanswered: int = 0
    answered: bool = False
    end: RagftError | None = None
    failures: dict[str, str] = field(default_factory=dict)


def ask_all(
    asks: Mapping[str, Ask],
    endpoint: Endpoint,
    cache: Cache,
    *,
    concurrency: int,
    advance: Callable[[int, int, str], None],
) -> dict[str, str]:
    """Asks what the cache does not hold, and keeps each reply as it comes.

    Args:
        asks: by their keys.
        advance: called with (done, total, note).

    Returns:
        why there is no reply, by the keys of those that have none.

    Raises:
        RagftError: the judge is down, or refuses everything.
    """
    return asyncio.run(_ask_all(asks, endpoint, cache, concurrency, advance))


async def _ask_all(
    asks: Mapping[str, Ask],
    endpoint: Endpoint,
    cache: Cache,
    concurrency: int,
    advance: Callable[[int, int, str], None],
) -> dict[str, str]:
    waiting = [key for key in asks if cache.get(key) is None]
    total, done, fate = len(asks), len(asks) - len(waiting), _Fate()
    advance(done, total, "")

    async def one(key: str) -> None:
        try:
            cache.keep(key, await endpoint.ask(asks[key]))
        except NotAccepted as error:
            fate.failures[key], fate.answered, fate.unanswered = str(error), True, 0
        except NotAnswered as error:
            fate.failures[key], fate.unanswered = str(error), fate.unanswered + 1
            if not fate.answered or fate.unanswered >= PATIENCE:
                fate.end = down(endpoint.base_url, str(error), len(cache))
        except RagftError as error:
            fate.end = error
        else:
            fate.answered, fate.unanswered = True, 0

    async def worker(keys: Iterator[str]) -> None:
        nonlocal done
        for key in keys:
            if fate.end is not None:
                return
            await one(key)
            done += 1
            advance(done, total, "")

    async with endpoint:
        keys = iter(waiting)
        # The first request alone finds out whether anybody is there.
        if (first := next(keys, None)) is not None:
            await worker(iter([first]))
        await asyncio.gather(*(worker(keys) for _ in range(concurrency)))
    if fate.end is not None:
        raise fate.end
    return fate.failures
