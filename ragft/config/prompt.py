"""`prompt`: what the model is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date as Date  # noqa: N812
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue

from ragft.config.section import Section
from ragft.template_texts import RESERVED
from ragft.templates import PINNED_DATE, TemplateOptions


def _not_reserved(arguments: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    if taken := sorted(RESERVED & arguments.keys()):
        raise ValueError(f"may not set {', '.join(taken)}, which ragft sets itself")
    return arguments


class PromptSection(Section):
    """What the model is told in every setup."""

    system: str = Field(
        "You answer questions about the documents of this domain. If you do not know, say so.",
        description="System prompt of all four setups. Describe the house format in full.",
    )
    history_tokens: int | None = Field(
        None,
        ge=0,
        description="Tokens that the earlier turns of a conversation may take of a prompt; the oldest are dropped "
        "first, which is said. Unset: half of what `engine.max_model_len` leaves beside an answer.",
    )
    template_arguments: Annotated[dict[str, JsonValue], AfterValidator(_not_reserved)] = Field(
        {},
        description="Further variables of the model's chat template, for training, evaluation and serving alike, such "
        "as `enable_thinking: false`.",
    )
    date: Date = Field(
        PINNED_DATE,
        description="The day that a chat template which writes the date is told, in training, evaluation and serving.",
    )

    @property
    def template_options(self) -> TemplateOptions:
        """What the chat template is told besides the conversation."""
        return TemplateOptions(self.template_arguments, self.date)
