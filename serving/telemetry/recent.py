"""What an operator sees of requests without a log: those under way, and the last ones that went wrong.

Errors are told in our own words, without what a client sent: a sentence loses whatever it quotes, and a sentence of an
engine's or another server's is not kept at all.
"""

from __future__ import annotations

import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from serving.errors import ApiError
from serving.telemetry.record import RequestRecord

KEPT = 50
"""Different errors of a domain that are kept; the oldest are forgotten first."""
_SENTENCE = 300
_QUOTED = re.compile(r"""(?<!\w)(['"`])(?:.*\1(?!\w)|.*)""", re.DOTALL)
_NUMBER = re.compile(r"-?\b(?=\w*\d)[\w.+-]*\w")
_FIELD = re.compile(r"[a-z_]+(\.[a-z_0-9]+)*")


@dataclass(frozen=True)
class Failed:
    """Requests that went wrong in the same way.

    Attributes:
        time: of the last one, in seconds since the epoch.
        request_id: of the last one.
        times: how many there were.
        status: the one that was sent; of an answer that failed after it had begun, 200.
        reason: as metrics count it.
    """

    time: float
    request_id: str
    times: int
    method: str
    route: str
    status: int
    reason: str
    sentence: str


class RecentErrors:
    """The last errors of each domain, in memory alone. Used from the event loop."""

    def __init__(self) -> None:
        self._kept: dict[str, OrderedDict[tuple[Any, ...], Failed]] = {}

    def note(self, record: RequestRecord, told: ApiError | None) -> None:
        """Notes a request that has ended, if it went wrong.

        Errors that are the same but for their time and for numbers, such as the id of the request, are one, so that a
        client who repeats itself hides no others.

        Args:
            told: what the client was told last; None where it was told no error, or nothing.
        """
        if record.status < 400 and not record.interrupted:
            return
        sentence = _sentence(record, told)
        kind = (record.method, record.route, record.status, record.reason)
        key = (*kind, _NUMBER.sub("0", sentence))
        kept = self._kept.setdefault(record.domain, OrderedDict())
        before = kept.pop(key, None)
        new = Failed(time.time(), record.request_id, 1, *kind, sentence)
        kept[key] = new if before is None else replace(new, times=before.times + 1)
        if len(kept) > KEPT:
            kept.popitem(last=False)

    def of(self, *domains: str) -> list[dict[str, Any]]:
        """The errors of these domains, the last one first."""
        found = [failed for domain in domains for failed in self._kept.get(domain, {}).values()]
        return [asdict(failed) for failed in sorted(found, key=lambda failed: -failed.time)][:KEPT]


def _sentence(record: RequestRecord, told: ApiError | None) -> str:
    if record.interrupted:
        return "The answer failed after it had begun; the log says why."
    if record.status == 499:
        return "The client was gone before the end."
    if told is None:
        return "The request was not done; the log says why."
    if not told.is_ours:
        return "The engine or a file refused the request; its words are not kept."
    return without_quotes(told.message, told.param)


def without_quotes(message: str, param: str | None = None) -> str:
    """A sentence without what it quotes, from the first mark to the last one of its kind; the field's name stays.

    >>> without_quotes("The model 'my secret' is not deployed; deployed: hybrid.")
    'The model … is not deployed; deployed: hybrid.'
    """
    named = repr(param) if param is not None and _FIELD.fullmatch(param) else None
    parts = message.split(named, 1) if named is not None else [message]
    return f"{named}".join(_QUOTED.sub("…", part) for part in parts)[:_SENTENCE]


class UnderWay:
    """The requests to /v1/ that have not ended. Used from the event loop."""

    def __init__(self) -> None:
        self._records: dict[int, RequestRecord] = {}

    def begin(self, record: RequestRecord) -> None:
        self._records[id(record)] = record

    def end(self, record: RequestRecord) -> None:
        self._records.pop(id(record), None)

    def queue(self, domain: str, max_num_seqs: int, engine_of: Callable[[str], str]) -> dict[str, Any]:
        """How many requests of a domain are where.

        An engine answers up to `max_num_seqs` at once, and what it was given beyond these waits.

        Args:
            engine_of: the engine that answers for a version of a model.
        """
        own = [record for record in self._records.values() if record.domain == domain]
        given = Counter(engine_of(record.model_version) for record in own if record.model_version is not None)
        running = sum(min(count, max_num_seqs) for count in given.values())
        now = time.perf_counter()
        return {
            "under_way": len(own),
            "searching": len(own) - sum(given.values()),
            "running": running,
            "waiting": sum(given.values()) - running,
            "oldest_seconds": round(max((now - record.begin for record in own), default=0.0), 3),
        }
