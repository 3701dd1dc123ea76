"""`/admin/*`: refresh the index under running traffic, and see which versions serve. Needs the admin scope."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
from litestar import Request, get, post

from serving.chat import decode_object
from serving.deployment import Deployment
from serving.errors import ApiError


class RefreshRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How to refresh; which folder is the configuration's business, never a request's."""

    dry_run: bool = False


@post("/admin/index/refresh", opt={"scope": "admin"}, status_code=200)
async def refresh_index(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Reads the configured documents anew and serves the result; answers what was done, or would be."""
    deployment: Deployment = request.app.state.deployment
    try:
        asked = msgspec.convert(decode_object(await request.body() or b"{}"), RefreshRequest)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"The body is not valid: {str(error)[:200]}.") from None
    report = await deployment.refresh_index(dry_run=asked.dry_run)
    plan = report.plan
    return {
        "index_version": report.snapshot_id,
        "published": report.published,
        "dry_run": asked.dry_run,
        "added": len(plan.added),
        "changed": len(plan.changed),
        "removed": len(plan.removed),
        "unchanged": len(plan.unchanged),
        "chunks_to_embed": plan.chunks_to_embed,
        "chunks_reused": plan.chunks_reused,
        "skipped": [asdict(skipped) for skipped in report.skipped],
    }


@get("/admin/versions", opt={"scope": "admin"})
async def versions(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """What serves now: setups, models, and the snapshots that were live since the start, the last one live."""
    deployment: Deployment = request.app.state.deployment
    pipeline, loaded = deployment.ready()
    return {
        "setups": [setup.name for setup in deployment.setups],
        "models": {name: engine.model_version for name, engine in pipeline.engines.items()},
        "index_version": loaded.retriever.index_version if loaded.retriever is not None else None,
        "index_history": deployment.history,
        "started": deployment.started,
        "ragft": _installed("ragft"),
    }


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
