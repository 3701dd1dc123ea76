"""`evaluate.cost`: what answers and training cost, so that the comparison can say what each setup costs."""

from __future__ import annotations

from pydantic import Field, model_validator

from ragft.config.section import Section


class CostSection(Section):
    """Rates that the comparison prices answers and training by. Without any, nothing is priced."""

    currency: str = Field("EUR", min_length=1, max_length=8, description="Currency of all prices here.")
    prompt_tokens: float | None = Field(None, ge=0, description="Price of a million prompt tokens.")
    answer_tokens: float | None = Field(None, ge=0, description="Price of a million answer tokens.")
    hour: float | None = Field(
        None, ge=0, description="Price of an hour of the machine that answers, instead of prices of tokens."
    )
    training_hour: float | None = Field(
        None, ge=0, description="Price of an hour of the machine that trains. Unset: `hour`."
    )
    watts: float | None = Field(
        None, gt=0, description="What the machine that answers draws, in watts. Unset: no energy is told."
    )
    wrong_answer: float | None = Field(
        None, ge=0, description="What a wrong answer costs you. Unset: better answers save nothing."
    )
    at_once: int | None = Field(
        None,
        ge=1,
        description="Questions that were answered at the same time when the records were made. Unset: as they say.",
    )

    @model_validator(mode="after")
    def _has_one_price(self) -> CostSection:
        if self.hour is not None and (self.prompt_tokens, self.answer_tokens) != (None, None):
            raise ValueError("prices answers by tokens and by the hour: give prompt_tokens and answer_tokens, or hour")
        return self

    @property
    def prices_something(self) -> bool:
        """Whether any rate is given."""
        rates = (self.prompt_tokens, self.answer_tokens, self.hour, self.training_hour, self.watts)
        return any(rate is not None for rate in rates)

    def of_tokens(self, prompt: float, answer: float) -> float | None:
        """The price of so many tokens of prompts and answers; None where a price of tokens is not given."""
        if self.prompt_tokens is None or self.answer_tokens is None:
            return None
        return (prompt * self.prompt_tokens + answer * self.answer_tokens) / 1e6
