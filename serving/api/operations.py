"""`/admin/golden|queue|errors|evaluation`: how what serves is doing. Needs the admin scope, and changes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from litestar import MediaType, Request, Response, get

from index.errors import NoSnapshot
from index.store.filters import Labels
from index.store.snapshot import Snapshot
from ragft.errors import UsageError
from ragft.page import policy_of
from ragft.pipeline import Pipeline
from ragft.stages.latest_evaluation import Latest, latest_evaluation
from serving.deployment import Deployed, Deployment, Ready
from serving.domains import Served
from serving.errors import ApiError
from serving.security import caller_of
from serving.telemetry import Telemetry
from serving.telemetry.record import NONE


@get("/admin/golden", opt={"scope": "admin"})
async def golden(request: Request[Any, Any, Any], deployment: Deployed, pipeline: Ready) -> dict[str, Any]:
    """Where the sources of the golden questions rank in the live snapshot, and where they did in the one before."""
    if pipeline.retriever is None:
        raise ApiError(404, "No deployed setup retrieves, so there is no index to ask.")
    await _check_opens_all(caller_of(request).labels, deployment, pipeline, "Golden questions name documents")
    try:
        return asdict(await deployment.golden.look(pipeline.retriever))
    except UsageError as error:
        raise ApiError(404, str(error)[:500]) from None


@get("/admin/queue", opt={"scope": "admin"})
async def queue(request: Request[Any, Any, Any], deployment: Deployed) -> dict[str, Any]:
    """How many requests run and wait at this moment, and how many may."""
    config, telemetry = deployment.app.config, _telemetry(request)
    # With live adapters, all models are in one engine.
    live = config.serve.adapters == "live"
    found = telemetry.under_way.queue(
        deployment.domain, config.engine.max_num_seqs, lambda version: "" if live else version
    )
    return {**found, "max_running": config.engine.max_num_seqs, "max_queued": config.serve.max_queued}


@get("/admin/errors", opt={"scope": "admin"})
async def errors(request: Request[Any, Any, Any], deployment: Deployed, domains: Served) -> dict[str, Any]:
    """The last requests that went wrong, in memory alone, without keys and without what was asked."""
    opens_all = len(domains.opened_by(caller_of(request))) == len(domains.deployments)
    # Requests about no domain, such as those with a wrong key, concern the whole server.
    return {
        "object": "list",
        "data": _telemetry(request).errors.of(deployment.domain, *([NONE] if opens_all else [])),
    }


@get("/admin/evaluation", opt={"scope": "admin"})
async def evaluation(request: Request[Any, Any, Any], deployment: Deployed, pipeline: Ready) -> dict[str, Any]:
    """The latest evaluation of the workspace, and whether it is of the versions that serve."""
    latest = await _latest(deployment, pipeline, caller_of(request).labels)
    return {
        "evaluation": latest.artifact.fingerprint,
        "created": latest.artifact.manifest["created"],
        "of_what_serves": latest.serves,
        "sentence": latest.sentence,
        "setups": {
            name: {"model_version": model, "index_version": index} for name, (model, index) in latest.versions.items()
        },
        "figures": latest.artifact.figures,
    }


@get("/admin/evaluation/report", opt={"scope": "admin"}, media_type=MediaType.HTML)
async def report(request: Request[Any, Any, Any], deployment: Deployed, pipeline: Ready) -> Response[bytes]:
    """The report of the latest evaluation as a page in a sandbox, which reaches nothing of this server."""
    latest = await _latest(deployment, pipeline, caller_of(request).labels)
    try:
        content = await asyncio.to_thread((latest.artifact.folder / "report.html").read_bytes)
    except OSError:
        raise ApiError(404, "The latest evaluation has no report: run `ragft score` to write one.") from None
    headers = {
        # The sandbox takes its origin away, and with it the session and every other route.
        "content-security-policy": f"sandbox allow-scripts; {await asyncio.to_thread(_policy)}; frame-ancestors 'none'",
        "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store",
    }  # fmt: skip
    return Response(content, media_type=MediaType.HTML, headers=headers)


ROUTES = (golden, queue, errors, evaluation, report)


async def _check_opens_all(labels: Labels, deployment: Deployment, pipeline: Pipeline, what: str) -> None:
    """Refuses a caller from whom documents are hidden what would tell of these.

    Raises:
        ApiError: 403.
    """

    def hides() -> bool:
        try:
            # What was evaluated retrieved, even where nothing that serves does.
            snapshot = pipeline.retriever.snapshot if pipeline.retriever else Snapshot.open(deployment.app.index_root)
        except NoSnapshot:
            return False
        return snapshot.view(labels).count < snapshot.view(None).count

    if labels is not None and await asyncio.to_thread(hides):
        raise ApiError(403, f"{what}, and the labels of this API key do not open all of them.")


async def _latest(deployment: Deployment, pipeline: Pipeline, labels: Labels) -> Latest:
    """The latest evaluation.

    Raises:
        ApiError: 404: there is none; 403: it tells of documents that the caller's labels do not open.
    """
    await _check_opens_all(labels, deployment, pipeline, "An evaluation quotes documents")
    index = pipeline.retriever.index_version if pipeline.retriever is not None else None
    serving = {
        setup.name: (pipeline.engines[setup.model].version, index if setup.retrieval else None)
        for setup in deployment.setups
    }
    latest = await asyncio.to_thread(latest_evaluation, deployment.app, serving)
    if latest is None:
        raise ApiError(404, "This workspace has no evaluation yet: run `ragft evaluate`.")
    return latest


def _policy() -> str:
    """What the script of a report of this ragft may do; one of another ragft is shown without its script."""
    from ragft.evaluate.report.page import SCRIPT

    return policy_of(SCRIPT.read_text(encoding="utf-8"))


def _telemetry(request: Request[Any, Any, Any]) -> Telemetry:
    telemetry: Telemetry = request.app.state.telemetry
    return telemetry
