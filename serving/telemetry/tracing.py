"""Traces of requests through retrieval and generation, sent to an OpenTelemetry collector.

A request that brings `traceparent` continues the caller's trace, and the engine's spans continue ours. Spans hold
names, times, counts and versions; never a question, a passage, an answer, a header or a key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ragft.errors import MissingDependency

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from serving.telemetry.record import RequestRecord

_ENDPOINT, _PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
_CARRIED = (b"traceparent", b"tracestate")


def open_tracing(endpoint: str, version: str) -> Tracing:
    """Traces that go to a collector, in the background.

    Args:
        endpoint: its URL for traces over HTTP, as in `http://127.0.0.1:4318/v1/traces`.
        version: of ragft; every span carries it.

    Raises:
        MissingDependency: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingDependency(f"serve.otlp_endpoint needs OpenTelemetry ({error}): install ragft[otel].") from error
    # The engine, which loads later, reads the same variables and sends its spans there, too.
    os.environ[_ENDPOINT] = endpoint
    os.environ.setdefault(_PROTOCOL, "http/protobuf")
    resource = Resource.create({"service.name": "ragft", "service.version": version})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return Tracing(provider)


class Tracing:
    """Spans of one provider. Contexts are handed on, not attached: a stream ends in another task than it began in."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("ragft")
        self._propagator = TraceContextTextMapPropagator()

    def start_request(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[Any, Any]:
        """The span of a request, which continues the trace of its headers, and the context of the spans within it."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        carried = {name.decode(): value.decode("latin-1") for name, value in headers if name in _CARRIED}
        span = self._tracer.start_span("request", self._propagator.extract(carried), kind=SpanKind.SERVER)
        return span, set_span_in_context(span)

    def start(self, name: str, context: Any) -> Any:
        """A span of one stage."""
        return self._tracer.start_span(name, context)

    def fail(self, span: Any, kind: str) -> None:
        """Marks a span as failed, by the kind of the error alone: its message may quote what a user wrote."""
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR))

    def end_request(self, record: RequestRecord) -> None:
        """Ends the span of a request, with what is known of it now."""
        span = record.span
        span.update_name(f"{record.method} {record.route}")
        values = {
            "http.request.method": record.method,
            "http.route": record.route,
            "http.response.status_code": record.status,
            "ragft.request_id": record.request_id,
            "ragft.domain": record.domain,
            "ragft.setup": record.setup,
        }
        for name, value in values.items():
            span.set_attribute(name, value)
        if record.status >= 500 or record.interrupted:
            self.fail(span, record.reason or "interrupted")
        span.end()

    def headers(self, span: Any) -> Mapping[str, str]:
        """The headers by which another program continues this span."""
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span))
        return carrier

    def close(self) -> None:
        """Sends what is still here. Blocks, for some seconds where the collector does not answer."""
        self._provider.shutdown()
