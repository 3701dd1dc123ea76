"""`/health/*` and `/metrics`: how this process is. `live` and `ready` need no key, and say nothing but that."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, Response, get
from prometheus_client import CONTENT_TYPE_LATEST

from serving.deployment import Deployed
from serving.errors import RETRY_AFTER
from serving.telemetry import Telemetry


@get("/health/live", opt={"scope": "open"})
async def live() -> dict[str, str]:
    """200 as long as this process answers at all."""
    return {"status": "alive"}


@get("/health/ready", opt={"scope": "open"})
async def ready(deployment: Deployed) -> Response[dict[str, Any]]:
    """200 when questions are answered; 503 while loading or draining, and when loading failed or an engine died."""
    status = await deployment.status()
    return _health({"status": status}, status == "ready")


@get("/health/deep", opt={"scope": "metrics"})
async def deep(deployment: Deployed) -> Response[dict[str, Any]]:
    """200 when every engine generated a token and the index was searched, each before a deadline; else 503."""
    status = await deployment.status()
    if status != "ready" or deployment.pipeline is None:
        return _health({"status": status}, False)
    found = await deployment.deep_look.look(deployment.pipeline)
    return _health({"status": "ready" if found["ok"] else "failing", **found}, found["ok"])


def _health(content: dict[str, Any], well: bool) -> Response[dict[str, Any]]:
    headers = {} if well else {"retry-after": str(RETRY_AFTER)}
    return Response(content, status_code=200 if well else 503, headers=headers)


@get("/metrics", opt={"scope": "metrics"})
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Everything that Prometheus may ask, vLLM's own metrics included, as text."""
    telemetry: Telemetry = request.app.state.telemetry
    page = await asyncio.to_thread(telemetry.metrics.page)
    return Response(page, media_type=CONTENT_TYPE_LATEST)
