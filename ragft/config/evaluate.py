"""`evaluate`: which setups are compared, and how certain the comparison is."""

from __future__ import annotations

from pydantic import Field

from ragft.config.judge import JudgeSection
from ragft.config.section import FilePath, Section, SetupName, Share
from ragft.setups import SETUPS


class GeneralSection(Section):
    """Whether tuning costs general ability, for `ragft evaluate --suite forgetting`."""

    files: tuple[FilePath, ...] = Field(
        (),
        description="JSONL files of questions that have nothing to do with the domain, each a task: multiple choice.",
    )
    limit: int | None = Field(
        None, ge=1, description="Asks a seeded sample of so many questions of each file. Unset: all of them."
    )
    margin: Share = Field(0.02, description="Largest loss of general ability that is accepted, as a share.")


class EvaluateSection(Section):
    """Which setups are compared, and how certain the comparison is."""

    setups: tuple[SetupName, ...] = Field(tuple(SETUPS), description="Setups to compare.")  # type: ignore[arg-type]
    limit: int | None = Field(
        None, ge=1, description="Evaluates a seeded sample of so many questions. Unset: all of them."
    )
    resamples: int = Field(10_000, ge=200, description="Permutations of tests that are not exact.")
    max_failed: Share = Field(
        0.01, description="Largest share of the answers of a setup that may fail before the run is refused."
    )
    metrics: tuple[str, ...] = Field((), description="Metrics to compute beside the usual ones, by name.")
    metrics_file: FilePath | None = Field(
        None, description="Python file that registers metrics of your own with `@metric`; it is executed."
    )
    labels: tuple[str, ...] | None = Field(
        None, description="Access labels of the caller that the evaluation stands for. Unset: may see everything."
    )
    general: GeneralSection = GeneralSection()
    judge: JudgeSection = JudgeSection()
