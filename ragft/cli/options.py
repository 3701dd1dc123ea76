"""Options that several commands take, and what is made of them. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from index.store.filters import Filter, Labels
    from ragft.stages import Stages

ConfigFile = Annotated[Path, typer.Option("-c", "--config", help="Configuration file.", metavar="FILE")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one key, as in --set finetune.epochs=3. Repeatable.", metavar="KEY=VALUE"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]
AskGate = Annotated[
    bool,
    typer.Option("--gate/--no-gate", help="Whether the golden questions of index.gate may hold the snapshot back."),
]
AllowRemoval = Annotated[
    bool, typer.Option("--allow-removal", help="Let any number of documents vanish, whatever index.allow_removal says.")
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        help="Only passages for which this holds, as in --where year>=2024 or --where document~guides/* (=, !=, >=, "
        "<=, >, <, ~ for a pattern; or a filter in JSON). Repeatable.",
        metavar="CONDITION",
    ),
]
SeenWith = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="Search as a caller with these access labels; '' for one without any. Default: *, all documents.",
        metavar="LABEL[,LABEL]",
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for another writer of the index instead of being refused.")]
DEFAULT_CONFIG = Path("ragft.yaml")

workspace_in_use: Path | None = None
"""Where this process writes, once it knows."""


def open_stages(config: Path, overrides: list[str] | None, as_json: bool = False) -> Stages:
    """The stages of a configuration file, with its overrides."""
    from ragft.config import load_config
    from ragft.console import Reporter, prepare_process
    from ragft.stages import Stages

    prepare_process()
    stages = Stages(load_config(config, overrides), Reporter(as_json))
    global workspace_in_use
    workspace_in_use = stages.workspace
    return stages


def restrictions(where: list[str] | None, labels: str | None) -> tuple[Filter | None, Labels]:
    """What `--where` and `--labels` say."""
    from index.store.filters import FilterError, parse_labels, parse_where
    from ragft.errors import UsageError

    try:
        return parse_where(where or []), parse_labels(labels) if labels is not None else None
    except FilterError as error:
        raise UsageError(str(error)) from None
