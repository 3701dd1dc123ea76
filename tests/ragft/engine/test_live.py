"""Base model and live adapter in one engine, over a stand-in that says which of them answered."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from support.fakes import FakeHost

from ragft.engine.adapter import Adapter
from ragft.engine.base import ChatRequest, EngineDead, NotInPlace, TextRequest
from ragft.engine.live import LiveEngine, Shared
from ragft.errors import RagftError
from ragft.messages import turn

REQUEST = ChatRequest([turn("user", "Which model are you?")])


def adapter(folder: Path, rank: int = 8) -> Adapter:
    return Adapter(folder, f"version of {folder.name}", rank)


def engines(host: FakeHost) -> tuple[LiveEngine, LiveEngine]:
    """The base model and the tuned one; adapters are named by their folders, those of `wide` have rank 64."""
    shared = Shared(host)

    def find(folder: Path) -> Adapter:
        if folder.name == "differs":
            raise RagftError("its proof says that it differs")
        return adapter(folder, 64 if folder.name == "wide" else 8)

    return LiveEngine(shared, None, find), LiveEngine(shared, adapter(Path("first")), find)


async def begun(host: FakeHost) -> None:
    """Waits until an exchange has read its adapter, and so until it lets nobody in any more."""
    async with asyncio.timeout(10):
        while len(host.loaded) < 2:
            await asyncio.sleep(0)


def test_both_models_answer_from_one_engine_that_ends_with_the_last_of_them() -> None:
    host = FakeHost()
    base, tuned = engines(host)

    async def work() -> None:
        await base.start()
        await tuned.start()
        assert (base.version, tuned.version) == (host.version, "version of first")
        assert [(await one.chat(REQUEST)).text for one in (base, tuned)] == ["base", "version of first"]
        assert (await tuned.complete(TextRequest("Once")))["model"] == "version of first"
        assert {chunk["model"] async for chunk in base.stream(REQUEST)} == {"base"}
        await tuned.close()
        assert (host.closed, host.loaded) == (False, [])
        await base.close()
        assert host.closed and host.starts == 1

    asyncio.run(work())


def test_another_adapter_takes_its_place_when_its_answers_have_ended_and_the_base_model_answers_on() -> None:
    host = FakeHost(pause=0.02)
    base, tuned = engines(host)

    async def work() -> None:
        await base.start()
        await tuned.start()
        async with aclosing(tuned.stream(REQUEST)) as stream:
            first = await anext(stream)
            exchange = asyncio.create_task(tuned.replace(Path("second")))
            await begun(host)
            later = asyncio.create_task(tuned.chat(REQUEST))
            assert (await base.chat(REQUEST)).text == "base"
            assert not exchange.done() and not later.done() and tuned.version == "version of first"
            rest = [chunk async for chunk in stream]
        await exchange
        assert {chunk["model"] for chunk in [first, *rest]} == {"version of first"}
        assert (await later).text == tuned.version == "version of second"
        assert (await later).total_ms > 20.0  # what it waited counts
        assert host.loaded == ["version of second"] and host.starts == 1
        await tuned.replace(Path("first"))
        assert (await tuned.chat(REQUEST)).text == "version of first"

    asyncio.run(work())


@pytest.mark.parametrize(
    ("folder", "error", "why"),
    [
        ("broken", RagftError, "cannot apply"),
        ("differs", RagftError, "differs"),
        ("wide", NotInPlace, "rank 64, and the engine room for 16"),
    ],
)
def test_an_adapter_that_cannot_serve_changes_nothing(folder: str, error: type[Exception], why: str) -> None:
    host = FakeHost(unusable={"broken"})
    _, tuned = engines(host)

    async def work() -> None:
        await tuned.start()
        with pytest.raises(error, match=why):
            await tuned.replace(Path(folder))
        assert (await tuned.chat(REQUEST)).text == tuned.version == "version of first"

    asyncio.run(work())


def test_an_exchange_that_is_given_up_leaves_the_old_adapter_and_lets_requests_through() -> None:
    host = FakeHost(pause=0.02)
    _, tuned = engines(host)

    async def work() -> None:
        await tuned.start()
        async with aclosing(tuned.stream(REQUEST)) as stream:
            await anext(stream)
            exchange = asyncio.create_task(tuned.replace(Path("second")))
            await begun(host)
            exchange.cancel()
            with pytest.raises(asyncio.CancelledError):
                await exchange
        assert host.loaded == ["version of first"]
        assert (await tuned.chat(REQUEST)).text == "version of first"

    asyncio.run(work())


def test_the_base_model_is_not_exchanged_under_its_adapters() -> None:
    base, _ = engines(FakeHost())
    with pytest.raises(NotInPlace, match="live"):
        asyncio.run(base.replace(Path("second")))


def test_an_adapter_that_cannot_be_loaded_at_the_start_frees_the_engine() -> None:
    host = FakeHost(unusable={"first"})
    _, tuned = engines(host)
    with pytest.raises(RagftError, match="cannot apply"):
        asyncio.run(tuned.start())
    assert host.closed


def test_a_dead_engine_is_started_anew_by_the_model_that_notices_and_both_answer() -> None:
    host = FakeHost()
    base, tuned = engines(host)

    async def work() -> None:
        await base.start()
        await tuned.start()
        host.dead = True
        with pytest.raises(EngineDead):
            await base.check_health()
        await base.close()
        assert host.closed
        host.dead = False
        await base.start()
        assert host.starts == 2
        assert [(await one.chat(REQUEST)).text for one in (base, tuned)] == ["base", "version of first"]

    asyncio.run(work())


@pytest.mark.parametrize(("rank", "room"), [(1, 8), (8, 8), (16, 16), (17, 32), (512, 512)])
def test_an_engine_has_room_for_the_next_rank_that_vllm_offers(rank: int, room: int) -> None:
    assert adapter(Path("one"), rank).room == room
