"""`serve`: the endpoint."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ragft.config.section import FilePath, Section, SetupName

Condense = Literal["off", "heuristic", "model"]


class ServeSection(Section):
    """The endpoint."""

    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback an API key is required.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on. 0: any free one.")
    setups: tuple[SetupName, ...] = Field(("hybrid", "fine-tuned"), description="Setups to deploy, the default first.")
    condense: Condense = Field(
        "heuristic",
        description="How a follow-up becomes a query of its own before it is searched for, in `ragft ask` and the "
        "evaluation, too: not at all, with words of earlier questions, or rewritten by the model that answers.",
    )
    condense_deadline: float = Field(
        3.0,
        gt=0,
        description="Seconds that the model has to rewrite a follow-up before words of earlier questions are added "
        "instead; only the endpoint keeps it.",
    )
    keys: FilePath | None = Field(
        None,
        description="File of API keys as `scope[,scope] sha256-hex [labels=label[,label]]` lines; RAGFT_API_KEY works "
        "without one.",
    )
    max_body_bytes: int = Field(2_000_000, ge=1024, description="Largest request body.")
    body_timeout: float = Field(10.0, gt=0, description="Seconds within which a request's body must arrive.")
    drain_seconds: float = Field(20.0, ge=0, description="Seconds that answers in progress are given after SIGTERM.")
    max_queued: int = Field(64, ge=1, description="Requests that may wait before new ones are refused with 503.")
