"""What a judge said, as tables for the terminal: from the values of `judgement.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ragft.console import counted

if TYPE_CHECKING:
    from rich.table import Table

Values = Mapping[str, Any]


def judgement_tables(told: Values) -> list[Table | str]:
    """Scores and preferences by criterion, then the judge's habits and its calibration."""
    shown: list[Table | str] = []
    for criterion in told["criteria"]:
        shown += [table for table in (_scores(told, criterion), _preferences(told, criterion)) if table.row_count]
    return [*shown, *_remarks(told)]


def _scores(told: Values, criterion: Values) -> Table:
    low, high = criterion["scale"]
    table = _table(f"Scores by {criterion['name']}, from {low} to {high}", "setup", "judge", "by labels", "n", "failed")
    for row in _of(told["scores"], criterion):
        table.add_row(
            row["setup"], _interval(row["rate"], 1, ".2f"), _interval(row["corrected"], 1, ".2f"),
            f"{row['rate']['n']:,}", f"{row['failed']:,}",
        )  # fmt: skip
    return table


def _preferences(told: Values, criterion: Values) -> Table:
    columns = ("pair", "win rate", "equal length", "by labels", "W/T/L", "p", "failed")
    table = _table(f"Preferences by {criterion['name']}, in %", *columns)
    for row in _of(told["preferences"], criterion):
        level = row["equal_length"]
        equal = {**level, "mean": level["win_rate"]} if level else None
        table.add_row(
            f"{row['a']}\n[dim]over {row['b']}[/dim]", _interval(row["rate"], 100, ".1f"),
            _interval(equal, 100, ".1f"), _interval(row["corrected"], 100, ".1f"),
            f"{row['wins']}/{row['ties']}/{row['losses']}",
            "< 0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}", f"{row['failed']:,}",
        )  # fmt: skip
    return table


def _remarks(told: Values) -> Iterator[str]:
    for row in told["habits"]:
        if row["consistency"]["n"]:
            yield (
                f"By {row['criterion']}, the judge says the same in both orders of "
                f"{share_text(row['consistency'])} of the pairs, prefers the answer shown first in "
                f"{share_text(row['first'])} of its preferences, and the longer one in {share_text(row['longer'])}."
            )
            if off_half(row["first"]):
                yield "  It has a position bias; pairs in which its two orders disagree count as ties."
            if off_half(row["longer"]):
                yield "  It does not prefer longer and shorter answers alike: compare win rates at equal length."
    for row in told["calibration"]:
        weighted = f", weighted {row['weighted']['coefficient']:.2f}" if _has(row["weighted"]) else ""
        yield (
            f"By {row['criterion']}, {row['kind']}: the judge and people say the same of "
            f"{share_text(row['kappa']['raw'])} of {counted(row['labels'], 'label')}; kappa "
            f"{kappa_text(row['kappa'])}{weighted}."
        )
    failed = told["failed"]
    if failed:
        yield f"{counted(failed, 'judgement')} of {told['judgements']:,} failed: neither scores nor preferences."


def _of(rows: Sequence[Values], criterion: Values) -> list[Values]:
    return [row for row in rows if row["criterion"] == criterion["name"]]


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=True)
    return table


def _interval(rate: Values | None, factor: float, form: str) -> str:
    """A mean, and its interval below it."""
    if rate is None or rate["mean"] is None:
        return "–"
    mean = format(factor * rate["mean"], form)
    if rate["low"] is None:
        return f"{mean}\n[dim]no interval[/dim]"
    return f"{mean}\n[dim]{format(factor * rate['low'], form)}–{format(factor * rate['high'], form)}[/dim]"


def share_text(rate: Values) -> str:
    if rate["mean"] is None:
        return "none"
    interval = "" if rate["low"] is None else f" ({100 * rate['low']:.0f} to {100 * rate['high']:.0f} %)"
    return f"{100 * rate['mean']:.0f} %{interval}"


def off_half(rate: Values) -> bool:
    return rate["low"] is not None and not rate["low"] <= 0.5 <= rate["high"]


def _has(agreement: Values | None) -> bool:
    return agreement is not None and agreement["coefficient"] is not None


def kappa_text(agreement: Values) -> str:
    if not _has(agreement):
        return "undefined, as all said the same"
    interval = "" if agreement["low"] is None else f" ({agreement['low']:.2f} to {agreement['high']:.2f})"
    return f"{agreement['coefficient']:.2f}{interval}"
