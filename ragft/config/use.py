"""Sections on what is done with the models: text is generated, setups are compared, the endpoint serves."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ragft.config.section import Section, SetupName, Share
from ragft.setups import SETUPS


class EngineSection(Section):
    """How text is generated."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="Number format in vLLM; auto: bfloat16 where the processor multiplies it, else float32."
    )
    max_length: int = Field(2048, ge=64, description="Longest prompt plus answer in tokens.")
    max_tokens: int = Field(96, ge=1, description="Longest answer in tokens, unless a request says otherwise.")
    max_sequences: int = Field(32, ge=1, description="Requests that are generated together.")
    kv_cache_mib: int = Field(512, ge=32, description="Memory for the attention cache on a CPU, in MiB.")
    eager: bool = Field(True, description="Skip torch.compile: starts a minute sooner, answers a little slower.")


class EvaluateSection(Section):
    """What is compared, and how surely."""

    setups: tuple[SetupName, ...] = Field(tuple(SETUPS), description="Setups to compare.")  # type: ignore[arg-type]
    limit: int | None = Field(None, ge=1, description="Seeded subset of so many questions; none: all of them.")
    resamples: int = Field(10_000, ge=200, description="Bootstrap resamples and permutations.")
    max_failed: Share = Field(0.01, description="Largest share of records that may fail before the run is refused.")
    labels: tuple[str, ...] | None = Field(
        None, description="Access labels of the caller that the evaluation stands for; none: all of them."
    )


class ServeSection(Section):
    """The endpoint."""

    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback an API key is needed.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0: any free one.")
    setups: tuple[SetupName, ...] = Field(("hybrid", "fine-tuned"), description="Setups to deploy, the default first.")
    keys: Path | None = Field(
        None,
        description="File of API keys as `scope[,scope] sha256-hex [labels=label[,label]]` lines; RAGFT_API_KEY works "
        "without one.",
    )
    max_body_bytes: int = Field(2_000_000, ge=1024, description="Largest request body.")
    body_timeout: float = Field(10.0, gt=0, description="Seconds within which a request's body must have arrived.")
    drain_seconds: float = Field(20.0, ge=0, description="Seconds that running answers get after SIGTERM.")
    max_queued: int = Field(64, ge=1, description="Requests that may wait before new ones are answered with 503.")
