"""What `ragft tune search` found, for people: a table, what follows from it, and the lines to take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ragft.evaluate.search_tuning import ANY, MEASURES, NOW, SAME, Compared
from ragft.evaluate.statistics import PairTest
from ragft.evaluate.verdict import p_text, percent, signed

if TYPE_CHECKING:
    from rich.table import Table

TITLES = {"all_sources": "all sources found", "mrr": "MRR", "ndcg": "nDCG", "tokens": "tokens of passages"}
_CHOICES = {SAME: "Best of those with no more tokens", ANY: "Best of all"}


def figures_table(found: Compared, milliseconds: Mapping[str, float]) -> Table:
    """The figures of the held-out questions, a column for the present settings and for each choice."""
    from rich import box
    from rich.table import Table

    table = Table(
        "held-out questions", box=box.SIMPLE_HEAD, caption_justify="left",
        caption="A choice's second line is its difference to now. Intervals of 95 % count documents. A search is one "
        "question's, alone, encoding included; its median.",
    )  # fmt: skip
    for name, candidate in found.candidates.items():
        table.add_column(f"{name}\n{candidate.described()}", justify="right")
    for measure in MEASURES:
        table.add_row(TITLES[measure], *(_cell(found, name, measure) for name in found.candidates))
    table.add_row("milliseconds of a search", *(f"{milliseconds[name]:.1f}" for name in found.candidates))
    return table


def _cell(found: Compared, name: str, measure: str) -> str:
    """The present settings' mean with its interval; a choice's mean with its difference to that."""
    estimate = found.figures[name][measure]
    if measure == "tokens":
        return f"{estimate.mean:,.0f}"
    low, high = estimate.low, estimate.high
    if name != NOW:
        test = found.test(name, measure)
        if test.low is None or test.high is None:
            return f"{percent(estimate.mean)}\n{signed(test.difference)}"
        between = f"{signed(test.low)} to {signed(test.high)}"
        return f"{percent(estimate.mean)}\n{signed(test.difference)} ({between})\n{p_text(test.p_holm)}"
    between = "" if low is None or high is None else f"\n{100 * low:.1f}–{100 * high:.1f}"
    return f"{percent(estimate.mean)}{between}"


def conclusion(found: Compared) -> list[str]:
    """What the held-out questions say of each choice, and what follows, a sentence each."""
    if len(found.candidates) == 1:
        return ["Nothing that was tried did better on the questions for choosing: keep the present settings."]
    said = [f"{_CHOICES[name]}: {_difference(found, name)}." for name in found.candidates if name != NOW]
    name = found.recommended
    if name is not None:
        return [
            *said,
            f"Take {found.candidates[name].described()}: on questions that it was not chosen by it finds more.",
        ]
    if found.test(next(one for one in found.candidates if one != NOW)).low is None:
        return [*said, "Too few documents were held out to say more: keep the present settings, or add questions."]
    return [
        *said,
        "No gain beyond chance was seen on questions that took no part in the choice: keep the present settings.",
    ]


def _difference(found: Compared, name: str) -> str:
    test, tokens = found.test(name), found.test(name, "tokens").difference
    return (
        f"{TITLES[found.metric]} {signed(test.difference)} points ({_interval(test)}), {tokens:+,.0f} tokens a prompt"
    )


def _interval(test: PairTest) -> str:
    if test.low is None or test.high is None:
        return f"no interval from {test.clusters} documents"
    corrected = "" if test.p_holm == test.p else " corrected for both choices"
    return f"95 % interval {signed(test.low)} to {signed(test.high)}, {p_text(test.p_holm)}{corrected}, n = {test.n}"


def changes_block(changes: Mapping[str, Any]) -> str:
    """Changed keys as lines to paste into a configuration."""
    import yaml

    nested: dict[str, Any] = {}
    for key, value in changes.items():
        *path, last = key.split(".")
        section = nested
        for part in path:
            section = section.setdefault(part, {})
        section[last] = value
    return yaml.safe_dump(nested, sort_keys=True).rstrip()


def overrides(changes: Mapping[str, Any]) -> str:
    """Changed keys as options of a command."""
    return " ".join(
        f"--set {key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in changes.items()
    )
