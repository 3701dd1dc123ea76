"""The configuration file as a whole: what all parts share, and one section for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from ragft.config.answer import AnswerSection
from ragft.config.data import DataSection
from ragft.config.engine import EngineSection
from ragft.config.evaluate import EvaluateSection
from ragft.config.finetune import FinetuneSection
from ragft.config.index import IndexSection
from ragft.config.merge import MergeSection
from ragft.config.model import ModelSection
from ragft.config.prompt import PromptSection
from ragft.config.section import DOMAIN_NAME, FilePath, Section
from ragft.config.serve import ServeSection
from ragft.config.tune import TuneSection


class Config(Section):
    """One application: a domain, its model, its index, its data and its endpoint."""

    name: str = Field(pattern=DOMAIN_NAME, description="Name of the domain: lower case, digits, - _ .")
    workspace: FilePath | None = Field(
        None, description="Folder for all outputs. Unset: workspace/NAME in the current folder."
    )
    seed: int = Field(0, ge=0, description="Seeds every split, mix, initialisation and resample.")
    recipe: str | None = Field(
        None,
        description="Which of `recipes` applies; reports of a model that it trained name it. Unset: none.",
    )
    recipes: dict[str, dict[str, Any]] = Field(
        {}, description="Named variants of this file: for each, dotted keys with the values that they have in it."
    )
    model: ModelSection = ModelSection()
    prompt: PromptSection = PromptSection()
    answer: AnswerSection = AnswerSection()
    index: IndexSection = IndexSection()
    data: DataSection = DataSection()
    finetune: FinetuneSection = FinetuneSection()
    tune: TuneSection = TuneSection()
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

    @model_validator(mode="after")
    def _has_what_selects(self) -> Config:
        if self.finetune.select == "form" and self.answer.format is None:
            raise ValueError("finetune.select is form but answer.format declares none")
        return self

    @model_validator(mode="after")
    def _has_what_decides_a_split(self) -> Config:
        if self.serve.split.arms and self.serve.split.decides == "format_valid" and self.answer.format is None:
            raise ValueError("serve.split.decides is format_valid but answer.format declares none")
        return self

    @model_validator(mode="after")
    def _refuses_by_a_score_that_there_is(self) -> Config:
        without = {"dense": "lexical", "lexical": "dense"}.get(self.index.search.mode)
        if self.serve.grounding == "refuse" and self.serve.refuse_by == without:
            raise ValueError(
                f"serve.refuse_by is {without}, but index.search.mode {self.index.search.mode} has no such score"
            )
        return self

    @property
    def workspace_folder(self) -> Path:
        """The folder of all outputs."""
        return self.workspace if self.workspace is not None else Path("workspace") / self.name
