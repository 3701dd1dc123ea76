"""Finding a recipe: `ragft tune`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ragft.cli.options import command

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer()


@command(commands, "tune", minutes="tune.minutes", trials="tune.trials")
def tune_(
    app: Application,
    minutes: Annotated[float | None, typer.Option(help="Longest time of this call, as tune.minutes.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials after which the search ends, as tune.trials.")] = None,
    learning_rate: Annotated[
        bool, typer.Option("--learning-rate", help="Only find a learning rate, by a minute of steps with a rising one.")
    ] = False,
) -> None:
    """Find better settings of training by the validation rows alone; resumes by itself and publishes nothing."""
    if learning_rate:
        _find_learning_rate(app)
        return
    from ragft.finetune.search import values_block
    from ragft.stages.tuning import PAGE, figures, score, tune

    tuned = tune(app)
    select, best, configured = app.config.finetune.select, tuned.best, tuned.configured
    found = f"Best of {len(tuned.trials)} trials: number {best.number}, {score(best, select)}"
    if best.number == configured.number:
        found += ": the configured values; nothing that was tried is better."
    elif configured.loss is not None:
        found += f"; with the configured values {score(configured, select)}."
    app.reporter.result(
        {"folder": str(tuned.folder), **figures(tuned.trials, best, select), "values": asdict(best)["values"]},
        found, f"The search ended because {tuned.ended}.", "", values_block(best.values), "",
        f"Report: {tuned.folder / PAGE}",
    )  # fmt: skip


def _find_learning_rate(app: Application) -> None:
    from ragft.finetune.rates import drawn
    from ragft.finetune.search import values_block
    from ragft.stages.tuning import find_learning_rate

    curve, found = find_learning_rate(app)
    now = f"Configured is {app.config.finetune.learning_rate:g}."
    told = (
        f"No learning rate is suggested: {found.reason}. {now}"
        if found.rate is None
        else (f"Suggested learning rate: {found.rate:g}, because {found.reason}. {now}")
    )
    block = [] if found.rate is None else ["", values_block({"learning_rate": found.rate})]
    app.reporter.result(
        {"learning_rate": found.rate, "reason": found.reason, **asdict(curve)}, drawn(curve), "", told, *block
    )
