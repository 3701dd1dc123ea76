"""An experiment: arms, their shares, and which arm a user or conversation gets.

Its id is a hash of all that decides what is compared (see `ragft.stages.split`), so that outcomes of two experiments
never mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import msgspec
from blake3 import blake3

_DIGITS = 13  # of a hash, in hex: 52 bits, as many as a float holds


class ArmSpec(msgspec.Struct, frozen=True):
    """One arm, as an experiment describes it.

    Attributes:
        model_version: of the model that answers.
        share: of the users or conversations; 0 for a shadow.
    """

    name: str
    setup: str
    model_version: str
    share: float
    shadow: bool
    retrieval: bool


class Experiment(msgspec.Struct, frozen=True):
    """What is compared; its first arm is what the others are compared with.

    Attributes:
        began: seconds since the epoch.
        window, slowest: as `serve.split` has them.
        most_tokens: of an answer.
    """

    id: str
    began: float
    arms: tuple[ArmSpec, ...]
    decides: str
    window: float
    slowest: float
    most_tokens: int

    @property
    def control(self) -> ArmSpec:
        return self.arms[0]

    @property
    def shown(self) -> tuple[ArmSpec, ...]:
        """The arms whose answers users get."""
        return tuple(arm for arm in self.arms if not arm.shadow)

    @property
    def shadows(self) -> tuple[ArmSpec, ...]:
        return tuple(arm for arm in self.arms if arm.shadow)

    def arm(self, name: str) -> ArmSpec:
        return next(arm for arm in self.arms if arm.name == name)


@dataclass(frozen=True)
class Unit:
    """What keeps to one arm: a user, a conversation, a key, or all who begin with the same words.

    Attributes:
        id: 16 hex digits that stand for it in the log, which never names it.
        arm: name of the arm that answers it.
    """

    id: str
    arm: str


def unit_of(told: Experiment, kind: str, value: str) -> Unit:
    """The arm of whoever is known by a value, always the same in one experiment.

    Args:
        kind: of the value, so that a user and a conversation of one name are two.
    """
    digest = blake3(f"{told.id}\0{kind}\0{value}".encode()).hexdigest()
    place = int(digest[-_DIGITS:], 16) / 16**_DIGITS
    bounds = accumulate(arm.share for arm in told.shown)
    name = next((arm.name for arm, bound in zip(told.shown, bounds, strict=True) if place < bound), told.shown[-1].name)
    return Unit(digest[:16], name)
