"""`/admin/*`: refresh the index under running traffic, and see which versions serve. Needs the admin scope."""

from __future__ import annotations

import asyncio
import unicodedata
from typing import Any

import msgspec
from litestar import Request, Response, get, post

from index.documents.document import Skipped
from index.errors import NoSnapshot
from index.store.snapshot import list_snapshots
from ragft.artifacts import Artifact, package_versions
from ragft.errors import RagftError
from ragft.stages.application import Application
from ragft.stages.live import version_of
from ragft.stages.refresh_report import counts_of, held_sentence, outcome_of
from serving.api.bodies import read_body
from serving.deployment import Deployed, Ready
from serving.errors import ApiError


class RefreshRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How to refresh; the folder comes from the configuration, never from a request.

    Attributes:
        documents: paths below it of the files or folders that changed, came or went: nothing else is looked at. They
            are compared with the names of the files that are there. None: the changes are found.
    """

    documents: list[str] | None = None
    dry_run: bool = False
    gate: bool = True
    allow_removal: bool = False


@post("/admin/index/refresh", opt={"scope": "admin", "body": RefreshRequest, "may_be_empty": True}, status_code=200)
async def refresh_index(request: Request[Any, Any, Any], deployment: Deployed) -> Response[dict[str, Any]]:
    """Refreshes the index from the configured documents and serves it; answers what was done, or would be.

    Where the gate holds the new snapshot back, the answer is 422 with the error and all that is answered otherwise.
    """
    asked = await read_body(request, RefreshRequest, empty=b"{}")
    told = None if asked.documents is None else [name.removesuffix("/") for name in asked.documents]
    for name in told or ():
        if not _is_name(name):
            raise ApiError(400, f"{name[:100]!r} is not the path of a document below its folder.", "documents")
    report = await deployment.refresh_index(
        told=told, dry_run=asked.dry_run, ask_gate=asked.gate, allow_removal=asked.allow_removal
    )
    values = {
        "index_version": report.snapshot_id,
        "dry_run": asked.dry_run,
        **outcome_of(report),
        **counts_of(report),
        "skipped": [_reason(item) for item in report.skipped],
        "kept": [_reason(item) for item in report.kept],
    }
    if report.held:
        held = ApiError(422, held_sentence(report))
        return Response({**held.body(), **values}, status_code=held.status)
    return Response(values)


def _is_name(name: str) -> bool:
    """Whether a text is the plain path of something below a folder, such as `guides/setup.md`."""
    has_control = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
    return not has_control and all(part not in ("", ".", "..") for part in name.split("/"))


def _reason(item: Skipped) -> dict[str, str]:
    return {"path": item.path, "reason": item.reason}


class DeployRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which model to deploy: its fingerprint, or the beginning of it."""

    model: str


class RollbackRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which snapshot to go back to; None: the one before the live one."""

    snapshot: str | None = None


@post("/admin/models/deploy", opt={"scope": "admin", "body": DeployRequest}, status_code=200)
async def deploy_model(request: Request[Any, Any, Any], deployment: Deployed) -> dict[str, Any]:
    """Serves a model of the workspace from now on; no request fails of it."""
    asked, registry = await read_body(request, DeployRequest), deployment.app.registry
    return await deployment.models.deploy(deployment.ready(), lambda: registry.named(asked.model))


@post("/admin/models/rollback", opt={"scope": "admin"}, status_code=200)
async def roll_back_model(deployment: Deployed) -> dict[str, Any]:
    """Serves the model that served before."""
    return await deployment.models.deploy(deployment.ready(), deployment.app.registry.before)


@post("/admin/index/rollback", opt={"scope": "admin", "body": RollbackRequest, "may_be_empty": True}, status_code=200)
async def roll_back_index(request: Request[Any, Any, Any], deployment: Deployed) -> dict[str, Any]:
    """Serves an earlier snapshot of the index."""
    asked = await read_body(request, RollbackRequest, empty=b"{}")
    before, now = await deployment.roll_back_index(asked.snapshot)
    return {"index_version": now, "before": before}


def _version(app: Application, model: Artifact) -> str | None:
    """The version that answers would have; None where the model cannot be served with `serve.adapters: live`."""
    try:
        return version_of(app, model.folder)
    except RagftError:
        return None


@get("/admin/versions", opt={"scope": "admin"})
async def versions(deployment: Deployed, pipeline: Ready) -> dict[str, Any]:
    """What serves now, what served since the start (the last one serves), and what there is to deploy."""
    models = await asyncio.to_thread(deployment.app.registry.models)
    try:
        snapshots = await asyncio.to_thread(list_snapshots, deployment.app.index_root)
    except NoSnapshot:
        snapshots = []
    return {
        "setups": [setup.name for setup in deployment.setups],
        "models": {name: engine.version for name, engine in pipeline.engines.items()},
        "index_version": pipeline.retriever.index_version if pipeline.retriever is not None else None,
        "index_history": deployment.history,
        "model_history": deployment.models.history,
        "available": {
            "models": [
                {
                    "model": model.fingerprint,
                    "created": model.manifest["created"],
                    "version": await asyncio.to_thread(_version, deployment.app, model),
                }
                for model in models
            ],
            "snapshots": [{"id": one.id, "created": one.created} for one in snapshots],
        },
        "started": deployment.started,
        "ragft": package_versions(["ragft"]).get("ragft"),
    }
