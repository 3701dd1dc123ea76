"""What the outcomes of an experiment tell of its arms: figures of each, and differences that may be looked at anytime.

Requests of one user or conversation are not independent, and chance did not choose the arm of the second one. So each
user or conversation is one observation: the mean of its requests within `serve.split.window` of the first, once that
time is over. What came later is in the figures of the arms and in no difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ragft.evaluate.statistics import ALPHA
from ragft.evaluate.statistics.sequences import (
    Running,
    Step,
    mismatch,
    needed_observations,
    paired,
    randomised,
    running,
)
from ragft.traffic.experiment import ArmSpec, Experiment
from ragft.traffic.log import Outcome

Scale = Literal["share", "s", "tokens"]
_NO_FEEDBACK: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Measured:
    """One outcome that arms are compared by.

    Attributes:
        better: which direction is.
        value: of one request; None where it has none.
        most: the largest value, which larger ones count as; differences are computed in shares of it.
        shadows: whether it can be told of a shadow, too.
    """

    name: str
    title: str
    unit: Scale
    better: Literal["higher", "lower"]
    value: Callable[[Outcome], float | None]
    most: float = 1.0
    shadows: bool = True

    def share(self, outcome: Outcome) -> float | None:
        """The value as a share of the largest one."""
        value = self.value(outcome)
        return None if value is None else min(value, self.most) / self.most


def measured(
    experiment: Experiment, lines: Iterable[Outcome], feedback: Mapping[str, float] = _NO_FEEDBACK
) -> tuple[Measured, ...]:
    """The outcomes of an experiment.

    What a failed request would have been is not known; it counts as not grounded, not in format and no refusal, so that
    an arm gains nothing by failing on what is difficult. One that was abandoned counts as `abandoned` alone.

    Args:
        lines: what was recorded; where none tells of a format, and it decides nothing, none is declared.
        feedback: what users said, in [0, 1], by request id; empty: nothing.
    """

    def ended(value: Callable[[Outcome], float | None]) -> Callable[[Outcome], float | None]:
        return lambda one: None if one.abandoned else value(one)

    def whole(value: Callable[[Outcome], float | None]) -> Callable[[Outcome], float | None]:
        return lambda one: None if one.abandoned or one.failed else value(one)

    def in_format(one: Outcome) -> float | None:
        return 0.0 if one.failed else None if one.format_valid is None else float(one.format_valid)

    has_format = experiment.decides == "format_valid" or any(one.format_valid is not None for one in lines)
    slowest = experiment.slowest
    found = [
        Measured("grounded", "grounded in what is cited", "share", "higher", ended(lambda one: one.grounded == "true")),
        *([Measured("format_valid", "in the house format", "share", "higher", ended(in_format))] if has_format else []),
        Measured("refused", "refused", "share", "lower", ended(lambda one: bool(one.refused))),
        Measured("failed", "failed", "share", "lower", ended(lambda one: one.failed)),
        Measured("abandoned", "abandoned by the client", "share", "lower", lambda one: one.abandoned, shadows=False),
        Measured(
            "first_token", "time to the first token", "s", "lower", whole(lambda one: one.first_token), slowest,
            shadows=False,
        ),
        Measured("seconds", "time in all", "s", "lower", whole(lambda one: one.seconds), slowest, shadows=False),
        Measured(
            "answer_tokens", "tokens of the answer", "tokens", "lower", whole(lambda one: one.answer_tokens),
            float(experiment.most_tokens),
        ),
    ]  # fmt: skip
    if feedback:
        found.append(
            Measured("feedback", "what users said", "share", "higher", lambda one: feedback.get(one.request_id))
        )
    return tuple(found)


@dataclass(frozen=True)
class ArmFigures:
    """What became of the requests of one arm.

    Attributes:
        requests, units: how many, and of how many users or conversations.
        means: of all its requests, by outcome; None where none has a value.
    """

    arm: ArmSpec
    requests: int
    units: int
    means: dict[str, float | None]


@dataclass(frozen=True)
class Difference:
    """An arm minus the first one, on one outcome, in its unit.

    Attributes:
        found: as shares of the largest value, with the interval that holds at every moment.
        more_requests: how many more requests of the experiment would decide it, if it stays as it is; None: no number
            in sight, or decided.
    """

    arm: str
    outcome: Measured
    found: Running
    more_requests: int | None

    @property
    def value(self) -> float:
        return self.found.difference * self.outcome.most

    @property
    def low(self) -> float:
        return self.found.low * self.outcome.most

    @property
    def high(self) -> float:
        return self.found.high * self.outcome.most

    @property
    def verdict(self) -> Literal["better", "worse", "open"]:
        """How the arm compares with the first one."""
        if not self.found.is_decided:
            return "open"
        return "better" if (self.found.low > 0) == (self.outcome.better == "higher") else "worse"


@dataclass(frozen=True)
class Comparison:
    """All that is known of an experiment.

    Attributes:
        requests: that users made, shadows left out.
        observed: users or conversations that count.
        waiting: those whose time to count is not over yet.
        per_day: requests a day; None before there are enough to tell.
        mismatch: see `statistics.sequences.mismatch`.
    """

    experiment: Experiment
    outcomes: tuple[Measured, ...]
    arms: tuple[ArmFigures, ...]
    differences: tuple[Difference, ...]
    requests: int
    observed: int
    waiting: int
    per_day: float | None
    mismatch: float

    def of(self, arm: str, outcome: str) -> Difference | None:
        """One of the differences; None where there is none."""
        return next((one for one in self.differences if (one.arm, one.outcome.name) == (arm, outcome)), None)


def compare(
    experiment: Experiment, outcomes: Iterable[Outcome], now: float, feedback: Mapping[str, float] = _NO_FEEDBACK
) -> Comparison:
    """Compares the arms of an experiment.

    Args:
        now: seconds since the epoch; a user or conversation counts when its time is over.
        feedback: see `measured`.
    """
    lines = sorted(outcomes, key=lambda one: one.time)
    shown, kinds = [one for one in lines if not one.shadow], measured(experiment, lines, feedback)
    closed, waiting = _observed(experiment, shown, now)
    # One interval for each arm, which together miss no more often than ALPHA.
    alpha = ALPHA / (len(experiment.arms) - 1)
    differences = []
    for arm in experiment.arms[1:]:
        shadows = {one.id: one for one in lines if one.shadow and one.arm == arm.name}
        for kind in kinds:
            if _tells(experiment, arm, kind):
                step = (
                    _beside(experiment.control, shadows, kind, closed)
                    if arm.shadow
                    else _randomly(experiment.control, arm, kind, closed)
                )
                found = running(step, alpha)
                differences.append(Difference(arm.name, kind, found, _more(found, len(shown))))
    counts = [sum(unit[0].arm == arm.name for unit in closed) for arm in experiment.shown]
    figures = tuple(_figures(arm, lines, kinds) for arm in experiment.arms)
    shares = mismatch(counts, [arm.share for arm in experiment.shown])
    return Comparison(
        experiment, kinds, figures, tuple(differences), len(shown), len(closed), waiting, _per_day(shown), shares
    )


def _observed(experiment: Experiment, shown: Sequence[Outcome], now: float) -> tuple[list[list[Outcome]], int]:
    """The requests of each user or conversation that count, in the order of the first; and how many are still open."""
    units: dict[str, list[Outcome]] = {}
    for one in shown:
        requests = units.setdefault(one.unit, [])
        if not requests or one.time < requests[0].time + experiment.window or one.time == requests[0].time:
            requests.append(one)
    closed = [requests for requests in units.values() if now >= requests[0].time + experiment.window]
    return closed, len(units) - len(closed)


def _tells(experiment: Experiment, arm: ArmSpec, kind: Measured) -> bool:
    """Whether an outcome can be compared: what has no passages cannot be grounded, and a shadow waits for its turn."""
    if arm.shadow and not kind.shadows:
        return False
    return kind.name != "grounded" or (arm.retrieval and experiment.control.retrieval)


def _randomly(control: ArmSpec, arm: ArmSpec, kind: Measured, closed: Sequence[list[Outcome]]) -> Step:
    """Users or conversations that got one of two arms by chance, in proportion to their shares."""
    observed = [
        (value, requests[0].arm == arm.name)
        for requests in closed
        if requests[0].arm in (control.name, arm.name) and (value := _mean(map(kind.share, requests))) is not None
    ]
    values, treated = zip(*observed, strict=True) if observed else ((), ())
    return randomised(values, treated, arm.share / (arm.share + control.share))


def _beside(
    control: ArmSpec, shadows: Mapping[str, Outcome], kind: Measured, closed: Sequence[list[Outcome]]
) -> Step:  # fmt: skip
    """A shadow and the answers of the first arm that it stood beside, question by question."""

    def difference(one: Outcome) -> float | None:
        beside = shadows.get(one.id) if one.arm == control.name else None
        theirs, own = (None if beside is None else kind.share(beside)), kind.share(one)
        return None if theirs is None or own is None else theirs - own

    means = (_mean(map(difference, requests)) for requests in closed)
    return paired([mean for mean in means if mean is not None])


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _figures(arm: ArmSpec, lines: Sequence[Outcome], kinds: Sequence[Measured]) -> ArmFigures:
    own = [one for one in lines if one.arm == arm.name and one.shadow == arm.shadow]
    told = [kind for kind in kinds if kind.name != "grounded" or arm.retrieval]
    means = {
        kind.name: _mean(map(kind.value, own)) if kind in told and (kind.shadows or not arm.shadow) else None
        for kind in kinds
    }
    return ArmFigures(arm, len(own), len({one.unit for one in own}), means)


def _more(found: Running, requests: int) -> int | None:
    """Requests that are still needed: as many for each observation as there were so far."""
    if found.is_decided or found.n == 0:
        return None
    needed = needed_observations(found)
    return None if needed is None else math.ceil((needed - found.n) * requests / found.n)


def _per_day(shown: Sequence[Outcome]) -> float | None:
    seconds = shown[-1].time - shown[0].time if shown else 0.0
    return len(shown) * 86_400 / seconds if seconds > 0 else None
