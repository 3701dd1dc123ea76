"""`ragft serve --mcp`: the index and the setups as two tools of the Model Context Protocol, over standard input and
output.

Both only read. The client starts this process and is the only one that it talks to; whoever starts it could read the
documents as well, so that no key is asked for and every document is found, as by `ragft ask`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ragft.artifacts import package_versions
from ragft.errors import MissingDependency, RagftError
from ragft.pipeline import Pipeline, Retriever, all_cited
from ragft.stages.application import Application
from serving.deployment import Deployment, Load, check_deployable

if TYPE_CHECKING:
    from mcp.server import MCPServer


def serve(application: Application) -> None:
    """Answers one client until it closes the connection; the index and then the engines load meanwhile.

    Raises:
        MissingDependency: the SDK is not installed.
        UsageError, IndexFault: as `serving.deployment.check_deployable`.
    """
    check_deployable(application)
    create_server(application).run("stdio")


def create_server(application: Application, *, load: Load | None = None) -> MCPServer[Any]:
    """The server with its tools, over any transport.

    Args:
        load: makes what answers questions; None: engines and index of the application.

    Raises:
        MissingDependency: the SDK is not installed.
    """
    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
        from mcp_types import ToolAnnotations
    except ImportError as error:
        raise MissingDependency(f"--mcp needs the SDK of the protocol ({error}): install ragft[mcp].") from error

    deployment = Deployment(application, load)
    searchable, settled = asyncio.Event(), asyncio.Event()

    def settle() -> None:
        searchable.set()
        settled.set()

    deployment.on_index = searchable.set
    deployment.on_ready = deployment.on_failure = settle
    names = [setup.name for setup in deployment.setups]

    @contextlib.asynccontextmanager
    async def lifespan(_: MCPServer[Any]) -> AsyncIterator[None]:
        async with deployment.lifespan():
            yield

    # A client does not wait a minute for the protocol's greeting, but it does for a tool; to search, it waits for the
    # index alone.

    async def retriever() -> Retriever:
        await searchable.wait()
        if deployment.retriever is None:
            await pipeline()  # says so where loading failed
            raise ToolError("No deployed setup retrieves, so there is no index to search.")
        return deployment.retriever

    async def pipeline() -> Pipeline:
        await settled.wait()
        if deployment.failure is not None:
            raise ToolError(f"Nothing can be answered: {deployment.failure}")
        return deployment.ready()

    server: MCPServer[Any] = MCPServer(
        name=f"ragft: {application.config.name}",
        version=package_versions(["ragft"]).get("ragft") or "0",
        instructions=f"Answers from the documents of one domain, with citations. Setups: {', '.join(names)}.",
        lifespan=lifespan,
        log_level="ERROR",
    )
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)

    @server.tool(annotations=reads)
    async def search(
        query: Annotated[str, Field(description="What to look for, as a question or in words.", min_length=1)],
        top_k: Annotated[int | None, Field(description="Passages to return.", ge=1, le=100)] = None,
    ) -> dict[str, Any]:
        """The best passages of the documents for a query, with where each stands."""
        if not query.strip():
            raise ToolError("The query is empty.")
        (found,) = await asyncio.to_thread((await retriever()).search, [query], top_k)
        return {
            "index_version": found.index_version,
            "passages": [asdict(passage) for passage in all_cited(found.passages)],
        }

    @server.tool(annotations=reads)
    async def ask(
        question: Annotated[str, Field(description="The question.", min_length=1)],
        setup: Annotated[
            str | None, Field(description="The setup that answers; left out: the first that is deployed.")
        ] = None,
    ) -> dict[str, Any]:
        """The answer to a question from the documents, with the passages that it cites."""
        if not question.strip():
            raise ToolError("The question is empty.")
        chosen = next((own for own in deployment.setups if setup in (None, own.name)), None)
        if chosen is None:
            raise ToolError(f"The setup {str(setup)[:80]!r} is not deployed; deployed: {', '.join(names)}.")
        ready = await pipeline()
        try:
            retrieved = await ready.retrieve(chosen, question)
            prompt = await asyncio.to_thread(ready.render, chosen, question, retrieved)
            answer, told = await deployment.grounder.answer(ready, question, prompt, retrieved)
        except RagftError as error:
            raise ToolError(str(error)) from error
        return {
            "answer": answer.text,
            "setup": answer.setup,
            "citations": [asdict(citation) for citation in answer.citations],
            "index_version": answer.index_version,
            "model_version": answer.model_version,
            "finish_reason": answer.finish_reason,
            **told,
        }

    return server
