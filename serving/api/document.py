"""`/v1/document`: a document as the index read it, chunk by chunk, for callers who may see it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pyarrow.compute as pc
from litestar import Request, get

from index.store.filters import Labels
from index.store.snapshot import Snapshot
from serving.deployment import Ready
from serving.errors import ApiError
from serving.security import caller_of


@get("/v1/document", opt={"scope": "retrieve", "query": {"id": "string"}})
async def document(request: Request[Any, Any, Any], pipeline: Ready, id: str) -> dict[str, Any]:  # noqa: A002
    """The chunks of a document in their order, as far as the caller may see them."""
    if pipeline.retriever is None:
        raise ApiError(404, "No deployed setup retrieves, so there are no documents.")
    snapshot = pipeline.retriever.snapshot
    chunks = await asyncio.to_thread(_chunks, snapshot, id, caller_of(request).labels)
    if not chunks:
        # The same for what is not there and what is not for this caller.
        raise ApiError(404, "There is no such document.", "id")
    return {"id": id, "index_version": snapshot.id, "title": chunks[0]["title"], "chunks": chunks}


def _chunks(snapshot: Snapshot, name: str, labels: Labels) -> list[dict[str, Any]]:
    view, found = snapshot.view(labels), []
    for segment, mask in zip(snapshot.segments, view.masks, strict=True):
        own = pc.equal(segment.table["document_id"], name).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(own & (segment.live if mask is None else mask)):
            chunk = segment.reader.chunk(int(row))
            found.append(
                {
                    "start": chunk.start, "end": chunk.end, "title": chunk.title, "page": chunk.page,
                    "heading_path": list(chunk.heading_path), "text": chunk.text,
                }
            )  # fmt: skip
    return sorted(found, key=lambda one: (one["start"], one["end"]))
