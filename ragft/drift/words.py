"""Drift for people and for machines: a table, JSON, and what to do about it, by declared rules.

- **documents**: more answers refuse or do not stand on what they cite, and retrieval finds less; or it finds less, and
  answers do not show it yet.
- **train**: more answers refuse or do not stand on what they cite, and retrieval finds as much.
- **questions**: many questions lie far from what is evaluated, or from what was asked before.
- **language**, **length**: questions are in other languages, or longer or shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.table import Table

from ragft.console import counted, duration
from ragft.drift.beginning import Kind
from ragft.drift.comparison import LEAST_UNITS, Against, Compared, Drift, What, detectable, moved
from ragft.evaluate.statistics import ALPHA
from ragft.evaluate.verdict import listed, p_text, percent, signed

Do = Literal["documents", "train", "questions", "language", "length"]

_TITLES: dict[What, str] = {
    "questions": "far from what there was",
    "retrieval": "best score of retrieval",
    "refused": "refused",
    "ungrounded": "not grounded in what is cited",
    "length": "words of a question",
    "language": "in the language",
}
_MEANS = ("retrieval", "length")
_OTHERS: dict[Against, str] = {"evaluation": "of the evaluation", "before": "before"}
_SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class Advice:
    """Something to do.

    Attributes:
        text: why, and what.
        begin: the questions to begin with.
    """

    do: Do
    text: str
    begin: tuple[Kind, ...] = ()


def advice(found: Drift) -> list[Advice]:
    """What to do, the most pressing first; empty where nothing has moved."""
    told: list[Advice] = []
    worse = [one for what in ("refused", "ungrounded") for one in moved(found.compared, what) if one.rose]
    poorer = [one for one in moved(found.compared, "retrieval") if one.fell]
    # What changed since the weeks before has a cause in these weeks; the evaluation may always have been easier.
    since: Against = "before" if any(one.against == "before" for one in worse) else "evaluation"
    failing = [one for one in worse if one.against == since]
    with_it = [one for one in poorer if one.against == since]
    if failing and with_it:
        told.append(Advice(
            "documents",
            f"Documents are missing or stale: {_all(failing)}, and retrieval finds less: {_all(with_it)}. Refresh the "
            "index (`ragft index refresh`), or add documents on these questions:", found.failing,
        ))  # fmt: skip
    elif failing:
        is_compared = any(one.what == "retrieval" and one.against == since for one in found.compared)
        steady = "Retrieval finds as much, yet" if is_compared else "Answers have changed:"
        told.append(Advice(
            "train",
            f"{steady} {_all(failing)}. Add these questions to the evaluation and evaluate again (`ragft evaluate`); "
            "if it shows the same, add examples like them and train again (`ragft run`):", found.failing,
        ))  # fmt: skip
    elif poorer:
        told.append(Advice(
            "documents",
            f"Retrieval finds less: {_all(poorer)}. No more answers refuse or lack support so far; see whether "
            "documents on these questions are missing or stale:", found.far,
        ))  # fmt: skip
    if far := moved(found.compared, "questions"):
        told.append(Advice(
            "questions",
            f"Other things are asked: {_all(far)}. Write evaluation questions about what these ask, and evaluate "
            "again (`ragft evaluate`):", found.far,
        ))  # fmt: skip
    if languages := moved(found.compared, "language"):
        told.append(Advice(
            "language",
            f"Questions are in other languages: {_all(languages)}. See that index.encoder.model knows them, and "
            "evaluate in them.",
        ))  # fmt: skip
    if lengths := moved(found.compared, "length"):
        how = "longer" if lengths[0].rose else "shorter"
        told.append(Advice("length", f"Questions are {how}: {_all(lengths)}. Evaluate questions that are as long."))
    return told


def _all(found: Sequence[Compared]) -> str:
    return listed([_said(one) for one in found])


def _said(one: Compared) -> str:
    """One difference in words."""
    p = p_text(one.p_holm)
    if one.what == "questions":
        whose = "evaluation question" if one.against == "evaluation" else "question of the weeks before"
        return (
            f"{percent(one.recent)} are farther from every {whose} than {percent(1 - one.reference)} of those are from "
            f"the next one ({p})"
        )
    now, then = _figure(one, one.recent), _figure(one, one.reference)
    what = {
        "retrieval": "a best score of {}", "refused": "{} of the answers refuse",
        "ungrounded": "{} of the answers do not stand on what they cite", "length": "{} words",
        "language": f"{{}} are in {one.language}",
    }[one.what].format(now)  # fmt: skip
    return f"{what}, {then} {_OTHERS[one.against]} ({p})"


def verdict(found: Drift) -> list[str]:
    """What is found, in sentences; the questions to begin with stand in `advice`."""
    told = [one.text for one in advice(found)]
    if not told:
        told = [_nothing(found)]
    mixed = [one for one in found.compared if one.what == "questions" and one.p_holm < ALPHA and not one.has_moved]
    if mixed:
        whose = listed([{"evaluation": "the evaluation's", "before": "those before"}[one.against] for one in mixed])
        told.append(
            f"Questions are mixed otherwise than {whose} ({p_text(max(one.p_holm for one in mixed))}), but hardly any "
            "is far from all of them: there is nothing to do about it."
        )
    return [*told, *found.notes]


def _nothing(found: Drift) -> str:
    """Why there is nothing to do, or nothing to say."""
    if found.units < LEAST_UNITS:
        rate = ""
        if found.units:
            missing = found.days * (LEAST_UNITS - found.units) / found.units
            rate = f", which at this rate takes {duration(missing * _SECONDS_PER_DAY)} more"
        return (
            f"There are too few questions to tell: {found.units} users or conversations in the last "
            f"{_days(found.days)}, and {LEAST_UNITS} are needed{rate}; look farther back with --days."
        )
    if not found.compared:
        return "Nothing can be told, because there is nothing to compare the recent questions with."
    others = min(
        count for count in (found.evaluated, found.units_before) if count >= LEAST_UNITS
    )  # fmt: skip
    return (
        "Nothing has moved. Differences of "
        f"{detectable(found.units, others):.2f} standard deviations are seen four times in five."
    )


def headline(found: Drift) -> str:
    """What was compared."""
    sampled = "" if found.asked <= found.looked_at else f" ({found.looked_at:,} of them looked at)"
    setup = f" Answers are those of {found.setup}." if found.setup else ""
    return (
        f"{counted(found.asked, 'question')} of {found.units} users or conversations in the last {_days(found.days)}"
        f"{sampled}, beside {counted(found.evaluated, 'evaluation question')} and "
        f"{counted(found.asked_before, 'question')} of the {_days(found.days_before)} before.{setup} * has moved."
    )


def table(found: Drift) -> Table:
    """A line for each thing that was compared."""
    shown = Table("Of the questions", "against")
    for title in ("recent", "there", "difference", "p (Holm)"):
        shown.add_column(title, justify="right")
    for one in found.compared:
        title = f"{_TITLES[one.what]} {one.language}".rstrip()
        mark = " *" if one.has_moved else ""
        figures = (_figure(one, figure) for figure in (one.recent, one.reference))
        shown.add_row(f"{title}{mark}", one.against, *figures, _difference(one), f"{one.p_holm:.3f}")
    return shown


def _figure(one: Compared, figure: float) -> str:
    if one.what not in _MEANS:
        return percent(figure)
    return f"{figure:.{1 if one.what == 'length' else 3}f}"


def _difference(one: Compared) -> str:
    """A difference with its interval: `+2.0 (−1.0 to +5.0)`."""

    def shown(figure: float) -> str:
        if one.what not in _MEANS:
            return signed(figure)
        return f"{figure:+.{1 if one.what == 'length' else 3}f}".replace("-", "−")

    if one.low is None or one.high is None:
        return shown(one.difference)
    return f"{shown(one.difference)} ({shown(one.low)} to {shown(one.high)})"


def _days(days: float) -> str:
    return f"{days:g} day{'' if days == 1 else 's'}"


def lines(found: Drift) -> list[str]:
    """The verdict with the questions to begin with."""
    told: list[str] = []
    shown = advice(found)
    for one, text in zip(shown, verdict(found), strict=False):
        told += ["", text, *(f"  {_times(kind)}{' '.join(kind.question.split())[:200]}" for kind in one.begin)]
    return [*told, "", *verdict(found)[len(shown) :]]


def _times(kind: Kind) -> str:
    return f"{kind.count} × " if kind.count > 1 else ""


def to_json(found: Drift) -> dict[str, Any]:
    """All that is known, as JSON values."""
    told = advice(found)
    return {
        **{name: value for name, value in asdict(found).items() if name not in ("compared", "far", "failing")},
        "compared": [
            {**asdict(one), "difference": one.difference, "moved": one.has_moved, "title": _TITLES[one.what]}
            for one in found.compared
        ],
        "far": [asdict(one) for one in found.far],
        "failing": [asdict(one) for one in found.failing],
        "drift": bool(told),
        "advice": [asdict(one) for one in told],
        "verdict": " ".join(verdict(found)),
        "remarks": verdict(found)[len(told) :],
    }
