"""What Prometheus is told: by route, setup, stage and reason, and never a word of what anybody asked for."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support import promql
from support.fakes import INDEX_VERSION, MODEL_VERSION
from support.serving import Fakes, running, until

from ragft.config import Config
from ragft.engine.base import EngineBusy, EngineDead
from ragft.errors import UsageError
from ragft.pipeline import Pipeline
from serving.security import Keys
from serving.telemetry.metrics import REASONS, on_own_port

CHAT = "/v1/chat/completions"
SECRET = "zebra-4711"
ASK: dict[str, Any] = {"model": "hybrid", "messages": [{"role": "user", "content": f"What does {SECRET} cost?"}]}
Client = TestClient[Litestar]


def value(client: Client | httpx.Client, name: str, **labels: str) -> float:
    """See `support.promql.value`."""
    return promql.value(client.get("/metrics").text, name, **labels)


def test_requests_are_counted_by_route_setup_and_status(client: Client) -> None:
    client.post(CHAT, json=ASK)
    client.post(CHAT, json={**ASK, "model": "fine-tuned", "stream": True})
    client.post(CHAT, json={**ASK, "model": "nobody"})
    client.get("/v1/models/hybrid")
    assert value(client, "ragft_requests_total", route=CHAT, setup="hybrid", status="200") == 1
    assert value(client, "ragft_requests_total", route=CHAT, setup="fine-tuned", status="200") == 1
    assert value(client, "ragft_requests_total", route=CHAT, setup="none", status="404") == 1
    assert value(client, "ragft_requests_total", route="/v1/models/{name}", status="200") == 1
    assert value(client, "ragft_request_seconds_count", route=CHAT) == 3


def test_stages_and_tokens_of_whole_answers_and_streams_are_the_same_kinds(client: Client) -> None:
    for setup, stream in (("hybrid", False), ("fine-tuned", True)):
        client.post(CHAT, json={**ASK, "model": setup, "stream": stream})
        for stage in ("queue", "prompt", "first_token", "generate"):
            assert value(client, "ragft_stage_seconds_count", stage=stage, setup=setup) == 1, stage
        assert value(client, "ragft_stage_seconds_sum", stage="queue", setup=setup) == pytest.approx(0.005)
        assert value(client, "ragft_prompt_tokens_total", setup=setup) == 2
        assert value(client, "ragft_answer_tokens_total", setup=setup) == 3
        assert value(client, "ragft_answers_total", setup=setup) == 1
    assert value(client, "ragft_stage_seconds_count", stage="search", setup="hybrid") == 1
    assert value(client, "ragft_stage_seconds_count", stage="search", setup="fine-tuned") == 0


def test_only_a_client_that_asks_for_usage_gets_it(client: Client) -> None:
    def usages(**more: object) -> list[object]:
        lines = client.post(CHAT, json={**ASK, "stream": True, **more}).text.splitlines()
        chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert not any("metrics" in chunk for chunk in chunks)
        return [chunk["usage"] for chunk in chunks if "usage" in chunk]

    assert usages() == []
    assert usages(stream_options={"include_usage": False}) == []
    assert len(usages(stream_options={"include_usage": True})) == 1


def test_citations_of_passages_that_there_are_not_and_refusals_are_counted(client: Client, fakes: Fakes) -> None:
    fakes.engine.tokens = ["I do not KNOW. ", "[1] ", "[9]"]
    client.post(CHAT, json={**ASK, "stream": True})
    assert value(client, "ragft_citations_total", setup="hybrid") == 2
    assert value(client, "ragft_citations_invalid_total", setup="hybrid") == 1
    assert value(client, "ragft_refusals_total", setup="hybrid") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_declared_refusal_is_an_answer_that_refuses(
    make_app: Callable[..., Litestar], fakes: Fakes, stream: bool
) -> None:
    with TestClient(make_app(grounding="refuse", refuse_below=0.9), base_url="http://localhost") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        assert "I do not know." in client.post(CHAT, json={**ASK, "stream": stream}).text
        assert value(client, "ragft_answers_total", setup="hybrid") == 1
        assert value(client, "ragft_refusals_total", setup="hybrid") == 1
        assert value(client, "ragft_answer_tokens_total", setup="hybrid") == 0 and fakes.engine.requests == []


def test_a_question_that_the_model_rewrites_is_no_answer(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    loaded = fakes.load

    async def load() -> Pipeline:
        config = Config.model_validate({"name": "trains", "prompt": {"system": "x"}, "serve": {"condense": "model"}})
        return replace(await loaded(), config=config)

    fakes.load = load  # type: ignore[method-assign]
    fakes.engine.failures["And at night?"] = EngineBusy("full")
    with TestClient(make_app(), base_url="http://localhost") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        turns = [*ASK["messages"], {"role": "assistant", "content": "12 euros."}]
        for question, status, answers in (("And at night?", 503, 0), ("And for dogs?", 200, 1)):
            asked = {**ASK, "messages": [*turns, {"role": "user", "content": question}]}
            assert client.post(CHAT, json=asked).status_code == status
            assert value(client, "ragft_answers_total", setup="hybrid") == answers
            assert value(client, "ragft_prompt_tokens_total", setup="hybrid") == 2 * answers
            assert value(client, "ragft_answer_tokens_total", setup="hybrid") == 3 * answers
        assert value(client, "ragft_stage_seconds_count", stage="condense", setup="hybrid") == 2
        assert len(fakes.engine.requests) == 4


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_that_is_continued_is_an_answer_whole_or_as_a_stream(client: Client, stream: bool) -> None:
    asked = {"model": "hybrid", "prompt": "A ticket", "stream": stream}
    assert client.post("/v1/completions", json=asked).status_code == 200
    assert value(client, "ragft_answers_total", setup="hybrid") == 1


def test_requests_without_an_answer_are_counted_by_their_reason(client: Client, fakes: Fakes) -> None:
    client.post(CHAT, content=b"x" * 10, headers={"content-type": "text/plain"})
    client.get(f"/{SECRET}")
    fakes.engine.error = EngineBusy("full")
    client.post(CHAT, json=ASK)
    fakes.engine.error = EngineDead("killed")
    client.post(CHAT, json=ASK)
    fakes.engine.fails_after = 2
    client.post(CHAT, json={**ASK, "stream": True})
    for reason, count in (("media_type", 1), ("not_found", 1), ("overloaded", 1), ("engine_dead", 2)):
        assert value(client, "ragft_requests_rejected_total", reason=reason) == count, reason
    assert value(client, "ragft_answers_interrupted_total", setup="hybrid") == 1
    assert value(client, "ragft_answers_total") == 0


@pytest.mark.medium
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_went_away_is_counted_as_gone(
    make_app: Callable[..., Litestar], fakes: Fakes, stream: bool
) -> None:
    fakes.engine.tokens = ["word "] * 100
    fakes.engine.pause = 0.05
    with running(make_app()) as served, httpx.Client(base_url=served.url) as client:
        with (
            pytest.raises(httpx.ReadTimeout),
            client.stream("POST", CHAT, json={**ASK, "stream": stream}, timeout=0.3) as answer,
        ):
            threading.Event().wait(0.3)
            answer.close()
            raise httpx.ReadTimeout("gone")
        until(lambda: value(client, "ragft_requests_rejected_total", reason="client_gone") == 1)
        assert value(client, "ragft_requests_total", route=CHAT, status="499") == 1


def test_no_metric_ever_says_what_a_request_said(make_app: Callable[..., Litestar]) -> None:
    keys = Keys.load(None, {"RAGFT_API_KEY": SECRET})
    bearer = {"authorization": f"Bearer {SECRET}", "x-request-id": SECRET, "x-other": SECRET}
    with TestClient(make_app(keys=keys)) as client:
        client.headers.update(bearer)
        until(lambda: client.get("/health/ready").status_code == 200)
        for path in (f"/{SECRET}", f"/v1/models/{SECRET}", f"/v1/models?{SECRET}={SECRET}", "/v1/models/%2e%2e"):
            client.get(path)
        client.post(CHAT, json=ASK)
        client.post(CHAT, json={**ASK, "model": SECRET, "user": SECRET})
        client.get("/v1/models", headers={"authorization": f"Bearer {SECRET}x"})
        page = client.get("/metrics").text
        assert SECRET not in page
        assert value(client, "ragft_requests_total", route="other") == 1
        assert value(client, "ragft_requests_total", route="/v1/models", status="401") == 1


def test_what_serves_is_told_as_it_is_now(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    fakes.may_load = threading.Event()
    with TestClient(make_app(), base_url="http://localhost") as client:
        assert value(client, "ragft_ready") == 0
        client.post(CHAT, json=ASK)
        assert value(client, "ragft_requests_rejected_total", reason="loading") == 1
        fakes.may_load.set()
        until(lambda: client.get("/health/ready").status_code == 200)
        assert value(client, "ragft_ready") == 1
        assert value(client, "ragft_index_info", version=INDEX_VERSION) == 1
        assert value(client, "ragft_model_info", model="tuned", version=MODEL_VERSION) == 1
        fakes.engine.version = "another"
        assert value(client, "ragft_model_info", model="tuned", version=MODEL_VERSION) == 0
        assert value(client, "ragft_model_info", model="tuned", version="another") == 1


def test_a_reason_that_may_come_is_there_before_it_comes(client: Client) -> None:
    page = client.get("/metrics").text
    assert all(f'ragft_requests_rejected_total{{reason="{reason}"}} 0.0' in page for reason in REASONS.values())
    assert 'ragft_index_refreshes_total{domain="trains",outcome="failed"} 0.0' in page


def test_a_port_of_loopback_answers_without_a_key(make_app: Callable[..., Litestar], tmp_path: Path) -> None:
    metrics = make_app(keys=Keys.load(None, {"RAGFT_API_KEY": "secret"})).state.telemetry.metrics
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with on_own_port(metrics, port):
        assert 'ragft_ready{domain="trains"} 0.0' in httpx.get(f"http://127.0.0.1:{port}/metrics").text
        with pytest.raises(UsageError, match=rf"{port}.*serve\.metrics_port"), on_own_port(metrics, port):
            pass
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")
