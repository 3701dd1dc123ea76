"""What commands have in common: `-c`, `--set` and `--json`, declared once here, and options that several take.

Imports nothing heavy.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin, get_type_hints

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from index.store.filters import Filter, Labels
    from ragft.stages.application import Application

ConfigFile = Annotated[Path, typer.Option("-c", "--config", help="Configuration file.", metavar="FILE")]
ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option("-c", "--config", help="Configuration file. Repeatable: a domain each.", metavar="FILE"),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one key, as in --set finetune.epochs=3. Repeatable.", metavar="KEY=VALUE"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]
AskGate = Annotated[
    bool,
    typer.Option(
        "--gate/--no-gate", help="Whether the golden questions of index.refresh.gate may hold the snapshot back."
    ),
]
AllowRemoval = Annotated[
    bool,
    typer.Option(
        "--allow-removal", help="Let any number of documents vanish, whatever index.refresh.allow_removal says."
    ),
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
Command = Callable[..., None]
DEFAULT_CONFIG = Path("ragft.yaml")

workspace_in_use: Path | None = None
"""Where this process writes, once it knows."""


def command(group: typer.Typer, name: str | None = None, **keys: str) -> Callable[[Command], Command]:
    """Registers a function whose first argument is the `Application`: it gets `-c`, `--set` and `--json`.

    If that argument is a list of applications, `-c` may be given several times.

    Args:
        name: name of the command; None: that of the function.
        keys: options of the command that set a configuration key, by their names.
    """

    def register(function: Command) -> Command:
        # The first argument's type is not imported here: it would bring in the whole application.
        hints = get_type_hints(function, localns={"Application": Any}, include_extras=True)
        first, *own = inspect.signature(function).parameters.values()
        several = get_origin(hints[first.name]) is list

        @functools.wraps(function)
        def run(config: Any, overrides: list[str] | None, as_json: bool, **given: Any) -> None:
            _refuse_undecodable(given)
            told = [f"{key}={given[option]}" for option, key in keys.items() if given[option] is not None]
            overrides = [*(overrides or []), *told]
            if several:
                function(open_domains(config or [DEFAULT_CONFIG], overrides, as_json), **given)
            else:
                function(open_application(config, overrides, as_json), **given)

        keyword = inspect.Parameter.KEYWORD_ONLY
        config: tuple[Any, Any] = (ConfigFiles, None) if several else (ConfigFile, DEFAULT_CONFIG)
        shared = {"config": config, "overrides": (Overrides, None), "as_json": (AsJson, False)}
        parameters = [parameter.replace(annotation=hints[parameter.name], kind=keyword) for parameter in own]
        for option, (kind, default) in shared.items():
            parameters.append(inspect.Parameter(option, keyword, annotation=kind, default=default))
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        group.command(name)(run)
        return function

    return register


def with_default(name: str) -> type[TyperGroup]:
    """A group of commands of which one is meant where none is named: `ragft tune` is `ragft tune recipe`."""

    class Group(TyperGroup):
        default = name

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
                args = [self.default, *args]
            return super().parse_args(ctx, args)

    return Group


def _refuse_undecodable(given: Mapping[str, Any]) -> None:
    """Refuse an argument with bytes that are no text here; Python carries them as halves of characters.

    Paths are no texts: they may hold any bytes.
    """
    from ragft.errors import UsageError

    for name, value in given.items():
        for text in value if isinstance(value, list | tuple) else (value,):
            try:
                isinstance(text, str) and text.encode()
            except UnicodeEncodeError:
                raise UsageError(f"The {name.replace('_', ' ')} {text!a} is not valid UTF-8; write it anew.") from None


def open_application(config: Path, overrides: list[str] | None, as_json: bool = False) -> Application:
    """The application of a configuration file, with its overrides."""
    return open_domains([config], overrides, as_json)[0]


def open_domains(configs: list[Path], overrides: list[str] | None, as_json: bool = False) -> list[Application]:
    """The applications of several configuration files that one server serves, each with the overrides.

    Raises:
        UsageError: they do not fit into one server; see `ragft.config.domains`.
    """
    from ragft.config import load_config
    from ragft.config.domains import in_one_server
    from ragft.console import Reporter, prepare_process
    from ragft.stages.application import Application

    prepare_process()
    loaded = in_one_server([(str(config), load_config(config, overrides)) for config in configs])
    apps = [Application(config, Reporter(as_json)) for config in loaded]
    global workspace_in_use
    workspace_in_use = apps[0].workspace
    return apps


def restrictions(where: list[str] | None, labels: str | None) -> tuple[Filter | None, Labels]:
    """What `--where` and `--labels` say."""
    from index.store.filters import FilterError, parse_labels, parse_where
    from ragft.errors import UsageError

    try:
        return parse_where(where or []), parse_labels(labels) if labels is not None else None
    except FilterError as error:
        raise UsageError(str(error)) from None
