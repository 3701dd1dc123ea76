"""Answers judged by a language model, and by people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragft.cli.options import command
from ragft.cli.results import show_artifact, show_judgement, show_opinion

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer()
sheets = typer.Typer(help="Blind sheets: people compare the answers of two setups.", no_args_is_help=True)

Records = Annotated[Path | None, typer.Option(help="JSONL of answers that were made elsewhere.", metavar="FILE")]
Questions = Annotated[
    Path | None, typer.Option(help="The questions that they answer; default: data.questions.", metavar="FILE")
]


@command(commands, "judge", limit="evaluate.judge.limit", labels="evaluate.judge.labels")
def judge_(
    app: Application,
    records: Records = None,
    questions: Questions = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge a seeded sample of so many questions.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV or JSONL of people's labels to calibrate the judge by.", metavar="FILE")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many requests it takes, and ask none.")] = False,
) -> None:
    """Let a language model judge answers that exist: scores, preferences in both orders, bias, calibration."""
    from ragft.stages.answers import existing_answers
    from ragft.stages.judging import Judging

    judging = Judging(app, existing_answers(app, records, questions))
    if dry_run:
        estimate = judging.estimate()
        app.reporter.result({"requests": estimate.requests, "known": estimate.known}, estimate.sentence)
        return
    show_judgement(app, judging.judged())


@command(sheets, "make")
def make_(
    app: Application,
    a: Annotated[str, typer.Argument(help="One setup.", metavar="SETUP")],
    b: Annotated[str, typer.Argument(help="The other setup.", metavar="SETUP")],
    records: Records = None,
    questions: Questions = None,
    limit: Annotated[int | None, typer.Option(min=1, help="A seeded sample of so many questions.")] = None,
    repeated: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the pairs that come twice, sides exchanged.")
    ] = 0.1,
    criterion: Annotated[
        str | None, typer.Option(help="Criterion of the rubric, whose question people are asked.", metavar="NAME")
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference/--no-reference", help="Whether people see the accepted answers.")
    ] = True,
) -> None:
    """Make a sheet, as CSV and as a page, and its sealed key."""
    from ragft.stages import sheets as stage
    from ragft.stages.answers import existing_answers

    answers = existing_answers(app, records, questions)
    artifact = stage.make(app, answers, a, b, limit=limit, repeated=repeated, criterion=criterion, reference=reference)
    figures, folder = artifact.figures, artifact.folder
    counts = f"{figures['pairs']} pairs, {figures['repeated']} of them repeated"
    show_artifact(
        app, artifact, f"{counts}; {figures['settled']} questions need no opinion",
        f"For people: {folder / stage.FOR_PEOPLE}",
        f"Sealed key, not for people: {folder / stage.KEY}",
    )  # fmt: skip


@command(sheets, "import")
def import_(
    app: Application,
    filled: Annotated[list[Path], typer.Argument(help="Filled sheets, each of one person.", metavar="FILE")],
    key: Annotated[
        Path | None, typer.Option(help="Key of the sheet; default: the one in the workspace that fits.", metavar="FILE")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Take sheets on which choices are missing.")] = False,
) -> None:
    """Read filled sheets: win rates, agreement between people and of each with itself, labels for the judge."""
    from ragft.stages.sheets import import_sheets

    show_opinion(app, import_sheets(app, filled, key, partial=partial))
