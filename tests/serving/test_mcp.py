"""The tools of `ragft serve --mcp`, called by the official SDK's client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.serving import Fakes, make_application

pytest.importorskip("mcp")

from mcp import Client

from ragft.errors import RagftError
from ragft.stages.application import Application
from serving.mcp import create_server


def served(tmp_path: Path, fakes: Fakes, work: Callable[[Client], Awaitable[Any]], **serve: Any) -> Any:
    """What a client gets from a server over stand-ins; `serve` are keys of that section."""

    async def connected() -> Any:
        async with Client(create_server(make_application(tmp_path, **serve), load=fakes.load)) as client:
            return await work(client)

    return asyncio.run(connected())


def test_both_tools_say_that_they_only_read(tmp_path: Path, fakes: Fakes) -> None:
    tools = served(tmp_path, fakes, lambda client: client.list_tools()).tools
    assert sorted(tool.name for tool in tools) == ["ask", "search"]
    assert all(tool.annotations.read_only_hint for tool in tools)


def test_search_finds_passages_and_ask_answers_with_citations(tmp_path: Path, fakes: Fakes) -> None:
    async def both(client: Client) -> tuple[Any, Any]:
        found = await client.call_tool("search", {"query": "tickets", "top_k": 1})
        answer = await client.call_tool("ask", {"question": "What does a ticket cost?"})
        return found.structured_content, answer.structured_content

    found, answer = served(tmp_path, fakes, both)
    assert [passage["document_id"] for passage in found["passages"]] == ["tickets.md"]
    assert (answer["answer"], answer["setup"]) == ("Costs 12 euros [1].", "hybrid")
    assert [citation["document_id"] for citation in answer["citations"]] == ["tickets.md"]
    assert (answer["grounding"]["grounded"], answer["refused"]) == ("true", None)


def test_a_question_that_little_was_found_for_is_refused_without_the_model(tmp_path: Path, fakes: Fakes) -> None:
    async def ask(client: Client) -> Any:
        return (await client.call_tool("ask", {"question": "What does a ticket cost?"})).structured_content

    answer = served(tmp_path, fakes, ask, grounding="refuse", refuse_below=0.6)
    assert (answer["answer"], answer["grounding"]) == ("I do not know.", None)
    assert answer["refused"] == "The best dense score of what was found is 0.5, below 0.6."
    assert fakes.engine.requests == []


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("ask", {"question": "Why?", "setup": "rag-only"}), ("ask", {}), ("search", {"query": ""}),
        ("ask", {"question": " \n"}), ("search", {"query": "   "}),
        ("search", {"query": "a", "top_k": 0}), ("search", {"query": 7}),
    ],
)  # fmt: skip
def test_a_call_that_is_not_valid_is_an_error_and_the_server_lives(
    tmp_path: Path, fakes: Fakes, tool: str, arguments: dict[str, Any]
) -> None:
    async def wrong_then_right(client: Client) -> tuple[Any, Any]:
        return await client.call_tool(tool, arguments), await client.call_tool("search", {"query": "tickets"})

    wrong, right = served(tmp_path, fakes, wrong_then_right)
    assert wrong.is_error and not right.is_error
    assert fakes.engine.requests == []


def test_search_waits_for_the_index_alone(tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    may_fail = asyncio.Event()

    async def start(*_: Any) -> Any:
        await may_fail.wait()
        raise RagftError("no model")

    monkeypatch.setattr("serving.deployment.open_retriever", lambda app: fakes.retriever)
    monkeypatch.setattr(Application, "model_folders", lambda *_: {"tuned": tmp_path})
    monkeypatch.setattr("serving.shared.Shared.engine", start)
    monkeypatch.setattr("serving.shared.Shared.lend_encoder", lambda *_: None)

    async def connected() -> tuple[Any, Any, Any]:
        async with Client(create_server(make_application(tmp_path))) as client:
            while_loading = await client.call_tool("search", {"query": "tickets", "top_k": 1})
            may_fail.set()
            answer = await client.call_tool("ask", {"question": "Why?"})
            return while_loading, answer, await client.call_tool("search", {"query": "tickets"})

    while_loading, answer, after_failure = asyncio.run(connected())
    assert while_loading.structured_content["passages"][0]["document_id"] == "tickets.md"
    assert answer.is_error and "no model" in answer.content[0].text
    assert not after_failure.is_error


def test_a_failed_start_is_what_a_tool_answers(tmp_path: Path, fakes: Fakes) -> None:
    fakes.failure = RagftError("no model")
    answer = served(tmp_path, fakes, lambda client: client.call_tool("ask", {"question": "Why?"}))
    assert answer.is_error and "no model" in answer.content[0].text
