"""Requests that take part in an experiment: their arm, and the shadows that answer the same beside it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import Any

from litestar import Request

from index.store.filters import Labels
from serving.api.chat_request import Asked
from serving.api.exchange import prepare
from serving.deployment import Deployment
from serving.errors import as_api_error, request_id_of
from serving.security import caller_of
from serving.split import Assignment
from serving.telemetry import Telemetry
from serving.telemetry.record import RequestRecord, current, recorded

_OF_STREAMS = frozenset({"stream", "stream_options"})


def assigned(request: Request[Any, Any, Any], deployment: Deployment, asked: Asked) -> Asked:
    """A request with the setup of its arm; one that does not take part stays as it is.

    Raises:
        ApiError: 503: the models are not there yet.
    """
    split = deployment.split
    if split is None or asked.setup is not split.model:
        return asked
    caller = caller_of(request)
    shown = split.assign(deployment.ready(), asked, caller)
    beside = tuple(
        partial(
            _answer, deployment, request.app.state.telemetry, request_id_of(request), caller.labels,
            replace(asked, setup=shadow.setup, assignment=shadow), shadow,
        )
        for shadow in split.beside(shown)
    )  # fmt: skip
    shown = replace(shown, shadows=beside)
    current().assignment = shown
    return replace(asked, setup=shown.setup, assignment=shown)


async def _answer(
    deployment: Deployment, telemetry: Telemetry, request_id: str, labels: Labels, asked: Asked, shadow: Assignment
) -> None:
    """Answers a request for nobody, and records what became of that; a shadow that finds no room is dropped."""
    split = deployment.split
    if split is None:
        return
    record = RequestRecord(request_id, "", assignment=shadow)
    options = {name: value for name, value in asked.options.items() if name not in _OF_STREAMS}
    with recorded(record):
        try:
            exchange, engine, engine_request = await prepare(
                telemetry.pipeline(deployment), replace(asked, options=options), labels, deployment.grounder,
                request_id, record.begin,
            )  # fmt: skip
            completion = await engine.chat(engine_request)
            exchange.begun(engine)
            record.status, record.seconds["total"] = 200, time.perf_counter() - record.begin
            # For what it notes of the answer; nobody waits for it, so that the event loop need not do it.
            await asyncio.to_thread(exchange.provenance, record.answer or completion.text)
        except Exception as error:
            record.status, record.seconds["total"] = as_api_error(error, request_id).status, 0.0
        if record.status == 503:
            split.shadows.dropped += 1
        else:
            split.ended(record)
