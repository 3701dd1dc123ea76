"""A caller's requests and tokens a minute: refused with the time to wait, and never more than the limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient
from support.fakes import FakeEngine
from support.serving import Fakes, running, until

from ragft.engine.base import ChatRequest, Engine
from ragft.keys import Caller
from serving.errors import ApiError
from serving.rates import MAX_IDLE, Buckets, Metered, Rates
from serving.security import Keys, digest_of

CHAT = "/v1/chat/completions"
ASK = {"model": "hybrid", "messages": [{"role": "user", "content": "What does a ticket cost?"}]}
HEADERS = {"authorization": "Bearer key"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 1000), st.lists(st.floats(0, 90), max_size=200))
def test_no_minute_has_more_than_twice_the_limit_and_none_after_a_pause_has_less(
    limit: int, pauses: list[float]
) -> None:
    clock = Clock()
    buckets = Buckets("requests", clock)
    admitted: list[float] = []
    for pause in pauses:
        clock.now += pause
        for _ in range(3):
            try:
                buckets.check("a", limit)
            except ApiError as error:
                # What it was told to wait is enough.
                clock.now += error.retry_after
                buckets.check("a", limit)
            buckets.spend("a", limit, 1)
            admitted.append(clock.now)
    for begin in admitted:
        # A full bucket at once, and what flows in while it is emptied.
        assert sum(begin <= moment < begin + 60 for moment in admitted) <= 2 * limit


def test_a_bucket_that_is_overdrawn_refuses_until_it_is_above_zero() -> None:
    clock = Clock()
    account = Rates(clock)
    caller = Caller(frozenset({"chat"}), id="a", tokens=60)
    charge = account.charge_of(caller)
    assert charge is not None
    account.admit(caller)
    charge(90)
    with pytest.raises(ApiError, match="More than 60 tokens a minute: try again in 31 seconds") as refused:
        account.admit(caller)
    assert refused.value.status == 429 and refused.value.headers() == {"retry-after": "31"}
    clock.now += 31
    assert dict(account.admit(caller))[b"x-ratelimit-remaining-tokens"] == b"1"
    account.admit(Caller(frozenset({"chat"}), id="b", tokens=60))


def test_full_buckets_are_forgotten_and_others_are_not() -> None:
    clock = Clock()
    buckets = Buckets("requests", clock)
    buckets.spend("busy", 10, 100)
    for number in range(3 * MAX_IDLE):
        clock.now += 0.01
        buckets.spend(f"subject {number}", 10, 1)
    assert len(buckets._full_at) < 2 * MAX_IDLE
    assert buckets.left("busy", 10) < 0


class CountingEngine(FakeEngine):
    """Tells the tokens that it has read and written as vLLM does: so far in each chunk, in all at the end."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[dict[str, Any], None]:
        asked = request.options.get("stream_options") or {}
        assert asked["include_usage"] and asked["continuous_usage_stats"]
        counts: dict[int, int] = {}
        async for chunk in super().stream(request):
            if chunk["choices"]:
                (choice,) = chunk["choices"]
                counts[choice["index"]] = counts.get(choice["index"], 0) + 2
                yield {**chunk, "usage": {"prompt_tokens": 7, "completion_tokens": counts[choice["index"]]}}
        total = sum(counts.values())
        yield {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": total, "total_tokens": 7 + total}}


def test_a_stream_is_charged_as_it_flows_and_looks_as_if_it_were_not() -> None:
    paid: list[int] = []

    async def chunks(most: int, **options: Any) -> list[dict[str, Any]]:
        paid.clear()
        found = []
        stream = Metered(CountingEngine(), paid.append).stream(ChatRequest([{"role": "user", "content": "a"}], options))
        async for chunk in stream:
            found.append(chunk)
            if len(found) == most:
                await stream.aclose()
                break
        return found

    found = asyncio.run(chunks(99, n=2))
    assert sum(paid) == 7 + 2 * 6 and len(found) == 6 and not any("usage" in chunk for chunk in found)
    found = asyncio.run(chunks(99, stream_options={"include_usage": True}))
    assert sum(paid) == 7 + 6 and [chunk["choices"] == [] for chunk in found] == [False] * 3 + [True]
    asyncio.run(chunks(1))
    assert sum(paid) == 7 + 2


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_before_the_answer_pays_for_the_prompt_and_for_what_was_asked(stream: bool) -> None:
    paid: list[int] = []
    engine = Metered(CountingEngine(pause=5.0), paid.append)
    request = ChatRequest([{"role": "user", "content": "one two three"}], {"max_tokens": 50, "n": 2})

    async def leave() -> None:
        work = anext(engine.stream(request)) if stream else engine.chat(request)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await work

    asyncio.run(leave())
    assert sum(paid) == (3 if stream else 103)


def test_what_is_metered_is_all_that_an_engine_does() -> None:
    """A method that is new in the contract must be charged for, or be known to be free."""
    metered = Metered(FakeEngine(), lambda _: None)
    assert all(hasattr(metered, name) for name in vars(Engine) if not name.startswith("_"))
    assert not hasattr(metered, "tokens")


@pytest.fixture
def limited(make_app: Callable[..., Litestar]) -> Callable[..., Litestar]:
    return lambda **limits: make_app(keys=Keys({digest_of(b"key"): Caller(frozenset({"chat"}), id="k", **limits)}))


def test_a_key_beyond_its_requests_is_told_429_and_when_to_come_again(limited: Callable[..., Litestar]) -> None:
    with TestClient(limited(requests=2), base_url="http://localhost") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        answers = [client.get("/v1/models", headers=HEADERS) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers.get("x-ratelimit-remaining-requests") for answer in answers] == ["1", "0", None]
        assert answers[0].headers["x-ratelimit-limit-requests"] == "2"
        assert 1 <= int(answers[2].headers["retry-after"]) <= 30
        assert answers[2].json()["error"]["type"] == "rate_limit_error"
        assert client.get("/health/ready").status_code == 200


@pytest.mark.medium
@pytest.mark.parametrize("stream", [True, False])
def test_a_key_beyond_its_tokens_is_told_429(limited: Callable[..., Litestar], fakes: Fakes, stream: bool) -> None:
    with running(limited(tokens=3)) as served, httpx.Client(base_url=served.url, headers=HEADERS) as client:
        first = client.post(CHAT, json={**ASK, "stream": stream})
        assert first.status_code == 200 and first.headers["x-ratelimit-limit-tokens"] == "3"
        assert client.post(CHAT, json=ASK).status_code == 429
        assert fakes.engine.running == 0


def test_malformed_options_reach_the_engine_as_they_are_and_evade_nothing() -> None:
    engine = FakeEngine()
    paid: list[int] = []

    async def ask(options: Any) -> None:
        request = ChatRequest([{"role": "user", "content": "one two three"}], options)
        async for _ in Metered(engine, paid.append).stream(request):
            pass

    for wrong in ("text", [1], {"include_usage": 0}, 7):
        paid.clear()
        with suppress(AttributeError):  # the stand-in does not check what it is asked
            asyncio.run(ask({"stream_options": wrong}))
        assert engine.requests[-1].options["stream_options"] == wrong
        assert sum(paid) == 3 + 3
