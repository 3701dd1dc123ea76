"""`/health/*` and `/metrics`: how this process is. `live` and `ready` need no key, and say nothing but that."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, Response, get
from prometheus_client import CONTENT_TYPE_LATEST

from serving.domains import Served
from serving.errors import RETRY_AFTER
from serving.security import caller_of
from serving.telemetry import Telemetry


@get("/health/live", opt={"scope": "open"})
async def live() -> dict[str, str]:
    """200 as long as this process answers at all."""
    return {"status": "alive"}


@get("/health/ready", opt={"scope": "open"})
async def ready(domains: Served) -> Response[dict[str, Any]]:
    """200 when questions are answered; 503 while loading or draining, and when loading failed or an engine died."""
    status = await domains.status()
    return _health({"status": status}, status == "ready")


@get("/health/deep", opt={"scope": "metrics"})
async def deep(request: Request[Any, Any, Any], domains: Served) -> Response[dict[str, Any]]:
    """200 when every engine generated a token and the index was searched, each before a deadline; else 503."""
    domains.check_opens_all(caller_of(request))
    status = await domains.status()
    pipelines = {one: one.pipeline for one in domains.deployments if one.pipeline is not None}
    if status != "ready" or len(pipelines) < len(domains.deployments):
        return _health({"status": status}, False)
    looks = await asyncio.gather(*(one.deep_look.look(pipeline) for one, pipeline in pipelines.items()))
    well = all(look["ok"] for look in looks)
    found = looks[0]
    if len(looks) > 1:
        found = {"ok": well, "domains": {one.domain: look for one, look in zip(pipelines, looks, strict=True)}}
    return _health({"status": "ready" if well else "failing", **found}, well)


def _health(content: dict[str, Any], well: bool) -> Response[dict[str, Any]]:
    headers = {} if well else {"retry-after": str(RETRY_AFTER)}
    return Response(content, status_code=200 if well else 503, headers=headers)


@get("/metrics", opt={"scope": "metrics"})
async def metrics(request: Request[Any, Any, Any], domains: Served) -> Response[bytes]:
    """Everything that Prometheus may ask, vLLM's own metrics included, as text."""
    domains.check_opens_all(caller_of(request))
    telemetry: Telemetry = request.app.state.telemetry
    page = await asyncio.to_thread(telemetry.metrics.page)
    return Response(page, media_type=CONTENT_TYPE_LATEST)
