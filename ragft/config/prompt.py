"""`prompt`: what the model is told."""

from __future__ import annotations

from pydantic import Field

from ragft.config.section import Section


class PromptSection(Section):
    """What the model is told in every setup."""

    system: str = Field(
        "You answer questions about the documents of this domain. If you do not know, say so.",
        description="System prompt of all four setups. Describe the house format in full.",
    )
