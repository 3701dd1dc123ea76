"""Answers judged by a language model, and by people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragft.cli.options import command
from ragft.cli.results import show_judgement

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer()

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
