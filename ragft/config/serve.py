"""`serve`: the endpoint."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ragft.config.section import FilePath, Section, SetupName


class ServeSection(Section):
    """The endpoint."""

    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback an API key is required.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on. 0: any free one.")
    setups: tuple[SetupName, ...] = Field(("hybrid", "fine-tuned"), description="Setups to deploy, the default first.")
    keys: FilePath | None = Field(
        None,
        description="File of API keys as `scope[,scope] sha256-hex [labels=label[,label]]` lines; RAGFT_API_KEY works "
        "without one.",
    )
    max_body_bytes: int = Field(2_000_000, ge=1024, description="Largest request body.")
    body_timeout: float = Field(10.0, gt=0, description="Seconds within which a request's body must arrive.")
    drain_seconds: float = Field(20.0, ge=0, description="Seconds that answers in progress are given after SIGTERM.")
    max_queued: int = Field(64, ge=1, description="Requests that may wait before new ones are refused with 503.")
    grounding: Literal["off", "report", "refuse"] = Field(
        "report",
        description="`report`: says whether the cited passages hold what an answer says. `refuse`: refuses, too, "
        "without generating, where retrieval found too little. `off`: neither.",
    )
    refuse_by: Literal["dense", "lexical", "rank"] = Field(
        "dense", description="Score that `serve.refuse_below` is of: cosine, BM25, or the one that ranks passages."
    )
    refuse_below: float | None = Field(
        None,
        description="With `serve.grounding: refuse`, questions whose best passage scores less are refused. "
        "`ragft evaluate --suite abstention` recommends one.",
    )
    engine_restarts: int = Field(
        3, ge=0, description="Attempts in a row to rebuild an engine that died, before the process ends with status 1."
    )
    deep_health_timeout: float = Field(
        30.0, gt=0, description="Seconds that an engine has for a token, and the index for a search, in /health/deep."
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535,
        description="Port of loopback that answers /metrics without a key. Unset: only the endpoint's own, with a key.",
    )  # fmt: skip
    log_format: Literal["text", "json"] = Field("text", description="Form of the server's log, which goes to stderr.")
    request_log: Literal["none", "summary", "contents"] = Field(
        "summary",
        description="What is logged of each request. summary: route, status, times, versions; contents: question and "
        "answer, too.",
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="Where traces go: a collector's URL for OTLP over HTTP, as in http://127.0.0.1:4318/v1/traces. "
        "Unset: nothing is traced. Needs ragft[otel].",
    )

    @model_validator(mode="after")
    def _knows_where_to_refuse(self) -> ServeSection:
        if self.grounding == "refuse" and self.refuse_below is None:
            raise ValueError(
                "grounding is refuse but refuse_below is not set: take what `ragft evaluate --suite abstention` tells"
            )
        return self
