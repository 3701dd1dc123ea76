"""Before the work: a new domain, a dry run, the machine, the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragft.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, Overrides, command

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer()


@commands.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the domain and of the folder to make.")],
    documents: Annotated[
        Path | None,
        typer.Option("--from", help="Copy this folder's documents, and generate examples and questions from them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Scaffold a domain: configuration, documents/, examples.jsonl, questions.jsonl."""
    from ragft.cli.scaffold import scaffold
    from ragft.console import Reporter

    folder = scaffold(Path(name), documents)
    if documents is not None:
        _generate(folder, as_json)
        return
    Reporter(as_json).result(
        {"folder": str(folder)}, f"Made {folder}/. Next: put your documents and examples there, then\n"
        f"  cd {folder} && ragft check && ragft run"
    )  # fmt: skip


def _generate(folder: Path, as_json: bool) -> None:
    """Makes examples and questions for a new domain from its documents."""
    from ragft.cli.options import open_application
    from ragft.cli.results import show_generated
    from ragft.stages.generation import generate

    # Where the commands that follow find it, which are given in the new folder.
    workspace = folder / "workspace" / folder.name
    app = open_application(folder / "ragft.yaml", [f"workspace={workspace.resolve()}"], as_json)
    go_on = f"cd {folder} && ragft data generate"
    app.reporter.say(f"Made {folder}/ with its documents; if this is interrupted, {go_on} goes on.")
    show_generated(app, generate(app))
    app.reporter.say(f"Next: cd {folder} && ragft check && ragft run")


@command(commands)
def check(app: Application) -> None:
    """Dry run: configuration, data, hardware, memory and time estimate, five questions through retrieval and prompt."""
    from ragft.stages.check import check_all

    app.reporter.findings(check_all(app))


@command(commands, "estimate")
def estimate_(app: Application) -> None:
    """Memory and time of training, from a few real steps that are timed; of the rest, from earlier runs here."""
    from dataclasses import asdict

    from ragft.stages.estimates import estimate

    found = estimate(app)
    app.reporter.result({**asdict(found), "training_seconds": found.training_seconds}, found.sentence())


@commands.command()
def doctor(as_json: AsJson = False) -> None:
    """Versions, devices, what is missing and how to get it."""
    from ragft.console import Reporter
    from ragft.stages.machine import diagnose

    Reporter(as_json).findings(diagnose())


@commands.command("config")
def config_(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print every value of the configuration, and where it came from."""
    from rich.table import Table
    from rich.text import Text

    from ragft.config.loading import load_with_sources
    from ragft.console import Reporter

    loaded = load_with_sources(config, overrides)
    values = {key: {"value": value, "source": loaded.sources[key]} for key, value in loaded.values().items()}
    table = Table("key", box=None, padding=(0, 2, 0, 0))
    for title in ("value", "from"):
        table.add_column(title, overflow="fold")
    for key, row in values.items():
        source = "" if row["source"] == "default" else str(row["source"])
        table.add_row(key, Text(shown(row["value"])), Text(source))  # a pattern must not be read as markup
    Reporter(as_json).result(values, table)


def shown(value: object) -> str:
    """A value of the configuration as one writes it in YAML; long ones by their first line."""
    import json

    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    first, _, rest = text.partition("\n")
    return f"{first} ..." if rest else first
