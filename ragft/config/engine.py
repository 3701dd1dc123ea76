"""`engine`: how text is generated."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ragft.config.section import Section, one_of
from ragft.engine.backends import BACKENDS


class ServerSection(Section):
    """An OpenAI-compatible server that has one of the two models."""

    url: str = Field(pattern=r"^https?://", description="Its address, up to `/v1`.")
    model: str | None = Field(None, description="Name of the model there. Unset: the only one that it lists.")
    key_variable: str | None = Field(
        None, description="Environment variable that holds the key of the server. Unset: it needs none."
    )


class EngineSection(Section):
    """How text is generated; the names are vLLM's."""

    backend: Annotated[str, one_of(BACKENDS)] = Field(
        "vllm", description=f"What answers. {'; '.join(f'{name}: {one.title}' for name, one in BACKENDS.items())}."
    )
    servers: dict[Literal["base", "tuned"], tuple[ServerSection, ...]] = Field(
        {},
        description="With `backend: remote`: the servers that have the base and the tuned model, each with the keys "
        "`url`, `model` and `key_variable`. One answers for another that is down.",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="Number format. auto: bfloat16 where the processor multiplies it in hardware, else float32."
    )
    max_model_len: int = Field(2048, ge=64, description="Longest prompt and answer together, in tokens.")
    max_tokens: int = Field(96, ge=1, description="Longest answer in tokens, unless a request asks otherwise.")
    max_num_seqs: int = Field(32, ge=1, description="Requests that are generated at once.")
    kv_cache_mib: int = Field(512, ge=32, description="Memory for the attention cache on a CPU, in MiB.")
    enforce_eager: bool = Field(
        True, description="Skip torch.compile: starts a minute sooner, answers slightly more slowly."
    )
