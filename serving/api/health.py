"""`/health/*`: the only routes that need no key, and that say nothing but whether this process is well."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from serving.deployment import Deployment
from serving.errors import RETRY_AFTER


@get("/health/live", opt={"scope": "open"})
async def live() -> dict[str, str]:
    """200 as long as this process answers at all."""
    return {"status": "alive"}


@get("/health/ready", opt={"scope": "open"})
async def ready(request: Request[Any, Any, Any]) -> Response[dict[str, str]]:
    """200 when questions are answered; 503 while loading or draining, and when loading failed or an engine died."""
    deployment: Deployment = request.app.state.deployment
    status = await deployment.status()
    if status == "ready":
        return Response({"status": status}, status_code=200)
    return Response({"status": status}, status_code=503, headers={"retry-after": str(RETRY_AFTER)})
