"""Finding better settings: of training, `ragft tune`; of the search, `ragft tune search`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ragft.cli.options import command, with_default

if TYPE_CHECKING:
    from ragft.stages.application import Application
    from ragft.stages.search_tuning import SearchTuned


commands = typer.Typer(
    cls=with_default("recipe"),
    help="Find better settings and publish nothing: of training, by validation rows (`recipe`, which is also what "
    "`ragft tune` alone does); or of the search, by questions.",
)


@command(commands, "recipe", minutes="tune.minutes", trials="tune.trials")
def recipe(
    app: Application,
    minutes: Annotated[float | None, typer.Option(help="Longest time of this call, as tune.minutes.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials after which the search ends, as tune.trials.")] = None,
    learning_rate: Annotated[
        bool, typer.Option("--learning-rate", help="Only find a learning rate, by a minute of steps with a rising one.")
    ] = False,
) -> None:
    """Find better settings of training by the validation rows alone; resumes by itself and publishes nothing.

    `ragft tune` alone does this, too.
    """
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


@command(commands, "search")
def search_(app: Application) -> None:
    """Find better settings of the search: chosen by one part of the questions, judged on the rest; publishes nothing.

    What is tried is in tune.search; other sizes of chunks only where tune.search.chunk_tokens names some.
    """
    from ragft.stages.search_tuning import tune_search

    _show_search(app, tune_search(app))


def _show_search(app: Application, tuned: SearchTuned) -> None:
    from ragft.evaluate.search_words import changes_block, conclusion, figures_table, overrides

    found = tuned.compared
    name = found.recommended
    changes = {} if name is None else found.candidates[name].changes(tuned.now)
    told = (
        f"Tried {tuned.tried} settings with {tuned.searches} searches; chosen by {found.chosen_by} questions, reported "
        f"on {found.questions} others about {found.clusters} documents or groups."
    )
    lines = [
        told,
        *([f"{tuned.left_out} questions without sources in the index were left out."] if tuned.left_out else []),
    ]
    taken = ["", changes_block(changes), "", f"Or: {overrides(changes)}"] if changes else []
    app.reporter.result(
        {**asdict(tuned), "recommended": name, "changes": changes},
        *lines, figures_table(found, tuned.milliseconds), *conclusion(found), *taken,
    )  # fmt: skip
