"""`/admin/drift`: whether what is asked now still is what was evaluated. Needs the admin scope."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

from litestar import Request, get

from index.errors import IndexFault
from ragft.drift.words import to_json
from ragft.errors import RagftError
from ragft.stages.drift import drift
from serving.deployment import Deployed, Deployment, Ready
from serving.errors import ApiError

log = logging.getLogger("ragft.serving")

DAYS = 7.0
MOST_DAYS = 365.0
KEPT_SECONDS = 300.0
"""For which an answer is given again: it takes seconds of the processor that questions are answered on."""


@get("/admin/drift", opt={"scope": "admin", "query": {"days": "number"}})
async def show_drift(request: Request[Any, Any, Any], deployment: Deployed, pipeline: Ready) -> dict[str, Any]:
    """Recent questions beside the evaluation's and those of the weeks before, and what to do."""
    # Shielded with its turn: who does not wait for it must not leave a thread behind while the next one begins.
    return await asyncio.shield(asyncio.create_task(_told(deployment, _days(request))))


async def _told(deployment: Deployment, days: float) -> dict[str, Any]:
    # One at a time, and not beside other texts that are embedded: searches must find a free thread.
    async with deployment.shared.embedding_turn:
        kept = deployment.drift_kept.get(days)
        if kept is None or time.monotonic() - kept[0] > KEPT_SECONDS:
            found = await _found(deployment, days)
            deployment.drift_kept = {days: (time.monotonic(), found)}
            return found
        return kept[1]


async def _found(deployment: Deployment, days: float) -> dict[str, Any]:
    await asyncio.to_thread(deployment.feedback.asked.flush)
    work = partial(drift, deployment.app, days, retriever=deployment.ready().retriever)
    try:
        return {**to_json(await asyncio.to_thread(work)), "computed": time.time()}
    except (RagftError, IndexFault) as error:
        # The page of an admin; but the message may name paths of the server.
        log.warning("drift cannot be told: %s", error)
        raise ApiError(422, "Drift cannot be told; the log says why.") from error


def _days(request: Request[Any, Any, Any]) -> float:
    given = request.query_params.get("days", str(DAYS))
    try:
        days = float(given)
    except ValueError:
        days = 0.0
    if not 0.01 <= days <= MOST_DAYS:
        raise ApiError(400, f"`days` is a number from 0.01 to {MOST_DAYS:.0f}.", "days")
    return days
