"""`/health/*`: the only routes that need no key, and that say nothing but whether this process is well."""

from __future__ import annotations

from litestar import Response, get

from serving.deployment import Deployed
from serving.errors import RETRY_AFTER


@get("/health/live", opt={"scope": "open"})
async def live() -> dict[str, str]:
    """200 as long as this process answers at all."""
    return {"status": "alive"}


@get("/health/ready", opt={"scope": "open"})
async def ready(deployment: Deployed) -> Response[dict[str, str]]:
    """200 when questions are answered; 503 while loading or draining, and when loading failed or an engine died."""
    status = await deployment.status()
    if status == "ready":
        return Response({"status": status}, status_code=200)
    return Response({"status": status}, status_code=503, headers={"retry-after": str(RETRY_AFTER)})
