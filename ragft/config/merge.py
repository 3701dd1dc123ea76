"""`merge`: how the adapter becomes a model, and what proves it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ragft.config.section import Section, Share


class MergeSection(Section):
    """How the adapter becomes a model, and what proves it."""

    onto: Literal["trained", "original", "auto"] = Field(
        "trained",
        description="trained: onto the (dequantised) weights that the adapter was trained on; original: onto the "
        "16-bit base; auto: both are proven, and the better one by format validity, then by validation loss, is taken.",
    )
    prompts: int = Field(50, ge=1, description="Held-out prompts of the proof.")
    max_divergence: float = Field(
        0.02,
        gt=0,
        description="Largest mean KL divergence, in nats per token, of the merged model from base and adapter.",
    )
    max_format_loss: Share = Field(
        0.02, description="Largest drop in format validity from base and adapter, as a share of the prompts."
    )
