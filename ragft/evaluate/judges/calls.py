"""Asks a judge each thing once: replies are kept in a file that outlives the process that wrote them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ragft.errors import RagftError
from ragft.evaluate.judges.endpoint import Endpoint, NotAccepted, NotAnswered, Reply, down
from ragft.evaluate.judges.rubric import Ask
from ragft.kept import Kept, kept_in

PATIENCE = 8
"""Requests in a row, each already repeated, after which a judge counts as down."""


class Cache:
    """Replies by the content of what was asked, in a file that outlives the process."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def get(self, key: str) -> Reply | None:
        values = self._kept.get(key)
        return None if values is None else Reply(str(values["reply"]), bool(values["cut_off"]))

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: str, reply: Reply) -> None:
        """Keeps a reply; it is on disk when this returns."""
        self._kept.keep(key, {"reply": reply.text, "cut_off": reply.cut_off})


@contextmanager
def opened_cache(path: Path) -> Iterator[Cache]:
    """The cache in a file; raises as `ragft.kept.kept_in`."""
    keys = ("reply", "cut_off")
    with kept_in(path, busy="asking a judge", what="reply of a judge", keys=keys) as kept:
        yield Cache(kept)


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
