"""`prompt`: what the model is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date as Date  # noqa: N812
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue

from ragft.config.section import Section
from ragft.setups import Arrangement
from ragft.template_texts import RESERVED
from ragft.templates import PINNED_DATE, TemplateOptions


def _not_reserved(arguments: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    if taken := sorted(RESERVED & arguments.keys()):
        raise ValueError(f"may not set {', '.join(taken)}, which ragft sets itself")
    return arguments


class PromptVariant(Section):
    """One way to ask: what stands where, and how many examples come before."""

    prompt: Arrangement = Field(
        "passages-first",
        description="What stands where in a prompt: `passages-first`, as a tuned model is trained; `question-first`; "
        "or `format-last`, which repeats `prompt.system` behind the question.",
    )
    shots: int = Field(0, ge=0, description="Training examples that stand before each question, as turns.")

    @property
    def title(self) -> str:
        """In words for people: `format-last`, `passages-first with 2 examples`."""
        examples = f" with {self.shots} example{'s' if self.shots > 1 else ''}" if self.shots else ""
        return f"{self.prompt}{examples}"


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

    untuned: dict[Literal["prompt-only", "rag-only"], PromptVariant] = Field(
        {},
        description="How setups without tuning are asked, by name: `prompt` and `shots`, as `evaluate.prompts` has "
        "them. Unset: as the tuned ones are.",
    )

    @property
    def template_options(self) -> TemplateOptions:
        """What the chat template is told besides the conversation."""
        return TemplateOptions(self.template_arguments, self.date)
