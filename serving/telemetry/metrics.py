"""Prometheus metrics of the endpoint; vLLM's own stand beside them in what `/metrics` answers.

Every label has few values: routes are templates, setups those that there are, reasons those of `REASONS` and of the
deployment's states. Nothing that a request says becomes a label.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector

from ragft.artifacts import package_versions
from ragft.errors import UsageError
from serving.telemetry.record import NONE, RequestRecord

if TYPE_CHECKING:
    from serving.deployment import Deployment

REASONS = {
    400: "invalid", 401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method", 408: "slow_body",
    409: "conflict", 413: "too_large", 415: "media_type", 422: "unprocessable", 429: "rate_limited",
    431: "headers_too_large", 499: "client_gone", 500: "error", 503: "overloaded", 504: "deadline", 507: "disk_full",
}  # fmt: skip
"""Why a request got no answer, where nothing more is known than its status."""

# Seconds: from a lexical search to an answer of many tokens on a processor.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_STAGES = ("queue", "search", "prompt", "first_token", "generate")


class Metrics:
    """The metrics of one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        # Its own registry, because a process may make several applications, as the tests do; the process's, into which
        # vLLM writes, is a part of it.
        self.registry = own = CollectorRegistry()
        self._series: dict[tuple[Any, tuple[str, ...]], Any] = {}
        own.register(DeploymentCollector(deployment))
        own.register(REGISTRY)
        self._requests = Counter(
            "ragft_requests", "Requests that ended, by what they were answered.", ["route", "setup", "status"],
            registry=own,
        )  # fmt: skip
        self._rejected = Counter(
            "ragft_requests_rejected", "Requests that got no answer, by the reason.", ["reason"], registry=own
        )
        self._seconds = Histogram(
            "ragft_request_seconds", "From the arrival of a request to its last byte.", ["route"],
            buckets=_BUCKETS, registry=own,
        )  # fmt: skip
        self._stages = Histogram(
            "ragft_stage_seconds",
            "Stages of an answer: queue (of the engine), search, prompt, first_token (since the arrival), generate.",
            ["stage", "setup"], buckets=_BUCKETS, registry=own,
        )  # fmt: skip
        self._prompt_tokens = Counter(
            "ragft_prompt_tokens", "Tokens of prompts that were answered.", ["setup"], registry=own
        )
        self._answer_tokens = Counter("ragft_answer_tokens", "Tokens of answers.", ["setup"], registry=own)
        self._answers = Counter("ragft_answers", "Answers that were generated to their end.", ["setup"], registry=own)
        self._interrupted = Counter(
            "ragft_answers_interrupted", "Streams that failed after their first token.", ["setup"], registry=own
        )
        self._refusals = Counter(
            "ragft_refusals", "Answers that hold the declared refusal (answer.refusal).", ["setup"], registry=own
        )
        self._citations = Counter("ragft_citations", "Passages that answers name.", ["setup"], registry=own)
        self._invalid = Counter(
            "ragft_citations_invalid", "Numbers in answers of passages that there are not.", ["setup"], registry=own
        )
        # Series that are there from the start: the first failure must be a change, not something new.
        for reason in (*REASONS.values(), "engine_dead", "index"):
            self._rejected.labels(reason)
        for name in deployment.app.config.serve.setups:
            for counter in (
                self._prompt_tokens, self._answer_tokens, self._answers, self._interrupted, self._refusals,
                self._citations, self._invalid,
            ):  # fmt: skip
                counter.labels(name)
        self._refusal = deployment.app.config.answer.refusal.casefold().strip()

    def page(self) -> bytes:
        """All metrics in Prometheus's text format; takes milliseconds, in any thread."""
        return generate_latest(self.registry)

    def observe(self, record: RequestRecord) -> None:
        """Counts a request that has ended."""
        of, setup, seconds = self._of, record.setup, record.seconds
        of(self._requests, record.route, setup, str(record.status)).inc()
        of(self._seconds, record.route).observe(seconds["total"])
        if record.reason:
            of(self._rejected, record.reason).inc()
        if record.interrupted:
            of(self._interrupted, setup).inc()
        for stage in _STAGES:
            if stage in seconds:
                of(self._stages, stage, setup).observe(seconds[stage])
        if record.prompt_tokens:
            of(self._prompt_tokens, setup).inc(record.prompt_tokens)
            of(self._answer_tokens, setup).inc(record.answer_tokens)
        if record.answer is not None and record.status == 200 and not record.interrupted:
            of(self._answers, setup).inc()
            cited, invalid = record.citations
            of(self._citations, setup).inc(cited)
            of(self._invalid, setup).inc(invalid)
            of(self._refusals, setup).inc(bool(self._refusal) and self._refusal in record.answer.casefold())

    def _of(self, metric: Any, *labels: str) -> Any:
        """The series of these labels; looking it up in the metric takes several times as long as counting."""
        key = (metric, labels)
        if key not in self._series:
            self._series[key] = metric.labels(*labels)
        return self._series[key]


