"""What `ragft data review` and `ragft feedback review` have in common."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ragft.evaluate.agreement import Agreement
    from ragft.review.board import Rule, Standing
    from ragft.review.review import Review
    from ragft.stages.application import Application

Reviewer = Annotated[str | None, typer.Option(help="Who decides; each reviewer has their own decisions.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the page, on this machine alone; 0: any free one.")]
ShowAgreement = Annotated[
    bool, typer.Option("--agreement", help="Tell how far reviewers agree, and list their conflicts.")
]
ExportSheet = Annotated[
    Path | None, typer.Option("--export", help="Write the reviewer's sheet to this new file.", metavar="FILE.csv")
]
ImportSheet = Annotated[
    Path | None, typer.Option("--import", help="Take the decisions on a filled sheet.", metavar="FILE.csv")
]


def run_review(
    app: Application, review: Review, *, reviewer: str | None, port: int, agreement: bool, export: Path | None,
    sheet: Path | None, rule: Rule | None = None,
) -> None:  # fmt: skip
    """Does what the options say: tell the agreement, write or read a sheet, or else serve the page until Ctrl-C.

    Raises:
        UsageError: options contradict each other, a file cannot be read, or the reviewer is not named.
        DatabaseFault: the decisions cannot be read or written.
    """
    from ragft.review.review import checked_name

    refuse_several(**{"--agreement": agreement, "--export": export, "--import": sheet})
    if agreement:
        _show_agreement(app, review, rule)
    elif sheet is not None:
        _import(app, review, sheet, checked_name(reviewer) if reviewer is not None else None)
    elif export is not None:
        _export(app, review, export, checked_name(reviewer))
    else:
        name = checked_name(reviewer)
        # By name, because imports go one way: index <- ragft <- serving.
        importlib.import_module("serving.review").serve(review, name, port, app.reporter.say)


def refuse_several(**given: Any) -> None:
    """Refuses more than one of the options that say what to do."""
    from ragft.errors import UsageError

    named = [option for option, value in given.items() if value]
    if len(named) > 1:
        raise UsageError(f"{named[0]} and {named[1]} are two things to do: give one at a time.")


def _export(app: Application, review: Review, path: Path, reviewer: str) -> None:
    from index.durable import write_file
    from ragft.console import counted
    from ragft.data.jsonl import refuse_existing
    from ragft.review.sheets import sheet_of

    refuse_existing(path, "--export")
    write_file(path, sheet_of(review, reviewer), private=True)
    count = len(review.items)
    app.reporter.result({"rows": count, "file": str(path)}, f"{counted(count, 'row')} for {reviewer} in {path}")


def _import(app: Application, review: Review, path: Path, reviewer: str | None) -> None:
    from ragft.console import counted
    from ragft.review.sheets import read_sheet

    found = read_sheet(path, review, reviewer)
    review.store.add(found.decisions)
    lines = [*found.faults]
    refused = f", {counted(len(found.faults), 'row')} refused" if found.faults else ""
    lines.append(
        f"{counted(len(found.decisions), 'decision')} taken from {path}, {found.same} known already, {found.open} rows "
        f"undecided{refused}"
    )
    values = {"taken": len(found.decisions), "known": found.same, "open": found.open, "faults": found.faults}
    app.reporter.result(values, *lines)
    if found.faults:
        raise SystemExit(1)


def _show_agreement(app: Application, review: Review, rule: Rule | None) -> None:
    from ragft.console import counted
    from ragft.review.board import agreements

    found = review.standings()
    told = agreements(found)
    conflicts = [one for one in found if one.state(rule) == "conflict"]
    lines = [f"{counted(told.rows, 'row')} of {len(found)} decided by two reviewers or more"]
    for pair, kappa in told.kappa.items():
        lines.append(f"Cohen's kappa of {' and '.join(pair)}: {_shown(kappa)}, {counted(told.both[pair], 'row')}")
    if len(told.kappa) > 1:
        lines.append(f"Krippendorff's alpha of all: {_shown(told.alpha)}")
    lines += [_conflict(one) for one in conflicts]
    lines.append(f"{counted(len(conflicts), 'conflict')} to settle")
    if review.gone:
        lines.append(f"{counted(review.gone, 'decision')} kept about rows that are not there any more")
    app.reporter.result(_agreement_json(told, conflicts), *lines)


def _shown(agreement: Agreement) -> str:
    if agreement.coefficient is None:
        return "undefined, because all decisions are the same" if agreement.raw.n else "no row in common"
    interval = "" if agreement.low is None else f" (95 % {agreement.low:.2f} to {agreement.high:.2f})"
    return f"{agreement.coefficient:.2f}{interval}"


def _conflict(standing: Standing) -> str:
    item = standing.item
    said = "; ".join(
        f"{name} {one.verdict}{f' ({one.reason})' if one.reason else ''}" for name, one in standing.said.items()
    )
    return f"{item.name or item.label}: {said}: {' '.join(item.question.split())[:70]}"


def _agreement_json(told: Any, conflicts: list[Standing]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "rows": told.rows, "alpha": asdict(told.alpha),
        "kappa": [
            {"reviewers": list(pair), "rows": told.both[pair], **asdict(kappa)} for pair, kappa in told.kappa.items()
        ],
        "conflicts": [
            {
                "row": one.item.key, "label": one.item.label,
                "said": {name: said.verdict for name, said in one.said.items()},
            }
            for one in conflicts
        ],
    }  # fmt: skip
