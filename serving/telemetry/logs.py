"""What the server's log says: a line for each request, and all else that is logged, as text or as JSON.

A line names the request, how it went, how long its stages took and which versions answered. What was asked and
answered is in it only with `serve.request_log: contents`; keys, headers and addresses never are.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from serving.telemetry.record import NONE, RequestRecord, current

log = logging.getLogger("ragft.serving.requests")

RequestLog = Literal["none", "summary", "contents"]
# Asked every few seconds, by monitors and by the operator's page.
_QUIET = frozenset({"/health/live", "/health/ready", "/metrics", "/admin/queue", "/admin/errors"})


def write(record: RequestRecord, contents: bool) -> None:
    """Logs a request that has ended; well-answered questions of a monitor are left out."""
    if log.isEnabledFor(logging.INFO) and not (record.route in _QUIET and record.status == 200):
        values = summary(record)
        if contents:
            values |= {"question": record.question, "answer": record.answer}
        log.info("%s", _sentence(record), extra={"values": values})


def summary(record: RequestRecord) -> dict[str, Any]:
    """What a log says of a request; what does not apply is left out."""
    cited, invalid = record.citations
    values = {
        "request_id": record.request_id,
        "method": record.method,
        "route": record.route,
        "domain": record.domain if record.domain != NONE else None,
        "setup": record.setup if record.setup != NONE else None,
        "status": record.status,
        "reason": record.reason or None,
        "interrupted": record.interrupted or None,
        "ms": {stage: round(spent * 1000, 2) for stage, spent in record.seconds.items()},
        "index_version": record.index_version,
        "model_version": record.model_version,
        "prompt_tokens": record.prompt_tokens or None,
        "answer_tokens": record.answer_tokens or None,
        "passages": record.passages or None,
        "citations": cited or None,
        "citations_invalid": invalid or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _sentence(record: RequestRecord) -> str:
    setup = f" {record.setup}" if record.setup != NONE else ""
    why = f" ({record.reason})" if record.reason else ""
    return (
        f"{record.method} {record.route}{setup}: {record.status}{why} "
        f"in {record.seconds['total'] * 1000:.0f} ms, request {record.request_id}"
    )


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger and message, and the request and the domain that it is about."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current().request_id:
            line["request_id"] = request_id
        if (domain := current().domain) != NONE:
            line["domain"] = domain
        line |= getattr(record, "values", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)  # in ASCII, which no terminal and no broken file name spoils


class TextLines(logging.Formatter):
    """For people. Contents, where they are asked for, follow on lines of their own."""

    def __init__(self, *, with_domains: bool = False) -> None:
        """`with_domains`: whether a line says which domain it is about."""
        super().__init__("%(asctime)s %(levelname)s %(about)s%(message)s")
        self._with_domains = with_domains

    def format(self, record: logging.LogRecord) -> str:
        domain = current().domain
        record.about = f"[{domain}] " if self._with_domains and domain != NONE else ""
        values = getattr(record, "values", {})
        contents = [f"  {name}: {values[name]!r}" for name in ("question", "answer") if name in values]
        return "\n".join([super().format(record), *contents])


class _Stderr(logging.Handler):
    """Writes to whatever stderr is at the moment: while an engine loads, its processes have the usual one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


@contextmanager
def logging_to_stderr(
    form: Literal["text", "json"], requests: RequestLog, *, with_domains: bool = False
) -> Iterator[None]:
    """Everything that is logged goes to stderr in this form, until the end; `with_domains` as for `TextLines`."""
    handler = _Stderr()
    handler.setFormatter(JsonLines() if form == "json" else TextLines(with_domains=with_domains))
    root, level = logging.getLogger(), log.level
    root.addHandler(handler)
    # Only this logger: of all libraries, information would drown what matters.
    log.setLevel(logging.WARNING if requests == "none" else logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        log.setLevel(level)
