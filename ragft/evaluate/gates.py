"""Conditions on a comparison that a release must meet, as in `hybrid.exact_match - rag-only.exact_match < 0.02`.

A condition names what must not be; one without a metric is about the one that decides. It is judged by the end of the
95 % interval that comes nearest to it: below a bound by the lower end, above it by the upper. So a gate passes where
the questions show that the condition does not hold, and too few questions do not pass it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ragft.console import some
from ragft.errors import UsageError
from ragft.evaluate.metrics.base import METRICS, OPTIONAL
from ragft.evaluate.rows import Row
from ragft.evaluate.score import Comparison

_SHARE = r"(?P<{0}>[\w-]+)(?:\.(?P<{0}_metric>\w+))?"
_CONDITION = re.compile(
    rf"\s*{_SHARE.format('a')}(?:\s+-\s+{_SHARE.format('b')})?\s*(?P<sign><=|>=|<|>)\s*(?P<bound>[+-]?\d+(?:\.\d+)?)\s*"
)
_FORM = "write it as 'hybrid.exact_match < 0.8' or 'hybrid.exact_match - rag-only.exact_match < 0.02', with spaces"


@dataclass(frozen=True)
class Condition:
    """One condition that fails a gate.

    Attributes:
        a, b: setups; b is None where the condition is on one setup, not on a difference.
        bound: in the metric's unit; a share of 2 points is 0.02.
    """

    text: str
    metric: str
    a: str
    b: str | None
    sign: str
    bound: float


@dataclass(frozen=True)
class Judged:
    """A condition and what the comparison says to it, as a sentence with its figures."""

    condition: Condition
    failed: bool
    told: str


def parse_condition(
    text: str, setups: Collection[str] | None, metrics: Collection[str], decides: str = "exact_match"
) -> Condition:
    """The condition that a text states.

    Args:
        setups: the names that there are; None: not known yet.
        metrics: the names that there are.
        decides: the metric of a condition that names none.

    Raises:
        UsageError: it is not of the form, names a setup or metric that there is not, or a bound that no share has.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UsageError(f"--fail-if {text!r} is no condition: {_FORM} around the minus.")
    for setup in (found["a"], found["b"]):
        if setup is not None and setups is not None and setup not in setups:
            raise UsageError(f"--fail-if {text!r}: {setup!r} is not compared: choose among {', '.join(setups)}.")
    of_a, of_b = found["a_metric"] or decides, found["b_metric"] or decides
    for metric in (found["a_metric"], found["b_metric"]):
        if metric is not None and metric not in metrics:
            raise UsageError(
                f"--fail-if {text!r}: there is no metric {metric!r}: choose among {some(sorted(metrics), 9)}."
            )
    if found["b"] is not None and of_a != of_b:
        raise UsageError(f"--fail-if {text!r} subtracts {of_b} from {of_a}: name the same metric twice.")
    if found["a"] == found["b"]:
        raise UsageError(f"--fail-if {text!r} subtracts {found['a']} from itself: name two setups.")
    condition = Condition(text.strip(), of_a, found["a"], found["b"], found["sign"], float(found["bound"]))
    _refuse_impossible(condition)
    return condition


def _refuse_impossible(condition: Condition) -> None:
    """Refuses a bound that no share can be beyond, as one in percent: such a gate would always pass, or never."""
    measure = METRICS.get(condition.metric) or OPTIONAL.get(condition.metric)
    least = 0.0 if condition.b is None else -1.0
    if measure is not None and measure.unit == "share" and not least <= condition.bound <= 1:
        what = "a share lies between 0 and 1" if condition.b is None else "a difference of shares lies between -1 and 1"
        raise UsageError(
            f"--fail-if {condition.text!r}: {what}, so {condition.bound:g} bounds nothing: write 5 percent as 0.05."
        )


def judge(condition: Condition, comparison: Comparison) -> Judged:
    """Whether a condition fails the gate; it does where there is no interval to tell that it does not hold.

    Raises:
        UsageError: the metric applied to none of the answers, so there is nothing to judge.
    """
    value, low, high, n = _estimate(condition, comparison)
    if value is None:
        which = condition.a if condition.b is None else f"{condition.a} and {condition.b}"
        raise UsageError(f"--fail-if {condition.text!r}: no answers of {which} were scored by {condition.metric}.")
    if low is None or high is None:
        return Judged(condition, True, f"{condition.text}: {value:.4g} on {n:,} questions, which give no interval")
    end, which = (low, "lower") if condition.sign.startswith("<") else (high, "upper")
    holds = {"<": end < condition.bound, "<=": end <= condition.bound, ">": end > condition.bound}
    failed = holds.get(condition.sign, end >= condition.bound)
    return Judged(
        condition, failed,
        f"{condition.text}: {value:.4g}, 95 % interval {low:.4g} to {high:.4g}, n = {n:,}; its {which} end decides",
    )  # fmt: skip


def refusal_of(judged: Sequence[Judged]) -> str | None:
    """What to say where at least one condition fails the gate."""
    failed = [each.told for each in judged if each.failed]
    if not failed:
        return None
    return f"The gate is not met by {len(failed)} of {len(judged)} conditions: {'; '.join(failed)}."


def _estimate(condition: Condition, comparison: Comparison) -> tuple[float | None, float | None, float | None, int]:
    if condition.b is None:
        row: Row | None = comparison.setups.get(condition.a, {}).get(condition.metric)
        return (row["mean"], row["low"], row["high"], row["n"]) if row else (None, None, None, 0)
    for row in comparison.pairs:
        low, high = row["low"], row["high"]
        if row["metric"] == condition.metric and (row["a"], row["b"]) == (condition.a, condition.b):
            return row["difference"], low, high, row["n"]
        if row["metric"] == condition.metric and (row["a"], row["b"]) == (condition.b, condition.a):
            flipped = (None, None) if low is None or high is None else (-high, -low)
            return -row["difference"], *flipped, row["n"]
    return None, None, None, 0
