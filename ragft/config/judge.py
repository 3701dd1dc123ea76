"""`evaluate.judge`: a language model that rates answers by a rubric, and the labels by which it is calibrated."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from ragft.config.section import FilePath, Section


class CriterionSection(Section):
    """One criterion of the rubric."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$", description="Name in reports and labels: lower case, digits, - _.")
    question: str = Field(min_length=1, description="What the judge is asked about an answer, in a sentence or two.")
    scale: tuple[int, int] = Field((1, 5), description="Lowest and highest whole number of the scale.")
    reference: bool = Field(True, description="Whether the judge is shown the accepted answers of the question.")

    @field_validator("scale")
    @classmethod
    def _rises(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[1] - value[0] <= 100:
            raise ValueError("should be the lowest and the highest number of a scale, as in [1, 5]")
        return value


class JudgeSection(Section):
    """A language model that rates answers by a rubric, and the labels by which it is calibrated."""

    base_url: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="Any OpenAI-compatible endpoint, as in `http://127.0.0.1:8000/v1`. Unset: there is no judge.",
    )
    model: str | None = Field(None, min_length=1, description="The judge's model, as the endpoint names it.")
    key_variable: str = Field(
        "RAGFT_JUDGE_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable that holds the endpoint's key; the key itself stands in no file.",
    )
    criteria: tuple[CriterionSection, ...] = Field(
        (),
        description="The rubric: entries with `name`, `question`, and perhaps `scale` and `reference`. Empty: one "
        "criterion, `overall`.",
    )
    ask: Literal["both", "scores", "preferences"] = Field(
        "both", description="A score for each answer, a preference between the answers of two setups, or both."
    )
    pairs: tuple[tuple[str, str], ...] | None = Field(
        None, description="Pairs of setups whose answers are compared, as in `[[hybrid, rag-only]]`. Unset: all pairs."
    )
    limit: int | None = Field(None, ge=1, description="Judges a seeded sample of so many questions. Unset: all.")
    max_tokens: int = Field(512, ge=16, description="Longest reply of the judge, in tokens.")
    concurrency: int = Field(4, ge=1, le=256, description="Requests to the judge at the same time.")
    retries: int = Field(
        4, ge=0, le=20, description="How often a request that the endpoint did not answer is repeated."
    )
    timeout: float = Field(120.0, gt=0, description="Seconds after which a request counts as not answered.")
    max_failed: float = Field(
        0.1, ge=0.0, le=1.0, description="Largest share of judgements that may fail before the run is refused."
    )
    labels: FilePath | None = Field(
        None, description="CSV or JSONL of people's labels for some of the judged answers, to calibrate the judge by."
    )

    @model_validator(mode="after")
    def _fits(self) -> JudgeSection:
        names = [criterion.name for criterion in self.criteria]
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise ValueError(f"criteria holds {twice[0]!r} twice")
        if same := [pair for pair in self.pairs or () if pair[0] == pair[1]]:
            raise ValueError(f"pairs compares {same[0][0]!r} with itself")
        return self