class DeploymentCollector(Collector):
    """What is true of the deployment at the moment, read when somebody asks: no value outlives its version."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def collect(self) -> Iterable[Metric]:
        deployment = self._deployment
        yield GaugeMetricFamily("ragft_ready", "1 if questions are answered.", float(deployment.state == "ready"))
        yield _info("ragft_build", "Version of ragft.", {"version": package_versions(["ragft"]).get("ragft", NONE)})
        if deployment.history:
            live = deployment.history[-1]
            yield _info("ragft_index", "Snapshot that serves.", {"version": str(live["id"])})
            yield GaugeMetricFamily("ragft_index_passages", "Passages in the index.", float(live["chunks"]))
            yield GaugeMetricFamily(
                "ragft_index_live_timestamp_seconds", "When the snapshot began to serve.", float(live["since"])
            )
        if deployment.pipeline is not None:
            models = GaugeMetricFamily("ragft_model_info", "Models that serve.", labels=["model", "version"])
            for name, engine in deployment.pipeline.engines.items():
                models.add_metric([name, engine.version], 1.0)
            yield models
        if (split := deployment.split) is not None:
            arms = CounterMetricFamily(
                "ragft_split_requests", "Requests and shadows of an experiment.", labels=["arm", "status"]
            )
            for (arm, status), count in sorted(split.outcomes.items()):
                arms.add_metric([arm, status], count)
            yield arms
            yield CounterMetricFamily(
                "ragft_split_shadows_dropped", "Shadows that had no room beside requests.", split.shadows.dropped
            )
            yield CounterMetricFamily("ragft_split_outcomes_lost", "Outcomes that were not recorded.", split.lost)
        for name, text, label, counts in (
            ("ragft_index_refreshes", "Refreshes through this server.", "outcome", deployment.refreshes),
            ("ragft_engine_restarts", "Attempts to rebuild an engine that died.", "outcome", deployment.restarts),
        ):
            family = CounterMetricFamily(name, text, labels=[label])
            for value, count in sorted(counts.items()):
                family.add_metric([value], count)
            yield family


def _info(name: str, text: str, labels: dict[str, str]) -> Metric:
    family = GaugeMetricFamily(f"{name}_info", text, labels=list(labels))
    family.add_metric(list(labels.values()), 1.0)
    return family


@contextlib.contextmanager
def on_own_port(metrics: Metrics, port: int | None) -> Iterator[None]:
    """Answers `/metrics` on a port of loopback as well, without a key; None: nowhere else.

    Raises:
        UsageError: the port cannot be had.
    """
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, "127.0.0.1", registry=metrics.registry)
    except OSError as error:
        raise UsageError(
            f"Port {port} cannot be used for metrics ({error.strerror or error}): choose another serve.metrics_port."
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
