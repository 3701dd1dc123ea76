"""`/admin/documents`: documents put, deleted and asked for by id; only there with `serve.documents`, for admins."""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, delete, get, put

from index.store.snapshot import Snapshot
from ragft.errors import UsageError
from ragft.stages import uploads
from ragft.stages.application import Application
from ragft.stages.refresh_report import held_sentence
from ragft.stages.uploads import UnknownDocument, UnknownFormat, Upload
from serving.api.bodies import read_body
from serving.deployment import Deployed, Deployment
from serving.errors import ApiError

T = TypeVar("T")


class DocumentBody(msgspec.Struct, forbid_unknown_fields=True):
    """A document; exactly one of `text` and `base64` has its content.

    Attributes:
        format: its format, as a suffix without the dot: `md`, `pdf` and so on.
        refresh: whether the index is refreshed at once.
    """

    format: str = "md"
    text: str | None = None
    base64: str | None = None
    refresh: bool = False

    def data(self) -> bytes:
        """The content of the file."""
        if (self.text is None) == (self.base64 is None):
            raise ApiError(400, "Exactly one of 'text' and 'base64' must have the content.", "text")
        if self.text is not None:
            return self.text.encode()
        try:
            return base64.b64decode(self.base64 or "", validate=True)
        except (binascii.Error, ValueError):
            raise ApiError(400, "The field 'base64' is not base64.", "base64") from None


@put("/admin/documents/{id:str}", opt={"scope": "admin", "body": DocumentBody})
async def put_document(request: Request[Any, Any, Any], deployment: Deployed, id: str) -> Response[Any]:  # noqa: A002
    """Writes a document into the folder of documents, and with `refresh` into the index, too."""
    asked = await read_body(request, DocumentBody)
    _snapshot(deployment)
    upload, names = await _in_thread(lambda: uploads.put(_app(deployment), id, asked.format, asked.data()))
    if asked.refresh:
        await _refresh(deployment, names)
    return Response((await _described(deployment, [upload]))[0], status_code=200)


@get("/admin/documents", opt={"scope": "admin"})
async def list_documents(deployment: Deployed) -> dict[str, Any]:
    """The documents that came this way, each with its state."""
    found = await _in_thread(lambda: uploads.uploads(_app(deployment)))
    return {"object": "list", "data": await _described(deployment, found)}


@get("/admin/documents/{id:str}", opt={"scope": "admin"})
async def get_document(deployment: Deployed, id: str) -> dict[str, Any]:  # noqa: A002
    """One document's state: `indexed`, `waiting` for a refresh, or `skipped` with the reason."""
    found = await _in_thread(lambda: uploads.uploads(_app(deployment), id))
    return (await _described(deployment, found))[0]


@delete("/admin/documents/{id:str}", opt={"scope": "admin", "query": {"refresh": "boolean"}}, status_code=200)
async def delete_document(deployment: Deployed, id: str, refresh: bool = False) -> dict[str, Any]:  # noqa: A002
    """Deletes a document from the folder of documents, and with `refresh` from the index, too."""
    names = await _in_thread(lambda: uploads.delete(_app(deployment), id))
    if refresh:
        await _refresh(deployment, names)
    return {"id": id, "deleted": True}


ROUTES = (put_document, list_documents, get_document, delete_document)


def _app(deployment: Deployment) -> Application:
    """The application whose documents these are; refuses with 404 where they are not to be had this way."""
    if not deployment.app.config.serve.documents:  # another domain of the server has these routes
        raise ApiError(404, "Documents of this domain are not put over HTTP (serve.documents).", "domain")
    return deployment.app


async def _refresh(deployment: Deployment, names: list[str]) -> None:
    report = await deployment.refresh_index(told=names)
    if report.held:
        raise ApiError(422, held_sentence(report))


def _snapshot(deployment: Deployment) -> Snapshot:
    """The live snapshot; refuses with 404 where there is none."""
    retriever = deployment.ready().retriever
    if retriever is None:
        raise ApiError(404, "No deployed setup retrieves, so there is no index.")
    return retriever.snapshot


async def _described(deployment: Deployment, found: list[Upload]) -> list[dict[str, Any]]:
    snapshot = _snapshot(deployment)
    told = await asyncio.to_thread(uploads.states, deployment.app, snapshot, found) if found else []
    return [
        {
            "id": upload.id, "document": upload.document, "bytes": upload.size, "state": state.state,
            "reason": state.reason, "index_version": snapshot.id,
        }
        for upload, state in zip(found, told, strict=True)
    ]  # fmt: skip


async def _in_thread(work: Callable[[], T]) -> T:
    """The result of work on files, with its errors as a client is told them."""
    try:
        return await asyncio.to_thread(work)
    except UnknownDocument as error:
        raise ApiError(404, str(error), "id") from None
    except UnknownFormat as error:
        raise ApiError(400, str(error), "format") from None
    except UsageError as error:
        raise ApiError(400, str(error), "id") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ApiError(507, "The disk of the documents is full.") from error
