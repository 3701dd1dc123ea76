"""The comparison of the setups: records generated and scored, or scored again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragft.cli.options import command
from ragft.cli.results import show_evaluation

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer()


@command(commands, "evaluate")
def evaluate_(
    app: Application,
    counterfactual: Annotated[
        bool, typer.Option("--counterfactual", help="Then change values in passages, and see whether answers follow.")
    ] = False,
) -> None:
    """Compare the setups on the same questions: records, scores, statistics, report.html."""
    from ragft.stages.evaluation import evaluate

    artifact = evaluate(app)
    if not counterfactual:
        show_evaluation(app, artifact)
        return
    from ragft.stages.counterfactual import counterfactual as suite
    from ragft.stages.counterfactual import counterfactual_lines

    made = suite(app, artifact)
    show_evaluation(app, artifact, counterfactual_lines(made), counterfactual=made.figures)


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


@command(commands)
def explain(
    app: Application,
    question: Annotated[str, typer.Argument(help="Id of a question.", metavar="QUESTION_ID")],
) -> None:
    """Show what every setup answered to a question, from which passages, and why wrong answers are wrong."""
    from ragft.stages.explanation import explanation, explanation_lines

    told = explanation(app, question)
    app.reporter.result(told, *explanation_lines(told))
