"""`evaluate`: which setups are compared, and how certain the comparison is."""

from __future__ import annotations

from pydantic import Field

from ragft.config.section import FilePath, Section, SetupName, Share
from ragft.setups import SETUPS


class EvaluateSection(Section):
    """Which setups are compared, and how certain the comparison is."""

    setups: tuple[SetupName, ...] = Field(tuple(SETUPS), description="Setups to compare.")  # type: ignore[arg-type]
    limit: int | None = Field(
        None, ge=1, description="Evaluates a seeded sample of so many questions. Unset: all of them."
    )
    resamples: int = Field(10_000, ge=200, description="Bootstrap resamples and permutations.")
    max_failed: Share = Field(0.01, description="Largest share of answers that may fail before the run is refused.")
    metrics: tuple[str, ...] = Field((), description="Metrics to compute beside the usual ones, by name.")
    metrics_file: FilePath | None = Field(
        None, description="Python file that registers metrics of your own with `@metric`; it is executed."
    )
    labels: tuple[str, ...] | None = Field(
        None, description="Access labels of the caller that the evaluation stands for. Unset: may see everything."
    )
