"""`serve.split`: traffic that is shared among setups or models, to compare them by what happens."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from ragft.config.section import Section, SetupName, Share

Sticky = Literal["user", "conversation", "key", "first-turn"]
"""What a request may bring that keeps it with the arm of those before it."""

OutcomeName = Literal[
    "grounded", "format_valid", "refused", "failed", "abandoned", "first_token", "seconds", "answer_tokens"
]
"""What is compared of the requests of two arms."""


class SplitArmSection(Section):
    """One arm of an experiment."""

    setup: SetupName = Field(description="Setup that answers; one of `serve.setups`.")
    model: str | None = Field(
        None,
        pattern="^[0-9a-f]{4,64}$",
        description="Fingerprint of a tuned model of the workspace, or its beginning. Unset: the one that is deployed.",
    )
    share: Share = Field(0.0, description="Share of the users or conversations that it answers.")
    shadow: bool = Field(
        False, description="Answers what the first arm was asked, too, when nothing else is to be done; never shown."
    )


def _named_arms(arms: dict[str, SplitArmSection]) -> dict[str, SplitArmSection]:
    for name in arms:
        if re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,39}", name) is None:
            raise ValueError(f"{name!r} is no name of an arm: use up to 40 lower case letters, digits, - _ .")
    return arms


class SplitSection(Section):
    """An experiment in traffic: which arms answer which share of it, and what decides between them."""

    name: str = Field(
        "split",
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="Model name that clients ask for to take part; setups stay callable by their own names.",
    )
    arms: Annotated[dict[str, SplitArmSection], AfterValidator(_named_arms)] = Field(
        {},
        description="Arms by name, each with the keys `setup`, `model`, `share` and `shadow`; the first is what the "
        "others are compared with. Empty: no experiment.",
    )
    sticky: tuple[Sticky, ...] = Field(
        get_args(Sticky),
        min_length=1,
        description="What keeps a request with its arm, the first that it has: the field `user`, `ragft.conversation`, "
        "the name of its API key, its first turn.",
    )
    decides: OutcomeName = Field("grounded", description="Outcome that the verdict is about.")
    window: float = Field(
        3600.0,
        ge=0,
        description="Seconds from the first request of a user or conversation, within which its requests count: as one "
        "observation, when they are over.",
    )
    slowest: float = Field(60.0, gt=0, description="Seconds that a slower answer counts as, so that times have a mean.")
    shadow_load: Share = Field(
        0.0,
        description="Share of engine.max_num_seqs up to which shadows answer beside requests; 0: only when there are "
        "none.",
    )
    max_mib: int = Field(256, ge=1, description="Size at which an experiment ends: nothing more is recorded of it.")

    @property
    def control(self) -> str:
        """The arm that the others are compared with."""
        return next(iter(self.arms))

    @property
    def shares(self) -> dict[str, float]:
        """The share of each arm that is shown, in order."""
        return {name: arm.share for name, arm in self.arms.items() if not arm.shadow}

    @model_validator(mode="after")
    def _compares(self) -> SplitSection:
        if not self.arms:
            return self
        if len(self.arms) == 1:
            raise ValueError(f"has one arm, {self.control}, and nothing to compare it with: add another one")
        if self.arms[self.control].shadow:
            raise ValueError(f"begins with the shadow {self.control}: the first arm must be one that is shown")
        for name, arm in self.arms.items():
            if arm.shadow and arm.share:
                raise ValueError(f"gives the shadow {name} a share: leave it out, since its answers are not shown")
            if not arm.shadow and not arm.share:
                raise ValueError(f"gives the arm {name} no share: set its share, or make it a shadow")
        if not math.isclose(total := sum(self.shares.values()), 1.0, abs_tol=1e-6):
            told = ", ".join(f"{name} {share:g}" for name, share in self.shares.items())
            raise ValueError(f"has shares that sum to {total:g} instead of 1 ({told})")
        return self
