"""`tune`: where `ragft tune` looks for better values of `finetune`, and what `ragft tune search` tries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from ragft.config.finetune import FinetuneSection
from ragft.config.section import Section

SEARCHED = (
    "learning_rate", "rank", "alpha", "dropout", "virtual_tokens", "lora_plus_ratio", "neftune_alpha", "epochs",
    "batch_size", "warmup_ratio", "lr_scheduler", "weight_decay", "max_grad_norm",
)  # fmt: skip
"""Keys of `finetune` that a search may vary. The others decide what is measured, or how fast: losses over other rows or
other tokens cannot be compared."""


class Range(Section):
    """A range of numbers that a search takes values from: by their logarithm, unless it begins at 0."""

    low: float = Field(ge=0, description="Lowest value.")
    high: float = Field(description="Highest value.")

    @model_validator(mode="after")
    def _rises(self) -> Range:
        if self.high <= self.low:
            raise ValueError(f"high is {self.high:g}, which is not above low, {self.low:g}")
        return self


Space = dict[str, Range | tuple[int | float | str, ...]]


def _searchable(space: Space) -> Space:
    """The space, its choices as `finetune` reads them: `1e-4`, which is a text in YAML, as a number."""
    read: Space = {}
    for key, values in space.items():
        if key not in SEARCHED:
            raise ValueError(f"{key!r} cannot be searched; finetune keys that can: {', '.join(SEARCHED)}")
        if isinstance(values, Range):
            if key == "lr_scheduler":
                raise ValueError("lr_scheduler takes a list of names, not a range")
            _read(key, values.high)
            read[key] = values
        elif not values:
            raise ValueError(f"{key} has no values to choose from")
        else:
            read[key] = tuple(dict.fromkeys(_read(key, value) for value in values))
    return read


def _read(key: str, value: float | str) -> float | str:
    whole = FinetuneSection.model_fields[key].annotation is int
    try:
        read = FinetuneSection.model_validate({key: round(value) if whole and isinstance(value, float) else value})
    except ValidationError as error:
        raise ValueError(f"{key} cannot be {value!r}: {error.errors()[0]['msg']}") from None
    found: float | str = getattr(read, key)
    return found


class TuneSearchSection(Section):
    """What `ragft tune search` tries beside the present `index.search`, and what it goes by."""

    top_k: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(
        (2, 3, 4, 6, 8), description="Numbers of passages that a question is answered from."
    )
    modes: tuple[Literal["hybrid", "dense", "lexical"], ...] = Field(
        ("hybrid", "dense", "lexical"), description="Values of index.search.mode."
    )
    dense_weights: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.5, 1.0, 2.0, 4.0), description="In hybrid mode, weights of the dense ranking; that of the lexical one is 1."
    )
    chunk_tokens: tuple[Annotated[int, Field(ge=32)], ...] = Field(
        (), description="Values of index.chunking.max_tokens. Each takes an index of its own, encoded for the search."
    )
    metric: Literal["all_sources", "mrr", "ndcg"] = Field(
        "all_sources",
        description="What the best settings are best in: questions with all sources among the passages, mean "
        "reciprocal rank, or nDCG.",
    )
    share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="Share of the questions that settings are chosen by; the others tell what the choice is worth."
    )
    searches: int = Field(
        60, ge=1, description="Most settings that are searched with, whatever top_k; of more, a seeded sample is taken."
    )


class TuneSection(Section):
    """Where `ragft tune` looks for better values of `finetune`, and for how long."""

    minutes: float = Field(30.0, gt=0, description="Longest time of one call; another call goes on where it ended.")
    trials: int | None = Field(None, ge=1, description="Trials after which the search ends. Unset: when time is up.")
    space: Annotated[Space, AfterValidator(_searchable)] = Field(
        {},
        description="Keys of finetune that are varied, each with the values to choose from, [8, 16], or a range, {low: "
        "1e-4, high: 1e-2}. The configured value is always among them. Empty: learning_rate from a tenth to four times "
        "the configured one, half and double the epochs, and for low-rank adapters ranks from 8 to 64.",
    )
    search: TuneSearchSection = TuneSearchSection()
