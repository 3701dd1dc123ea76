"""What is known of one request. The layers that it passes fill it in; metrics, logs and traces are made of it.

It travels in a context variable, which tasks and threads that a route starts inherit, so that no signature names it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ragft.citations import parse_citations

if TYPE_CHECKING:
    from serving.split import Assignment
    from serving.telemetry.tracing import Tracing

NONE = "none"
"""The setup of requests that no setup answers, and the domain of those about none."""
OTHER = "other"
"""The route of requests to none that there is, whatever they ask for."""


@dataclass
class RequestRecord:
    """One request, from its arrival to its last byte.

    Attributes:
        route: the template of its path, or `OTHER`.
        status: 499 if the client was gone before the end, whatever had been sent; 0 until it is known.
        reason: why it was refused or failed, where its status alone does not say.
        seconds: of each stage that there was: `search`, `condense` (a part of it: the model rewrites the question),
            `prompt`, `queue`, `first_token` (since the arrival), `generate`, `total`.
        passages: number of passages in the prompt.
        question, answer: texts; only `serve.request_log: contents` ever shows them.
        grounded: whether the answer stands on what it cites, where that was looked up; see `serve.grounding`.
        declared_refusal: whether the question was refused before anything was generated.
        assignment: the part of the request in an experiment; None where it has none.
        interrupted: whether the answer failed after it had begun, when its status was sent already.
        span: of the whole request, with the context that spans within it belong to; None: nothing is traced.
    """

    request_id: str
    method: str
    begin: float = field(default_factory=time.perf_counter)
    route: str = OTHER
    status: int = 0
    reason: str = ""
    domain: str = NONE
    setup: str = NONE
    seconds: dict[str, float] = field(default_factory=dict)
    index_version: str | None = None
    model_version: str | None = None
    passages: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    question: str = ""
    answer: str | None = None
    grounded: str | None = None
    declared_refusal: bool = False
    assignment: Assignment | None = None
    interrupted: bool = False
    span: Any = None
    context: Any = None
    tracing: Tracing | None = None

    @cached_property
    def citations(self) -> tuple[int, int]:
        """How many passages the answer names, and how many of these there are not. Ask when the request has ended."""
        numbers = parse_citations(self.answer) if self.answer else ()
        return len(numbers), sum(not 1 <= number <= self.passages for number in numbers)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Any]:
        """Takes the time of a stage, as a span of its own where requests are traced; gives that span or None."""
        begin = time.perf_counter()
        span = self.tracing.start(name, self.context) if self.tracing is not None else None
        try:
            yield span
        except Exception as error:
            if span is not None and self.tracing is not None:
                self.tracing.fail(span, type(error).__name__)
            raise
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
            if span is not None:
                span.end()


_current: ContextVar[RequestRecord | None] = ContextVar("request_record", default=None)


def current() -> RequestRecord:
    """The record of the request that this code runs for; outside of one, a record that nobody reads, without an id."""
    return _current.get() or RequestRecord("", "")


@contextlib.contextmanager
def recorded(record: RequestRecord) -> Iterator[None]:
    """Code inside, and the tasks and threads that it starts, run for this request."""
    token = _current.set(record)
    try:
        yield
    finally:
        _current.reset(token)
