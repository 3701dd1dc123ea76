"""Forgetting: is the tuned model worse than its base at what it was not trained for?

Both models answer the same questions, so that every figure of a difference is paired. What is claimed is
non-inferiority: tuning costs at most a margin. That the difference is not significant would not show it, because few
questions find no difference whatever it is; the whole interval must lie above the margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from ragft.evaluate.statistics import CONFIDENCE, wilson_interval

if TYPE_CHECKING:
    from rich.table import Table

FORGETTING_VERSION = 1
"""Raised whenever the same answers would give other figures or another verdict."""

Verdict = Literal["shown", "not shown", "worse"]
PRIMARY = {"multiple choice": "acc_norm", "instructions": "strict"}
"""The metric that a verdict goes by, for each kind of task. Choices differ in length, which says nothing of ability."""

_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


@dataclass(frozen=True)
class Share:
    """A share of `n` questions with its 95 % interval."""

    share: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Forgotten:
    """Base and tuned model on the same questions, by one metric.

    Attributes:
        difference: tuned minus base, with its 95 % interval from `low` to `high`.
        gained, lost: questions that only the tuned model has right, and only the base.
        p: McNemar's, two-sided.
        verdict: that the tuned model is worse by at most the margin is `shown` or `not shown`; `worse`: that it is
            worse by more is shown.
        needed: about how many questions would show it, if the difference is what was found; None where it is shown or
            the difference is not above the margin.
        primary: the verdict on the task is that of this metric.
    """

    task: str
    metric: str
    base: Share
    tuned: Share
    difference: float
    low: float
    high: float
    gained: int
    lost: int
    p: float
    verdict: Verdict
    needed: int | None
    primary: bool

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Forgotten:
        return cls(**{**values, "base": Share(**values["base"]), "tuned": Share(**values["tuned"])})


def compared(
    task: str, metric: str, base: Sequence[bool], tuned: Sequence[bool], *, margin: float, primary: bool = True
) -> Forgotten:
    """Compares which questions two models have right.

    Args:
        base, tuned: for each question, whether the model has it right; in the same order.
        margin: largest loss that is accepted, as a share: 0.02 for two points.
    """
    n = len(base)
    gained = sum(after and not before for before, after in zip(base, tuned, strict=True))
    lost = sum(before and not after for before, after in zip(base, tuned, strict=True))
    difference, (low, high) = (gained - lost) / n, paired_interval(gained, lost, n)
    verdict: Verdict = "shown" if low > -margin else "worse" if high < -margin else "not shown"
    needed = None
    if verdict == "not shown" and difference > -margin:
        variance = (gained + lost) / n - difference**2
        needed = max(n + 1, math.ceil(_Z**2 * variance / (difference + margin) ** 2))
    return Forgotten(
        task, metric, wilson(sum(base), n), wilson(sum(tuned), n), difference, low, high, gained, lost,
        _mcnemar(gained, lost), verdict, needed, primary,
    )  # fmt: skip


def _mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value (McNemar, 1947): questions that only one of the two has right are tosses of a coin."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def together(tasks: Mapping[str, tuple[Sequence[bool], Sequence[bool]]], metric: str, *, margin: float) -> Forgotten:
    """The questions of several tasks as one: each question counts the same, whatever its task."""
    base, tuned = ([right for pair in tasks.values() for right in pair[at]] for at in (0, 1))
    return compared("together", metric, base, tuned, margin=margin)


def wilson(right: int, n: int) -> Share:
    """A share with its `wilson_interval`."""
    return Share(right / n, *wilson_interval(right, n), n)


def paired_interval(gained: int, lost: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a difference of paired shares (Tango, 1998): what its test does not reject.

    It does not collapse where all questions agree: none of 100 that differ still leaves 3.7 points either way.

    Args:
        gained, lost: questions that only the second has right, and only the first.

    >>> "{:.3f} {:.3f}".format(*paired_interval(0, 0, 100))
    '-0.037 0.037'
    """
    difference = (gained - lost) / n

    def end(outermost: float, z: float) -> float:
        inside, outside = difference, outermost
        for _ in range(60):
            middle = (inside + outside) / 2
            if abs(_score(gained, lost, n, middle)) > abs(z):
                outside = middle
            else:
                inside = middle
        return inside

    return end(-1.0, _Z), end(1.0, _Z)


def _score(gained: int, lost: int, n: int, difference: float) -> float:
    """Tango's statistic of the hypothesis that the true difference is `difference`."""
    observed = gained - lost - n * difference
    if observed == 0:
        return 0.0
    a, b, c = 2 * n, (2 * n - gained + lost) * difference - gained - lost, -lost * difference * (1 - difference)
    lost_share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * lost_share + difference * (1 - difference))
    return observed / math.sqrt(variance) if variance > 0 else math.inf


def rounding_sentence(found: Forgotten) -> str:
    """What rounding the base model's weights costs by itself, in words.

    Args:
        found: the base as it is, and with rounded weights in the place of the tuned model.
    """
    advice = "; finetune.method=lora trains without it" if found.difference < 0 else ""
    return f"{found.task}: the base rounded to NF4, before anything is trained: {_points(found)}{advice}."


def _points(found: Forgotten, unit: str = " points") -> str:
    return f"{100 * found.difference:+.1f}{unit} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def sentence(found: Forgotten, margin: float) -> str:
    """A verdict in words."""
    said = f"{found.task}: {found.metric} {found.base.share:.1%} before, {found.tuned.share:.1%} after tuning"
    claim = f"not worse than {-100 * margin:+.1f} points: {found.verdict}"
    if found.verdict == "worse":
        claim = f"worse than {-100 * margin:+.1f} points"
    more = f"; about {found.needed:,} questions could show it" if found.needed else ""
    return f"{said}, {_points(found)} of {found.tuned.n} questions; {claim}{more}."


def forgetting_table(results: Iterable[Forgotten], margin: float) -> Table:
    """All results, for a terminal; the metric that a verdict goes by is marked."""
    from rich.table import Table

    table = Table("task", "metric", "n", "base", "tuned", "difference", "McNemar p", f"loss <= {100 * margin:g} points")
    for one in results:
        shares = [f"{100 * of.share:.1f} % ({100 * of.low:.1f} to {100 * of.high:.1f})" for of in (one.base, one.tuned)]
        metric = f"{one.metric}{' *' if one.primary else ''}"
        table.add_row(one.task, metric, str(one.tuned.n), *shares, _points(one, unit=""), f"{one.p:.3f}", one.verdict)
    return table
