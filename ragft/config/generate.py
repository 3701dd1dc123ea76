"""`data.generate`: questions and answers made from the documents, and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ragft.config.engine import ServerSection
from ragft.config.section import FilePath, Section, Share


class GenerateSection(Section):
    """How `ragft data generate` makes examples and questions from the passages of the index."""

    by: Literal["structure", "model", "both"] = Field(
        "structure",
        description="What writes them. `structure`: tables, keys and values, definitions, headings, FAQs; `model`: a "
        "language model; `both`: the model adds what structure alone does not give.",
    )
    examples: int = Field(600, ge=1, description="Training examples to make.")
    questions: int = Field(240, ge=1, description="Evaluation questions to make.")
    question_share: float = Field(
        0.3, gt=0, lt=1, description="Share of the facts that are held out for questions, by group of documents."
    )
    comparison_share: Share = Field(0.15, description="Share that compares two passages.")
    day_share: Share = Field(
        0.15, description="Share that asks whether something holds on a day, where the templates have `on_day`."
    )
    unanswerable_share: Share = Field(
        0.15, description="Share that asks for what neighbours state and no passage states of this subject."
    )
    follow_up_share: Share = Field(0.05, description="Share that follows an earlier question.")
    folder: FilePath = Field(
        Path("generated"),
        description="Folder for `examples.jsonl`, `questions.jsonl`, `rejected.jsonl` and the templates; name the "
        "first two in `data.examples` and `data.questions`.",
    )
    templates: FilePath | None = Field(
        None, description="YAML of wordings and of the answer's form. Unset: `templates.yaml` in `folder`."
    )
    avoid: tuple[FilePath, ...] = Field(
        (), description="JSONL of existing examples or questions that generated ones must not copy."
    )
    max_answer_words: int = Field(40, ge=1, description="Longest value of an answer, in words.")
    restricted: bool = Field(
        False,
        description="Also ask about documents with access labels. A model that is trained on them tells everybody.",
    )
    server: ServerSection | None = Field(
        None, description="The OpenAI-compatible server whose model writes. Unset: the base model, in this process."
    )
    per_request: int = Field(3, ge=1, description="Questions that the model is asked for at once about a passage.")
    max_tokens: int = Field(400, ge=16, description="Longest reply of the model, in tokens.")
    check: bool = Field(
        True,
        description="Let the model answer each of its questions from the passages found; it must find the answer, or "
        "say that there is none.",
    )
    concurrency: int = Field(8, ge=1, description="Requests to the model at once.")
    retries: int = Field(3, ge=0, description="Times that a failed request is repeated.")
    timeout: float = Field(120.0, gt=0, description="Seconds that a reply of the server may take.")

    @model_validator(mode="after")
    def _leaves_single_facts(self) -> GenerateSection:
        if self.comparison_share + self.day_share + self.unanswerable_share + self.follow_up_share > 1:
            raise ValueError(
                "has shares of comparisons, questions about a day, unanswerable ones and follow-ups that sum to more "
                "than 1"
            )
        return self
