"""`answer`: what an answer must look like, and how its value is found."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from ragft.config.section import Regex, Section


class AnswerSection(Section):
    """What an answer must look like: the rules of scoring. The model learns them from `prompt` and the examples."""

    format: Regex | None = Field(
        None, description="Regular expression that a whole answer in the house format matches. Unset: not scored."
    )
    value: Regex | None = Field(
        None, description="Regular expression whose first group is the value of an answer. Unset: the whole answer."
    )
    refusal: str = Field(
        "I do not know.", description="The exact answer to give when the passages do not contain the answer."
    )
    refusals: tuple[Regex, ...] = Field(
        (), description="Regular expressions of refusals in other words, beside the usual English ones."
    )
    choices: tuple[str, ...] = Field(
        (), description="The answers to choose from, such as `yes`, `no` and `maybe`. Empty: it is no choice."
    )

    @field_validator("value")
    @classmethod
    def _has_a_group(cls, pattern: str | None) -> str | None:
        if pattern is not None and re.compile(pattern).groups < 1:
            raise ValueError("has no group: put parentheses around the value")
        return pattern

    @field_validator("choices")
    @classmethod
    def _differ(cls, choices: tuple[str, ...]) -> tuple[str, ...]:
        from ragft.tokens import tokens

        if len(choices) == 1 or len({tokens(choice) for choice in choices}) < len(choices):
            raise ValueError("should be empty, or at least two answers that differ in more than case and punctuation")
        return choices
