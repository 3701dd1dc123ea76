"""One model on several servers: who is asked, who takes over, and who is not trusted."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.engines import MODEL
from support.http import JsonHandler

from ragft.config import EngineSection
from ragft.engine import pool
from ragft.engine.asking import template_of
from ragft.engine.base import ChatRequest, EngineBusy, RequestRefused
from ragft.engine.pool import CROWDED, PoolEngine
from ragft.engine.remote import GIVE_UP
from ragft.errors import RagftError, UsageError
from ragft.models import resolve_model
from ragft.prompts import conversation
from ragft.templates import Template, TemplateOptions

pytest.importorskip("httpx")

QUESTION = conversation("You are helpful.", "When?")


class ModelServer:
    """A server that renders as the packaged model does, and says its name.

    Attributes:
        down: whether every request is a 503.
        refusal: the status and message that chat requests get; None: they are answered.
        breaks_after: chunks after which a stream's connection is cut; None: it is not.
        error: what an event tells of in place of a stream's first chunk; None: of nothing.
        may_answer: answers wait for it.
    """

    def __init__(self, name: str, template: Template) -> None:
        self.name, self.template = name, template
        self.down, self.refusal, self.breaks_after = False, None, None  # type: ignore[var-annotated]
        self.error: dict[str, Any] | None = None
        self.shift = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked: list[dict[str, Any]] = []
        outer = self

        class Handler(JsonHandler, BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.reply(200, {"data": [{"id": "desk"}]})

            def do_POST(self) -> None:
                body = self.body()
                outer.asked.append(body)
                if outer.down:
                    self.reply(503, {"error": {"message": "no"}})
                elif outer.refusal is not None:
                    self.reply(outer.refusal[0], {"error": {"message": outer.refusal[1]}})
                else:
                    outer.may_answer.wait(20)
                    self.stream() if body.get("stream") else self.reply(200, outer.answer(body))

            def stream(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                for number, piece in enumerate([outer.name, "!", ""] if outer.error is None else ()):
                    if outer.breaks_after == number:
                        self.close_connection = True
                        self.connection.close()
                        return
                    reason = None if piece else "stop"
                    choice = {"index": 0, "delta": {"content": piece}, "finish_reason": reason}
                    self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
                    self.wfile.flush()
                if outer.error is not None:
                    self.wfile.write(f"data: {json.dumps({'error': outer.error})}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")
                self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        message = {"role": "assistant", "content": self.name}
        ids = [token + self.shift for token in self.template.prompt(body["messages"])]
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "token_ids": [1, 2]}],
            "prompt_token_ids": ids,
        }

    @property
    def questions(self) -> list[str]:
        """What it was asked but for the looks."""
        return [
            body["messages"][-1]["content"] for body in self.asked if "there" not in body["messages"][-1]["content"]
        ]


@pytest.fixture(scope="module")
def template() -> Template:
    return template_of(resolve_model(MODEL), TemplateOptions())


@pytest.fixture
def servers(template: Template, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ModelServer]]:
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.05)
    made = [ModelServer(name, template) for name in ("one", "two", "three")]
    yield made
    for server in made:
        server.may_answer.set()
        server.server.shutdown()
        server.server.server_close()


@asynccontextmanager
async def pool_of(servers: list[ModelServer]) -> AsyncIterator[PoolEngine]:
    settings = EngineSection.model_validate(
        {"backend": "remote", "max_model_len": 512, "servers": {"tuned": [{"url": one.url} for one in servers]}}
    )
    engine = PoolEngine(resolve_model(MODEL), settings)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def use(servers: list[ModelServer], work: Callable[[PoolEngine], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with pool_of(servers) as engine:
            return await work(engine)

    return asyncio.run(run())


async def ask(engine: PoolEngine, messages: Any = QUESTION, **options: Any) -> str:
    return (await engine.chat(ChatRequest(messages, options))).text


async def read(engine: PoolEngine, **options: Any) -> str:
    pieces = []
    async with aclosing(engine.stream(ChatRequest(QUESTION, options))) as chunks:
        async for chunk in chunks:
            pieces += [choice["delta"]["content"] for choice in chunk["choices"]]
    return "".join(pieces)


def first_of(servers: list[ModelServer]) -> ModelServer:
    """The server that the question goes to while all are up and idle."""
    name = use(servers, ask)
    return next(server for server in servers if server.name == name)


@pytest.mark.medium
def test_an_answer_has_the_token_ids_that_this_process_renders(servers: list[ModelServer], template: Template) -> None:
    async def work(engine: PoolEngine) -> None:
        completion = await engine.chat(ChatRequest(QUESTION, {"max_tokens": 9_999}))
        assert list(completion.prompt_token_ids) == template.prompt(QUESTION)
        assert engine.prompt_length(QUESTION) == len(completion.prompt_token_ids)
        assert completion.token_ids == (1, 2)
        assert "prompt_token_ids" not in completion.body and "token_ids" not in completion.body["choices"][0]
        asked = await engine.chat(ChatRequest(QUESTION, {"return_token_ids": True}))
        assert asked.body["prompt_token_ids"]

    use(servers, work)
    assert {body["model"] for server in servers for body in server.asked} == {"desk"}
    assert 9_999 not in [body.get("max_tokens") for server in servers for body in server.asked]


@pytest.mark.medium
def test_a_server_of_another_model_is_refused_at_the_start(servers: list[ModelServer]) -> None:
    servers[1].shift = 1
    with pytest.raises(RagftError, match="renders other token ids than"):
        use(servers, ask)


@pytest.mark.medium
def test_conversations_that_begin_alike_stay_together_and_others_are_spread(servers: list[ModelServer]) -> None:
    async def work(engine: PoolEngine) -> list[set[str]]:
        begun = [conversation(f"You are desk {number}.", "") for number in range(24)]
        return [
            {await ask(engine, [*messages[:-1], {"role": "user", "content": f"Question {turn}"}]) for turn in range(3)}
            for messages in begun
        ]

    found = use(servers, work)
    assert all(len(names) == 1 for names in found)
    assert {name for names in found for name in names} == {"one", "two", "three"}


@pytest.mark.medium
def test_a_crowded_server_is_left_for_an_idle_one(servers: list[ModelServer]) -> None:
    favourite = first_of(servers)

    async def work(engine: PoolEngine) -> list[str]:
        favourite.may_answer.clear()
        waiting = [asyncio.create_task(ask(engine)) for _ in range(CROWDED)]
        while sum(member.running for member in engine.members) < CROWDED:
            await asyncio.sleep(0.01)
        other = await ask(engine)
        favourite.may_answer.set()
        return [other, *await asyncio.gather(*waiting)]

    other, *rest = use(servers, work)
    assert other != favourite.name and set(rest) == {favourite.name}


@pytest.mark.medium
@pytest.mark.parametrize("how", [ask, read])
def test_another_server_answers_for_one_that_is_down_until_it_is_back(
    servers: list[ModelServer], how: Callable[[PoolEngine], Awaitable[str]]
) -> None:
    favourite = first_of(servers)

    async def work(engine: PoolEngine) -> None:
        favourite.down = True
        answers = [(await how(engine)).removesuffix("!") for _ in range(4)]
        assert favourite.name not in answers and len(set(answers)) == 1
        questions, asked = len(favourite.questions), len(favourite.asked)
        await how(engine)
        assert len(favourite.questions) == questions
        end = time.monotonic() + 20
        while len(favourite.asked) < asked + GIVE_UP + 3:  # more often than a server may fail that is the only one
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        favourite.down = False
        while (await how(engine)).removesuffix("!") != favourite.name:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)

    use(servers, work)


@pytest.mark.medium
def test_a_stream_that_has_begun_cannot_go_on_elsewhere_and_says_so(servers: list[ModelServer]) -> None:
    favourite = first_of(servers)
    favourite.breaks_after = 1

    async def work(engine: PoolEngine) -> str:
        with pytest.raises(RagftError):
            await read(engine)
        return await read(engine)

    assert use(servers, work) != f"{favourite.name}!"


@pytest.mark.medium
def test_a_stream_that_breaks_before_its_first_chunk_is_taken_over(servers: list[ModelServer]) -> None:
    favourite = first_of(servers)
    favourite.breaks_after = 0
    assert use(servers, read) in {f"{server.name}!" for server in servers if server is not favourite}


@pytest.mark.medium
def test_a_stream_that_begins_with_an_error_is_taken_over_unless_the_request_is_at_fault(
    servers: list[ModelServer],
) -> None:
    favourite = first_of(servers)

    async def work(engine: PoolEngine) -> str:
        favourite.error = {"message": "no such grammar", "code": 400}
        with pytest.raises(RequestRefused, match="no such grammar"):
            await read(engine)
        assert not any(member.down for member in engine.members)
        favourite.error = {"message": "out of memory", "code": 500}
        return await read(engine)

    assert use(servers, work) in {f"{server.name}!" for server in servers if server is not favourite}


@pytest.mark.medium
@pytest.mark.parametrize("status", [401, 403, 404, 302])
@pytest.mark.parametrize("how", [ask, read])
def test_another_server_answers_for_one_that_takes_no_request_of_ours(
    servers: list[ModelServer], how: Callable[[PoolEngine], Awaitable[str]], status: int
) -> None:
    favourite = first_of(servers)

    async def work(engine: PoolEngine) -> None:
        favourite.refusal = (status, "not for you")
        answers = [(await how(engine)).removesuffix("!") for _ in range(3)]
        assert favourite.name not in answers and len(favourite.questions) == asked + 1
        favourite.refusal = None
        end = time.monotonic() + 20
        while (await how(engine)).removesuffix("!") != favourite.name:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)

    asked = len(favourite.questions)
    use(servers, work)


@pytest.mark.medium
def test_a_server_that_hangs_delays_neither_the_start_nor_the_return_of_others(
    servers: list[ModelServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, other, _ = servers

    async def returns(engine: PoolEngine) -> None:
        hanging.may_answer.clear()
        for member in engine.members[:2]:
            member.down = "it was away"
        end = time.monotonic() + 15
        while engine.members[1].down:  # long before the one that is looked at first answers
            assert time.monotonic() < end and engine.members[0].down
            await asyncio.sleep(0.02)

    use(servers, returns)

    async def starts(engine: PoolEngine) -> None:
        assert "did not answer a look" in engine.members[0].down
        assert await ask(engine) in (other.name, "three")

    monkeypatch.setattr(pool, "LOOK_TIMEOUT", 1.0)
    use(servers, starts)


@pytest.mark.medium
def test_a_request_that_is_refused_is_sent_nowhere_else_and_harms_nobody(servers: list[ModelServer]) -> None:
    favourite = first_of(servers)

    async def work(engine: PoolEngine) -> None:
        favourite.refusal = (400, "temperature must be non-negative")
        asked = [len(server.asked) for server in servers]
        with pytest.raises(RequestRefused, match="temperature") as refused:
            await ask(engine)
        assert refused.value.status == 400 and "127.0.0.1" not in str(refused.value)
        favourite.refusal = None
        assert sum(len(server.asked) for server in servers) == sum(asked) + 1
        assert await ask(engine) == favourite.name

    use(servers, work)


@pytest.mark.medium
def test_where_nobody_answers_clients_are_told_to_come_later_and_the_engine_lives(servers: list[ModelServer]) -> None:
    async def work(engine: PoolEngine) -> None:
        for server in servers:
            server.down = True
        for how in (ask, read, ask):
            with pytest.raises(EngineBusy, match="try again shortly"):
                await how(engine)
        await engine.check_health()
        servers[0].down = False
        assert await ask(engine) == "one"

    use(servers, work)


@pytest.mark.medium
def test_servers_that_are_all_away_at_the_start_are_named(servers: list[ModelServer]) -> None:
    for server in servers:
        server.down = True
    with pytest.raises(RagftError, match=r"No server of engine\.servers answers: .*503"):
        use(servers, ask)


def test_a_model_without_servers_or_a_missing_key_is_one_sentence(tmp_path: Path) -> None:
    section = {"backend": "remote", "servers": {"tuned": [{"url": "http://127.0.0.1:1/v1", "key_variable": "NO_KEY"}]}}
    settings = EngineSection.model_validate(section)
    with pytest.raises(UsageError, match=r"engine\.servers names none for the base model"):
        PoolEngine(tmp_path, settings, model="base")
    with pytest.raises(UsageError, match="environment variable NO_KEY, which is not set"):
        PoolEngine(tmp_path, settings)
