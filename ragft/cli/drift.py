"""`ragft drift`: whether what is asked now still is what was evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ragft.cli.options import command

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer()


@command(commands)
def drift(
    app: Application,
    days: Annotated[
        float,
        typer.Option(min=0.01, help="Days that count as recent; four times as many before them are compared with."),
    ] = 7.0,
    fail_on_drift: Annotated[
        bool,
        typer.Option("--fail-on-drift", help="End with status 1 where something has moved; too few questions do not."),
    ] = False,
) -> None:
    """Compare recent questions with the evaluation's and those of the weeks before, and say what to do.

    Needs serve.log_questions: retrieval, refusals, grounding, distance of embeddings, length and language are compared.
    """
    from ragft.drift.words import advice, headline, lines, table, to_json
    from ragft.stages.drift import drift as found_drift

    found = found_drift(app, days)
    shown = [table(found)] if found.compared else []
    app.reporter.result(to_json(found), headline(found), *shown, *lines(found))
    if fail_on_drift and advice(found):
        raise typer.Exit(1)
