"""The endpoint: `ragft serve`; and what its experiments tell, `ragft serve report`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated

import typer

from ragft.cli.options import command, with_default

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer(
    cls=with_default("start"),
    help="Serve the deployed setups (`start`, which is also what `ragft serve` alone does), or tell what the "
    "experiment in their traffic shows.",
)


@command(commands, "start", host="serve.host", port="serve.port")
def start(
    apps: list[Application],
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: serve.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: serve.port.")] = None,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="Serve one client of the Model Context Protocol on standard input and output.")
    ] = False,
) -> None:
    """Serve the deployed setups: an OpenAI-compatible endpoint, on loopback unless told otherwise.

    `ragft serve` alone does this, too.
    """
    from ragft.errors import UsageError
    from ragft.setups import SETUPS
    from ragft.stages.index import live_snapshot

    if mcp and len(apps) > 1:
        raise UsageError("--mcp serves a single domain: give -c once, and let the client start a server for each.")
    for app in apps:
        app.model_folders(app.config.serve.setups)  # a missing model is refused before an index is built
    for app in apps:
        if any(SETUPS[name].retrieval for name in app.config.serve.setups):
            live_snapshot(app)
    # By name, because imports go one way: index <- ragft <- serving.
    importlib.import_module("serving.mcp" if mcp else "serving.app").serve(*apps)


@command(commands)
def report(
    app: Application,
    experiment: Annotated[
        str | None,
        typer.Option(help="Its id, or the beginning of it; default: the one that was recorded last.", metavar="ID"),
    ] = None,
) -> None:
    """Compare the arms of serve.split by what became of their requests, while it runs or afterwards.

    The intervals hold whenever one looks, however often.
    """
    import time

    from ragft.stages.split import experiments_root, recorded
    from ragft.traffic.comparison import compare
    from ragft.traffic.log import read_outcomes
    from ragft.traffic.words import headline, table, to_json, verdict

    found = recorded(app, experiment)
    outcomes, damaged = read_outcomes(experiments_root(app), found.id)
    if damaged:
        app.reporter.say(f"{damaged} lines of the experiment cannot be read and are left out.")
    comparison = compare(found, outcomes, time.time())
    app.reporter.result(to_json(comparison), headline(comparison), table(comparison), "", *verdict(comparison))
