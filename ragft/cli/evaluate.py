"""The comparison of the setups: records generated and scored, or scored again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragft.cli.options import command
from ragft.cli.results import show_evaluation, show_plans

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer()


@command(commands, "evaluate")
def evaluate_(
    app: Application,
    plan: Annotated[
        float | None,
        typer.Option(
            help="Ask nothing; say how many questions it takes to detect a difference of so many points.",
            metavar="POINTS",
        ),
    ] = None,
) -> None:
    """Compare the setups on the same questions: records, scores, statistics, report.html."""
    from ragft.stages.evaluation import evaluate, planned

    if plan is not None:
        show_plans(app, planned(app, plan))
        return
    show_evaluation(app, evaluate(app))


@command(commands, "score")
def score_(
    app: Application,
    records: Annotated[
        Path | None, typer.Option(help="JSONL of answers that were made elsewhere.", metavar="FILE")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="The questions that they answer; default: data.questions.", metavar="FILE")
    ] = None,
) -> None:
    """Score, compare and report answers again, without generating any: after a change of rules or metrics."""
    from ragft.errors import UsageError
    from ragft.stages.evaluation import score, score_file

    if questions is not None and records is None:
        raise UsageError("--questions says which questions the answers of --records answer: give both, or none.")
    show_evaluation(app, score(app) if records is None else score_file(app, records, questions))
