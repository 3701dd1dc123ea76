"""The configuration of one application as a whole: what all of its parts share, and a section for each."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from ragft.config.index import IndexSection
from ragft.config.section import Section
from ragft.config.training import DataSection, FinetuneSection, MergeSection
from ragft.config.use import EngineSection, EvaluateSection, ServeSection


class ModelSection(Section):
    """Which language model is tuned and served."""

    base: str = Field("smollm2-135m-instruct", description="Hub id, local folder, or name of a packaged model.")


class PromptSection(Section):
    """What every setup is told, and what an answer must look like."""

    system: str = Field(
        "You answer questions about the documents of this domain. If you do not know, say so.",
        description="The system prompt that all four setups share: describe the house format in full.",
    )
    refusal: str = Field(
        "I do not know.", description="The answer to give, word for word, when the passages do not hold one."
    )
    format: str | None = Field(
        None,
        description="Regular expression that a whole answer in the house format matches; none: not scored.",
    )
    value: str | None = Field(
        None,
        description="Regular expression whose first group is the exact value in an answer; none: the whole answer.",
    )

    @field_validator("format", "value")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        import re

        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"is not a regular expression: {error}") from None
        return pattern

    @field_validator("value")
    @classmethod
    def _has_a_group(cls, pattern: str | None) -> str | None:
        import re

        if pattern is not None and re.compile(pattern).groups < 1:
            raise ValueError("has no group: put parentheses around the exact value")
        return pattern


class Config(Section):
    """One application: a domain, its model, its index, its data and its endpoint."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Name of the domain: lower case, digits, - _ .")
    workspace: Path | None = Field(None, description="Folder of all outputs; none: workspace/NAME where ragft runs.")
    seed: int = Field(0, ge=0, description="Seed of every split, mix, initialisation and resample.")
    model: ModelSection = ModelSection()
    prompt: PromptSection = PromptSection()
    index: IndexSection = IndexSection()
    data: DataSection = DataSection()
    finetune: FinetuneSection = FinetuneSection()
    merge: MergeSection = MergeSection()
    engine: EngineSection = EngineSection()
    evaluate: EvaluateSection = EvaluateSection()
    serve: ServeSection = ServeSection()

    @model_validator(mode="after")
    def _shares_fit(self) -> Config:
        mix = self.data.mix
        if mix.general_share > 0 and mix.general is None:
            raise ValueError("data.mix.general_share is above 0 but data.mix.general names no file")
        if mix.closed_book_share + mix.general_share > 1:
            raise ValueError("data.mix.closed_book_share and general_share add up to more than 1")
        return self


def workspace_of(config: Config) -> Path:
    """The folder that holds all outputs of this configuration."""
    return config.workspace if config.workspace is not None else Path("workspace") / config.name
