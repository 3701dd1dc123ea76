"""Traces continue the caller's, reach the engine, and hold no word of what was asked or answered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.serving import Fakes

from ragft.engine.base import EngineDead
from serving.telemetry.tracing import Tracing

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

CHAT = "/v1/chat/completions"
QUESTION = "What does a zebra cost?"
ASK = {"model": "hybrid", "messages": [{"role": "user", "content": QUESTION}]}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "request-1", "x-secret": "key-4711"}


@pytest.fixture
def spans(client: TestClient[Litestar]) -> Iterator[InMemorySpanExporter]:
    """The spans of the client's application, as they end."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client.app.state.telemetry.tracing = Tracing(provider)
    yield exporter


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


@pytest.mark.parametrize("stream", [False, True])
def test_a_trace_goes_from_the_caller_through_retrieval_to_the_engine(
    client: TestClient[Litestar], fakes: Fakes, spans: InMemorySpanExporter, stream: bool
) -> None:
    assert client.post(CHAT, json={**ASK, "stream": stream}, headers=GIVEN).status_code == 200
    found = by_name(spans)
    assert list(found) == ["search", "prompt", "generate", f"POST {CHAT}"]
    root = found[f"POST {CHAT}"]
    assert {f"{span.context.trace_id:032x}" for span in found.values()} == {TRACE}
    assert root.parent is not None and f"{root.parent.span_id:016x}" == PARENT
    for name in ("search", "prompt", "generate"):
        parent = found[name].parent
        assert parent is not None and parent.span_id == root.context.span_id, name
    headers = fakes.engine.requests[-1].trace_headers
    assert headers["traceparent"] == f"00-{TRACE}-{found['generate'].context.span_id:016x}-01"
    assert root.attributes is not None and found["generate"].attributes is not None
    assert root.attributes["http.route"] == CHAT
    assert root.attributes["http.response.status_code"] == 200
    assert root.attributes["ragft.setup"] == "hybrid"
    assert root.attributes["ragft.request_id"] == "request-1"
    assert found["generate"].attributes["gen_ai.usage.output_tokens"] == 3


def test_spans_hold_no_contents_and_no_headers(
    client: TestClient[Litestar], fakes: Fakes, spans: InMemorySpanExporter
) -> None:
    client.post(CHAT, json=ASK, headers=GIVEN)
    fakes.engine.error = EngineDead(f"while it was asked {QUESTION}")
    client.post(CHAT, json=ASK, headers=GIVEN)
    written = "".join(span.to_json() for span in spans.get_finished_spans())
    for secret in ("zebra", "12 euros", "Dogs travel", "House style", "key-4711"):
        assert secret not in written
    failed = [span for span in spans.get_finished_spans() if not span.status.is_ok]
    assert [(span.name, (span.attributes or {})["error.type"]) for span in failed] == [
        ("generate", "EngineDead"),
        (f"POST {CHAT}", "engine_dead"),
    ]


@pytest.mark.parametrize("given", ["", "00-zz-1-1", f"00-{TRACE}-{PARENT}", "x" * 5000, f"00-{'0' * 32}-{PARENT}-01"])
def test_a_traceparent_that_is_none_begins_a_new_trace(
    client: TestClient[Litestar], spans: InMemorySpanExporter, given: str
) -> None:
    assert client.post(CHAT, json=ASK, headers={"traceparent": given}).status_code == 200
    root = by_name(spans)[f"POST {CHAT}"]
    assert root.parent is None
    assert f"{root.context.trace_id:032x}" != TRACE


def test_what_the_caller_does_not_sample_is_not_kept(
    client: TestClient[Litestar], fakes: Fakes, spans: InMemorySpanExporter
) -> None:
    client.post(CHAT, json=ASK, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert spans.get_finished_spans() == ()
    assert fakes.engine.requests[-1].trace_headers["traceparent"].endswith("-00")


def test_without_a_collector_nothing_is_traced(client: TestClient[Litestar], fakes: Fakes) -> None:
    assert client.app.state.telemetry.tracing is None
    client.post(CHAT, json=ASK, headers=GIVEN)
    assert fakes.engine.requests[-1].trace_headers == {}
