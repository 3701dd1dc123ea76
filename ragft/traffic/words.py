"""An experiment for people and for machines: a table, JSON, and a verdict in words."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.table import Table

from ragft.console import counted, duration
from ragft.evaluate.statistics import ALPHA
from ragft.evaluate.verdict import percent, signed
from ragft.traffic.comparison import ArmFigures, Comparison, Difference, Measured

_SUSPICIOUS = 0.001
"""A p-value of the shares below which something is wrong with the split, not with luck."""


def headline(comparison: Comparison) -> str:
    """Which experiment it is, since when, and how much was seen of it."""
    experiment = comparison.experiment
    began = datetime.fromtimestamp(experiment.began, UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")
    confidence = 100 * (1 - ALPHA)
    return (
        f"Experiment {experiment.id}, since {began} UTC: {counted(comparison.requests, 'request')}. Differences are "
        "those of users or conversations. Their intervals hold whenever one looks, for each outcome with "
        f"{confidence:.0f} % confidence; * is the outcome that decides."
    )


def table(comparison: Comparison) -> Table:
    """Outcomes as rows; the figures of each arm, and how it differs from the first one."""
    shown = Table()
    shown.add_column("Outcome")
    for arm in comparison.arms:
        shown.add_column(arm.arm.name, justify="right")
        if arm is not comparison.arms[0]:
            shown.add_column(f"{arm.arm.name} − {comparison.arms[0].arm.name}", justify="right")
    first, *others = comparison.arms
    for title, figure in (
        ("share of the traffic", _share),
        ("requests", lambda arm: f"{arm.requests:,}"),
        ("users or conversations", lambda arm: f"{arm.units:,}"),
    ):
        shown.add_row(title, figure(first), *(cell for arm in others for cell in (figure(arm), "")))
    for kind in comparison.outcomes:
        mark = " *" if kind.name == comparison.experiment.decides else ""
        cells = (cell for arm in others for cell in (_mean(kind, arm), _cell(comparison, arm, kind)))
        shown.add_row(f"{kind.title}{mark}", _mean(kind, first), *cells)
    return shown


def _share(arm: ArmFigures) -> str:
    return "shadow" if arm.arm.shadow else percent(arm.arm.share)


def _cell(comparison: Comparison, arm: ArmFigures, kind: Measured) -> str:
    found = comparison.of(arm.arm.name, kind.name)
    return "–" if found is None or found.found.n == 0 else difference(found)


def _mean(kind: Measured, arm: ArmFigures) -> str:
    mean = arm.means[kind.name]
    if mean is None:
        return "–"
    return percent(mean) if kind.unit == "share" else f"{mean:.2f} s" if kind.unit == "s" else f"{mean:.1f}"


def difference(told: Difference) -> str:
    """A difference with its interval: `+2.0 (−1.0 to +5.0)`."""
    shown = (_signed(told.outcome, number) for number in (told.value, told.low, told.high))
    return "{} ({} to {})".format(*shown)


def _signed(kind: Measured, number: float) -> str:
    if kind.unit == "share":
        return signed(number)
    return f"{number:+.{2 if kind.unit == 's' else 1}f}".replace("-", "−")


_UNITS = {"share": " points", "s": " s", "tokens": " tokens"}


def verdict(comparison: Comparison) -> list[str]:
    """What is decided, and what it would take to decide the rest; a sentence or two for each arm."""
    told = []
    experiment = comparison.experiment
    if comparison.mismatch < _SUSPICIOUS:
        told.append(
            "The arms do not have their shares of the users or conversations, by more than chance explains: something "
            "loses requests of one arm, so do not believe the differences before you know what."
        )
    for arm in experiment.arms[1:]:
        found = comparison.of(arm.name, experiment.decides)
        told.append(_verdict_on(comparison, arm.name, found))
        others = [
            f"{one.outcome.title} {_signed(one.outcome, one.value)}{_UNITS[one.outcome.unit]} ({one.verdict})"
            for one in comparison.differences
            if one.arm == arm.name and one is not found and one.verdict != "open"
        ]
        if others:
            told.append(f"Of what does not decide, {arm.name} differs in {', '.join(others)}.")
    if count := comparison.waiting:
        plural, do = ("", "does") if count == 1 else ("s", "do")
        told.append(
            f"{count:,} user{plural} or conversation{plural} began less than "
            f"{duration(experiment.window).removeprefix('about ')} ago and {do} not count yet."
        )
    return told


def _verdict_on(comparison: Comparison, arm: str, found: Difference | None) -> str:
    control, decides = comparison.experiment.control.name, comparison.experiment.decides
    if found is None:
        return f"{arm} is not compared with {control} by {decides}: choose another serve.split.decides."
    if found.found.n == 0:
        return f"Nothing is decided yet: there is nothing to compare {arm} with {control} by."
    told, unit = difference(found), _UNITS[found.outcome.unit]
    place = f"({found.outcome.title}, {counted(found.found.n, 'observation')})"
    if found.verdict != "open":
        return f"{arm} is {found.verdict} than {control}: {told}{unit} {place}."
    nothing = f"Nothing is decided yet between {arm} and {control}: {told}{unit} {place}"
    if found.more_requests is None:
        return f"{nothing}; they are level so far, and no number of requests is in sight that would tell them apart."
    rate = ""
    if comparison.per_day:
        rate = f", {duration(found.more_requests / comparison.per_day * 86_400)} at this rate"
    return f"{nothing}; if that stays so, about {rounded(found.more_requests):,} more requests decide it{rate}."


def rounded(number: int) -> int:
    """A number to two digits, upwards: an estimate is not known better."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return math.ceil(number / unit) * unit


def to_json(comparison: Comparison) -> dict[str, Any]:
    """All that is known, as JSON values."""
    experiment = comparison.experiment
    return {
        "experiment": experiment.id,
        "began": datetime.fromtimestamp(experiment.began, UTC).isoformat(timespec="seconds"),
        "decides": experiment.decides,
        "requests": comparison.requests,
        "observed": comparison.observed,
        "waiting": comparison.waiting,
        "requests_per_day": comparison.per_day,
        "mismatch_p": comparison.mismatch,
        "arms": [
            {**msgspec.to_builtins(one.arm), "requests": one.requests, "units": one.units, "outcomes": one.means}
            for one in comparison.arms
        ],
        "differences": [
            {
                "arm": one.arm, "minus": experiment.control.name, "outcome": one.outcome.name,
                "unit": one.outcome.unit, "n": one.found.n,
                **({"difference": one.value, "low": one.low, "high": one.high} if one.found.n else {}),
                "confidence": 1 - one.found.alpha, "verdict": one.verdict, "more_requests": one.more_requests,
            }
            for one in comparison.differences
        ],
        "verdict": " ".join(verdict(comparison)),
    }  # fmt: skip
