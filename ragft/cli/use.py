"""One question answered, and all stages in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragft.cli.options import SeenWith, Where, command, restrictions
from ragft.cli.results import show_evaluation

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer()


@command(commands)
def ask(
    app: Application,
    question: Annotated[str, typer.Argument(help="What to ask.")],
    setup: Annotated[str, typer.Option(help="prompt-only, rag-only, fine-tuned or hybrid.")] = "hybrid",
    server: Annotated[
        str | None, typer.Option(help="A running `ragft serve` to ask, as in http://127.0.0.1:8000.", metavar="URL")
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            help='JSON file of the turns before it, [{"role": "user", "content": "..."}, ...].', metavar="FILE"
        ),
    ] = None,
    where: Where = None,
    labels: SeenWith = None,
) -> None:
    """Answer one question, with its citations: with a model loaded for it, or by a running server."""
    from ragft.cli.ask import ask_once
    from ragft.errors import UsageError

    only, seen_with = restrictions(where, labels)
    if server is not None and labels is not None:
        raise UsageError("With --server the API key decides about the labels: leave --labels out.")
    values, lines = ask_once(app, question, setup, server, only, seen_with, history)
    app.reporter.result(values, *lines)


@command(commands)
def run(app: Application) -> None:
    """Index, train, merge, evaluate: all in order, skipping what is up to date. Killed at any moment, it continues."""
    from ragft.engine.children import sweep_logs
    from ragft.stages.adapter import finetune, refuse_unserved
    from ragft.stages.evaluation import evaluate, refuse_unmeasurable
    from ragft.stages.index import refresh_or_stop
    from ragft.stages.model import merge

    say = app.reporter.say
    for path in (*app.sweep(), *sweep_logs()):
        say(f"Removed {path}, left behind by a run that was killed")
    # Before hours are spent on what could not be measured, or with a model that is none.
    refuse_unmeasurable(app)
    refuse_unserved(app)
    say(f"Base model: {app.base}")
    report = refresh_or_stop(app)
    say(f"Index: snapshot {report.snapshot_id}{'' if report.published else ', up to date'}")
    say(f"Adapter: {finetune(app).folder}")
    model, before = merge(app)
    say(f"Model: {model.folder}{f', deployed instead of {before}' if before else ''}")
    show_evaluation(app, evaluate(app))
    if report.skipped or report.kept:
        raise typer.Exit(1)
