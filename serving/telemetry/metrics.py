"""Prometheus metrics of the endpoint; vLLM's own stand beside them in what `/metrics` answers.

Every label has few values: routes are templates, domains and setups those that there are, reasons those of `REASONS`
and of the states of deployments. Nothing that a request says becomes a label.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
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
_STAGES = ("queue", "search", "condense", "prompt", "first_token", "generate")


class Metrics:
    """The metrics of one server."""

    def __init__(self, deployments: Sequence[Deployment]) -> None:
        # Its own registry, because a process may make several applications, as the tests do; the process's, into which
        # vLLM writes, is a part of it.
        self.registry = own = CollectorRegistry()
        self._series: dict[tuple[Any, tuple[str, ...]], Any] = {}
        own.register(DeploymentCollector(deployments))
        own.register(REGISTRY)
        whose = ["domain", "setup"]
        self._requests = Counter(
            "ragft_requests", "Requests that ended, by what they were answered.",
            ["route", "domain", "setup", "status"], registry=own,
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
            "Stages of an answer: queue (of the engine), search, condense (within it), prompt, first_token (since the "
            "arrival), generate.",
            ["stage", "domain", "setup"], buckets=_BUCKETS, registry=own,
        )  # fmt: skip
        self._prompt_tokens = Counter(
            "ragft_prompt_tokens", "Tokens of prompts that were answered.", whose, registry=own
        )
        self._answer_tokens = Counter("ragft_answer_tokens", "Tokens of answers.", whose, registry=own)
        self._answers = Counter(
            "ragft_answers", "Answers that came to their end, declared refusals among them.", whose, registry=own
        )
        self._interrupted = Counter(
            "ragft_answers_interrupted", "Streams that failed after their first token.", whose, registry=own
        )
        self._refusals = Counter(
            "ragft_refusals", "Answers that hold the declared refusal (answer.refusal).", whose, registry=own
        )
        self._citations = Counter("ragft_citations", "Passages that answers name.", whose, registry=own)
        self._invalid = Counter(
            "ragft_citations_invalid", "Numbers in answers of passages that there are not.", whose, registry=own
        )
        # Series that are there from the start: the first failure must be a change, not something new.
        for reason in (*REASONS.values(), "engine_dead", "index"):
            self._rejected.labels(reason)
        for deployment in deployments:
            for name in deployment.app.config.serve.setups:
                for counter in (
                    self._prompt_tokens, self._answer_tokens, self._answers, self._interrupted, self._refusals,
                    self._citations, self._invalid,
                ):  # fmt: skip
                    counter.labels(deployment.domain, name)
        self._refusals_of = {one.domain: one.app.config.answer.refusal.casefold().strip() for one in deployments}

    def page(self) -> bytes:
        """All metrics in Prometheus's text format; takes milliseconds, in any thread."""
        return generate_latest(self.registry)

    def observe(self, record: RequestRecord) -> None:
        """Counts a request that has ended."""
        of, seconds, whose = self._of, record.seconds, (record.domain, record.setup)
        of(self._requests, record.route, *whose, str(record.status)).inc()
        of(self._seconds, record.route).observe(seconds["total"])
        if record.reason:
            of(self._rejected, record.reason).inc()
        if record.interrupted:
            of(self._interrupted, *whose).inc()
        for stage in _STAGES:
            if stage in seconds:
                of(self._stages, stage, *whose).observe(seconds[stage])
        if record.prompt_tokens:
            of(self._prompt_tokens, *whose).inc(record.prompt_tokens)
            of(self._answer_tokens, *whose).inc(record.answer_tokens)
        if record.answer is not None and record.status == 200 and not record.interrupted:
            of(self._answers, *whose).inc()
            cited, invalid = record.citations
            of(self._citations, *whose).inc(cited)
            of(self._invalid, *whose).inc(invalid)
            refusal = self._refusals_of.get(record.domain, "")
            of(self._refusals, *whose).inc(bool(refusal) and refusal in record.answer.casefold())

    def _of(self, metric: Any, *labels: str) -> Any:
        """The series of these labels; looking it up in the metric takes several times as long as counting."""
        key = (metric, labels)
        if key not in self._series:
            self._series[key] = metric.labels(*labels)
        return self._series[key]


class DeploymentCollector(Collector):
    """What is true of the deployments at the moment, read when somebody asks: no value outlives its version."""

    def __init__(self, deployments: Sequence[Deployment]) -> None:
        self._deployments = deployments

    def collect(self) -> Iterable[Metric]:
        build = GaugeMetricFamily("ragft_build_info", "Version of ragft.", labels=["version"])
        build.add_metric([package_versions(["ragft"]).get("ragft", NONE)], 1.0)
        ready = GaugeMetricFamily("ragft_ready", "1 if questions are answered.", labels=["domain"])
        index = GaugeMetricFamily("ragft_index_info", "Snapshot that serves.", labels=["domain", "version"])
        passages = GaugeMetricFamily("ragft_index_passages", "Passages in the index.", labels=["domain"])
        since = GaugeMetricFamily(
            "ragft_index_live_timestamp_seconds", "When the snapshot began to serve.", labels=["domain"]
        )
        models = GaugeMetricFamily("ragft_model_info", "Models that serve.", labels=["domain", "model", "version"])
        refreshes = CounterMetricFamily(
            "ragft_index_refreshes", "Refreshes through this server.", labels=["domain", "outcome"]
        )
        arms = CounterMetricFamily(
            "ragft_split_requests", "Requests and shadows of an experiment.", labels=["domain", "arm", "status"]
        )
        dropped = CounterMetricFamily(
            "ragft_split_shadows_dropped", "Shadows that had no room beside requests.", labels=["domain"]
        )
        lost = CounterMetricFamily("ragft_split_outcomes_lost", "Outcomes that were not recorded.", labels=["domain"])
        unkept = CounterMetricFamily(
            "ragft_questions_lost",
            "Questions that serve.log_questions was to keep, and that were not.",
            labels=["domain"],
        )
        for deployment in self._deployments:
            domain = deployment.domain
            unkept.add_metric([domain], deployment.feedback.asked.lost)
            if (split := deployment.split) is not None:
                for (arm, status), count in sorted(split.outcomes.items()):
                    arms.add_metric([domain, arm, status], count)
                dropped.add_metric([domain], split.shadows.dropped)
                lost.add_metric([domain], split.lost)
            ready.add_metric([domain], float(deployment.state == "ready"))
            if deployment.history:
                live = deployment.history[-1]
                index.add_metric([domain, str(live["id"])], 1.0)
                passages.add_metric([domain], float(live["chunks"]))
                since.add_metric([domain], float(live["since"]))
            for name, engine in deployment.pipeline.engines.items() if deployment.pipeline is not None else ():
                models.add_metric([domain, name, engine.version], 1.0)
            for outcome, count in sorted(deployment.refreshes.items()):
                refreshes.add_metric([domain, outcome], count)
        restarts = CounterMetricFamily(
            "ragft_engine_restarts", "Attempts to rebuild an engine that died.", labels=["outcome"]
        )
        for outcome, count in sorted(self._deployments[0].restarts.items()):  # of one supervisor for all domains
            restarts.add_metric([outcome], count)
        yield from (build, ready, index, passages, since, models, refreshes, restarts, arms, dropped, lost, unkept)


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
