"""What operators see of the endpoint: metrics, logs and traces, all made of one record per request.

`Telemetry` is the one thing that `create_app` wires: an ASGI layer around everything that may refuse a request, and a
pipeline that notes what it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from ragft.artifacts import package_versions
from ragft.pipeline import Pipeline
from serving.errors import ApiError, telling
from serving.limits import is_http
from serving.telemetry import logs
from serving.telemetry.metrics import REASONS, Metrics
from serving.telemetry.observed import observed
from serving.telemetry.recent import RecentErrors, UnderWay
from serving.telemetry.record import OTHER, RequestRecord, recorded
from serving.telemetry.tracing import Tracing, open_tracing

if TYPE_CHECKING:
    from serving.deployment import Deployment
    from serving.domains import Domains


class Telemetry:
    """Metrics, logs and traces of one server.

    Attributes:
        tracing: None: requests are not traced.
        errors: the last ones, for operators.
        under_way: requests that have not ended.
    """

    def __init__(self, domains: Domains) -> None:
        """
        Raises:
            MissingDependency: `serve.otlp_endpoint` is set, and OpenTelemetry is not installed.
        """
        settings = domains.deployments[0].app.config.serve
        self.metrics = Metrics(domains.deployments)
        self.tracing: Tracing | None = None
        if settings.otlp_endpoint is not None:
            self.tracing = open_tracing(settings.otlp_endpoint, package_versions(["ragft"]).get("ragft", "unknown"))
        self.errors, self.under_way = RecentErrors(), UnderWay()
        self._domains = domains
        self._splits = {one.domain: one.split for one in domains.deployments if one.split is not None}
        self._contents = settings.request_log == "contents"
        self._seen: dict[str, tuple[Pipeline, Pipeline]] = {}

    def pipeline(self, deployment: Deployment) -> Pipeline:
        """The pipeline of a deployment, observed; raises as `Deployment.ready`."""
        pipeline = deployment.ready()
        seen = self._seen.get(deployment.domain)
        if seen is None or seen[0] is not pipeline:
            self._seen[deployment.domain] = seen = (pipeline, observed(pipeline))
        return seen[1]

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Sends the last spans on exit."""
        try:
            yield
        finally:
            if self.tracing is not None:
                await asyncio.to_thread(self.tracing.close)

    def around(self, app: ASGIApp, routes: Collection[str]) -> ASGIApp:
        """The application with a record of every request. What is outside of it must have given the request its id.

        Args:
            routes: paths that may be named where a request was refused before its route was found.
        """

        async def recording(scope: Scope, receive: Receive, send: Send) -> None:
            if not is_http(scope):
                await app(scope, receive, send)
                return
            record = RequestRecord(scope["state"]["request_id"], scope["method"])
            if self.tracing is not None:
                record.tracing = self.tracing
                record.span, record.context = self.tracing.start_request(scope["headers"])

            async def send_noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    record.status = message["status"]
                await send(message)

            told: list[ApiError] = []
            asks = scope["path"].startswith("/v1/")
            if asks:
                self.under_way.begin(record)
            # Shadows of an experiment give way to what uses an engine; of which domain that is, nobody knows yet.
            splits = list(self._splits.values()) if asks else []
            for split in splits:
                split.shadows.begin()
            try:
                with recorded(record), telling(told.append):
                    await app(scope, receive, send_noting)
            except Exception:
                record.status = 500
                raise
            finally:
                for split in splits:
                    split.shadows.end()
                self.under_way.end(record)
                record.route = scope.get("path_template") or (scope["path"] if scope["path"] in routes else OTHER)
                self._end(record)
                self.errors.note(record, told[-1] if told else None)

        return recording

    def _end(self, record: RequestRecord) -> None:
        record.seconds["total"] = time.perf_counter() - record.begin
        record.status = record.status or 499  # nobody was left to be answered
        if not record.reason and record.status >= 400:
            record.reason = self._reason(record)
        self.metrics.observe(record)
        if (split := self._splits.get(record.domain)) is not None:
            split.ended(record)
        with recorded(record):
            logs.write(record, self._contents)
        if record.tracing is not None:
            record.tracing.end_request(record)

    def _reason(self, record: RequestRecord) -> str:
        meant = (one.state for one in self._domains.deployments if one.domain == record.domain)
        state = next(meant, self._domains.state)
        if record.status in (499, 503) and state != "ready":
            return state.replace(" ", "_")
        return REASONS.get(record.status, "other")
