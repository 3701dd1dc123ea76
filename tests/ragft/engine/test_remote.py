"""The remote engine over a small server of its own: answers, tries, giving up, and a key that is never told."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from support.http import JsonHandler

from ragft.engine.base import ChatRequest, EngineBusy, EngineDead, RequestRefused, TextRequest
from ragft.engine.remote import GIVE_UP, TRIES, Refused, RemoteEngine
from ragft.errors import RagftError

pytest.importorskip("httpx")

KEY = "sk-secret-0123"
REQUEST = ChatRequest([{"role": "user", "content": "When?"}], {"max_tokens": 5, "temperature": 0})
ANSWER = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Now."}, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}


class Server:
    """Answers each request with the next of its replies: a status with a body; the last one again and again."""

    def __init__(self, *replies: tuple[int, Any]) -> None:
        self.replies = list(replies)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(JsonHandler, BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked.append(self.body())
                outer.headers.append(dict(self.headers.items()))
                status, body = outer.replies.pop(0) if len(outer.replies) > 1 else outer.replies[0]
                self.reply(status, body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(*replies: tuple[int, Any]) -> Server:
        servers.append(Server(*replies))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def ask(server: Server, times: int = 1, **more: Any) -> list[Any]:
    """What the engine answers or raises, request after request."""

    async def work() -> list[Any]:
        engine = RemoteEngine(server.url, "large", KEY, pause=0.0, **more)
        await engine.start()
        found: list[Any] = []
        for _ in range(times):
            try:
                found.append(await engine.chat(REQUEST))
            except RagftError as error:
                found.append(error)
        await engine.close()
        return found

    return asyncio.run(work())


def test_a_conversation_is_answered(serve: Callable[..., Server]) -> None:
    server = serve((200, ANSWER))
    (found,) = ask(server)
    assert (found.text, found.finish_reason, found.ttft_ms) == ("Now.", "length", None)
    assert (found.prompt_tokens, found.answer_tokens) == (7, 2) and found.total_ms > 0
    assert server.asked == [{"messages": REQUEST.messages, "model": "large", "max_tokens": 5, "temperature": 0}]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_text_is_continued_whole_and_as_a_stream(serve: Callable[..., Server]) -> None:
    body = {"choices": [{"index": 0, "text": " Paris", "finish_reason": "stop"}]}
    server = serve((200, body), (200, f"data: {json.dumps(body)}\n\ndata: [DONE]\n\n".encode()), (200, {}))

    async def work() -> tuple[Any, list[Any]]:
        engine = RemoteEngine(server.url, "large", KEY, pause=0.0)
        await engine.start()
        request = TextRequest([1, 2], {"max_tokens": 5})
        found = await engine.complete(request), [chunk async for chunk in engine.stream(request)]
        with pytest.raises(RagftError, match="no completion"):
            await engine.complete(request)
        await engine.close()
        return found

    assert asyncio.run(work()) == (body, [body])
    assert server.asked[0] == {"max_tokens": 5, "model": "large", "prompt": [1, 2]}
    assert server.asked[1]["stream"] is True


CHUNK = '{"choices": [{"index": 0, "delta": {"content": "N"}, "finish_reason": null}]}'


@pytest.mark.parametrize(
    ("events", "why"),
    [
        (['{"error": {"message": "out of memory", "code": 500}}'], "HTTP 500, out of memory"),
        ([CHUNK, '{"error": {"message": "out of memory"}}'], "HTTP 500, out of memory"),
        ([CHUNK, '{"error": "out of memory"}'], "streamed something that is no chunk"),
        (["[]"], "streamed something that is no chunk"),
        (['{"choices": null}'], "streamed something that is no chunk"),
        (['{"choices": ["N"]}'], "streamed something that is no chunk"),
        ([CHUNK], "ended the stream amid the answer"),
    ],
)
def test_a_stream_that_tells_of_an_error_or_ends_early_is_a_failure_and_never_an_answer(
    serve: Callable[..., Server], events: list[str], why: str
) -> None:
    server = serve((200, "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()))

    async def work() -> list[Any]:
        engine = RemoteEngine(server.url, "large", KEY, pause=0.0)
        await engine.start()
        chunks, read = engine.stream(REQUEST), []
        with pytest.raises(RagftError, match=why):
            while True:
                read.append(await anext(chunks))
        await engine.close()
        return read

    assert asyncio.run(work()) == [json.loads(CHUNK) for event in events if event == CHUNK]


def test_without_counts_the_tokens_are_not_known(serve: Callable[..., Server]) -> None:
    (found,) = ask(serve((200, {"choices": ANSWER["choices"]})))
    assert (found.prompt_tokens, found.answer_tokens) == (None, None)


def test_what_passes_is_tried_again(serve: Callable[..., Server]) -> None:
    server = serve((503, {}), (429, {"error": {"message": "slow down"}}), (200, b"<html>"), (200, ANSWER))
    (found,) = ask(server)
    assert found.text == "Now." and len(server.asked) == 4


def test_tries_are_bounded_and_the_reason_is_told(serve: Callable[..., Server]) -> None:
    server = serve((429, {"error": {"message": f"quota of {KEY} is used up"}}))
    (found,) = ask(server)
    assert isinstance(found, EngineBusy) and len(server.asked) == TRIES
    assert "quota of *** is used up" in str(found) and KEY not in str(found)


@pytest.mark.medium
@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{"message": {"content": 5}}]}, []])
def test_nonsense_is_a_failure_and_never_an_answer(serve: Callable[..., Server], body: Any) -> None:
    (found,) = ask(serve((200, body)))
    assert isinstance(found, RagftError) and "no chat completion" in str(found)


def test_a_request_that_is_refused_is_not_sent_again(serve: Callable[..., Server]) -> None:
    server = serve((400, {"error": {"message": "too long"}}))
    found = ask(server, GIVE_UP + 2)
    assert all(isinstance(one, RequestRefused) and one.status == 400 for one in found)
    assert len(server.asked) == GIVE_UP + 2


def test_a_server_that_keeps_failing_is_given_up(serve: Callable[..., Server]) -> None:
    server = serve((401, {"error": {"message": "no such key"}}))
    found = ask(server, GIVE_UP + 3)
    assert [type(one) for one in found] == [Refused] * GIVE_UP + [EngineDead] * 3
    assert len(server.asked) == GIVE_UP


def test_nobody_there_is_said(serve: Callable[..., Server]) -> None:
    server = serve((200, ANSWER))
    server.close()
    (found,) = ask(server)
    assert "cannot be reached" in str(found) and f"tried {TRIES} times" in str(found)


def test_the_version_tells_address_and_model_but_no_key() -> None:
    first = RemoteEngine("http://a/v1", "m", "k1")
    assert first.version == RemoteEngine("http://a/v1/", "m", "k2").version
    assert first.version != RemoteEngine("http://a/v1", "n").version
